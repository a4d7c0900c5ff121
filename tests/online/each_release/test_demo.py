"""What `make demo` runs."""

from __future__ import annotations

import pytest

from pgnotify.cli.demonstration import demonstrate
from pgnotify.registry import installed_drivers
from tests.kinds import Address


def test_the_demonstration_shows_what_arrived(address: Address):
    if not installed_drivers():
        pytest.skip("no driver is installed")
    lines: list[str] = []

    demonstrate(address.dsn, lines.append)

    assert "Ünïcödé 日本" in lines[2]
    assert "'extra': 'burst 999'" in lines[4]
    assert "that is all" in lines[5]
    assert lines[6] == "the stop has ended the handler; everything arrived, in order"
