"""Ctrl-C in each phase of asyncio's life, with a native driver."""

from __future__ import annotations

import pytest

from tests.helpers.ctrl_c import assert_each_phase_ends


@pytest.mark.parametrize("name", ["asyncpg", "psycopg_async"])
def test_ctrl_c_ends_each_phase(name, address):
    pytest.importorskip(name.removesuffix("_async"))
    assert_each_phase_ends(name, address)
