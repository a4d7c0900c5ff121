"""The examples in the documentation run as they stand there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pgnotify
from pgnotify.registry import installed_drivers
from pgnotify.testing._wire import Session
from tests.kinds import Address

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(not installed_drivers(), reason="no driver is installed")


def _code_of(page: str) -> str:
    (code,) = (block.partition("```")[0] for block in (ROOT / page).read_text().split("```python\n")[1:])
    return code


def test_the_readme_runs_as_pasted(address: Address, capsys: pytest.CaptureFixture[str]):
    namespace: dict[str, object] = {}

    exec(_code_of("README.md").replace("postgresql://localhost/postgres", address.dsn), namespace)

    assert capsys.readouterr().out.startswith("""('jobs', "it's a job", """)
    assert not namespace["handler"].listening
    namespace["connection"].close()


@pytest.mark.parametrize("name", ["asyncio.md", "listener.md"])
def test_a_page_runs_and_prints_what_it_says(name: str, address: Address, capsys: pytest.CaptureFixture[str]):
    page = (ROOT / "docs" / "reference" / name).read_text()
    says = page.split("```\n\n```\n", 1)[1].partition("```")[0]

    exec(_code_of(f"docs/reference/{name}").replace("postgresql://localhost/postgres", address.dsn), {})

    assert capsys.readouterr().out == says


def test_the_handlers_page_runs(address: Address):
    with pgnotify.connect(address.dsn) as connection:
        exec(_code_of("docs/reference/handler.md"), {"connection": connection})


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
