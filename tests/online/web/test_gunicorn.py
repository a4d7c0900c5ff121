"""gunicorn, with the files of docs/how-to/web-servers.md: its worker listens, whether it forks before the import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from pgnotify.testing._wire import Session
from tests.helpers.waiting import PATIENCE, eventually
from tests.kinds import Address

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "web-servers.md"

APP = """\
import live


def app(environ, start_response):
    if environ["PATH_INFO"] == "/fill":
        live.cache["customers"] = "42"
    start_response("200 OK", [])
    return [f"{live.listener.status().state} {len(live.cache)}".encode()]
"""


def block(name: str) -> str:
    """Return the file that a block of the page begins with the name of."""
    (_, code) = PAGE.read_text().split(f"```python\n# {name}\n")
    return code.partition("```")[0]


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_each_worker_listens(address: Address, session: Session, tmp_path: Path, preload: list[str]):
    (tmp_path / "live.py").write_text(block("live.py"))
    (tmp_path / "gunicorn.conf.py").write_text(block("gunicorn.conf.py"))
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind=127.0.0.1:0", *preload, "app:app"]
    environment = os.environ | {"DATABASE_URL": address.dsn}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as gunicorn:
        try:
            assert gunicorn.stderr is not None
            url = next(found[1] for line in gunicorn.stderr if (found := re.search(r"Listening at: (http\S+)", line)))

            def get(path: str) -> str:
                with urllib.request.urlopen(url + path, timeout=PATIENCE) as response:
                    return str(response.read().decode())

            eventually(lambda: get("/fill") == "listening 1")
            session.notify("cache", "customers")
            eventually(lambda: get("/") == "listening 0")

            gunicorn.terminate()
            assert gunicorn.wait(PATIENCE) == 0
        finally:
            gunicorn.kill()
