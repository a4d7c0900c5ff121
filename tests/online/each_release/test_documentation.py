"""The first example of all and a script run on each driver. All others run in tests/docs/."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pgnotify.registry import installed_drivers
from pgnotify.testing._wire import Session
from tests.kinds import Address

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(not installed_drivers(), reason="no driver is installed")


def _first_block(page: str) -> str:
    return (ROOT / page).read_text().partition("```python\n")[2].partition("```")[0]


def test_the_readme_runs_as_pasted(address: Address, capsys: pytest.CaptureFixture[str]):
    exec(_first_block("README.md").replace("postgresql://localhost/postgres", address.dsn), {})

    assert capsys.readouterr().out == "orders 42\n"


@pytest.mark.parametrize("end", ["stop", "SIGTERM"])
def test_the_worker_works_until_it_is_told_to_end(address: Address, session: Session, end: str):
    command = [sys.executable, str(ROOT / "examples" / "worker.py"), address._replace(password=None).dsn]
    environment = os.environ | {"PGPASSWORD": address.password or ""}  # everybody can read command lines
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "listening\n"
        session.notify("jobs", "42")
        assert worker.stdout.readline() == f"jobs: '42', sent by {session.pid}\n"

        if end == "stop":
            session.notify("stop_jobs", "enough")
        else:
            worker.send_signal(signal.SIGTERM)

        assert worker.wait(20) == 0
