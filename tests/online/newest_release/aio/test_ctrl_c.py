"""Ctrl-C in each phase of asyncio's life: it ends, leaves no connection and no descriptor, and prints nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers.ctrl_c import WITH_ONE, WITHOUT_A_SERVER
from tests.helpers.environment import with_address

ROOT = Path(__file__).parents[4]


def test_ctrl_c_ends_each_phase(driver, address):
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.helpers.ctrl_c", driver],
        env={**with_address(address), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout.splitlines() == [f"{phase.__name__} interrupted" for phase in (*WITH_ONE, *WITHOUT_A_SERVER)]
    assert [line for line in done.stderr.splitlines() if not line.startswith("pgnotify: ")] == []
