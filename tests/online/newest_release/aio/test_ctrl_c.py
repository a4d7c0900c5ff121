"""Ctrl-C in each phase of asyncio's life: it ends, leaves no connection and no descriptor, and prints nothing."""

from __future__ import annotations

from tests.helpers.ctrl_c import assert_each_phase_ends


def test_ctrl_c_ends_each_phase(driver, address):
    assert_each_phase_ends(driver, address)
