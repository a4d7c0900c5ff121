"""Versions as people write them."""

from __future__ import annotations

import pytest

from pgnotify.backends._versions import libpq_release, protocol_version


@pytest.mark.parametrize(("number", "release"), [(180006, "18.6"), (170011, "17.11"), (90624, "9.6.24")])
def test_a_release_of_libpq(number, release):
    assert libpq_release(number) == release


@pytest.mark.parametrize(("number", "version"), [(3, "3.0"), (30000, "3.0"), (30002, "3.2")])
def test_a_version_of_the_protocol(number, version):
    assert protocol_version(number) == version
