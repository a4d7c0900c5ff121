"""The tutorial: its files, as they stand on the page, in a real browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.docs import blocks, running
from tests.docs.blocks import ROOT, Block
from tests.helpers import browser
from tests.helpers.waiting import PATIENCE, eventually

PAGE = ROOT / "docs" / "tutorial.md"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The directory with the files of the page."""
    for example in blocks.blocks_of(PAGE):
        if isinstance(example.parsed, Block):
            running.write_file(example.parsed, tmp_path)
    return tmp_path


@pytest.fixture
def run(project: Path) -> Iterator[Any]:
    """A function that starts a command of the page there; it is ended after the test."""
    with ExitStack() as started:

        def start(*command: str, **environment: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                command,
                cwd=project,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            started.enter_context(process)
            started.callback(process.terminate)
            return process

        yield start


@pytest.mark.skipif(browser.installed() is None, reason=f"none of {', '.join(browser.NAMES)} is installed")
def test_the_page_of_the_tutorial_updates_itself(run: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    database = run(sys.executable, "database.py")
    url = database.stdout.readline().removeprefix("export DATABASE_URL=").strip()
    assert url.startswith("postgresql://")
    server = run(
        sys.executable, "-m", "uvicorn", "--timeout-graceful-shutdown=1", "--port=0", "app:app", DATABASE_URL=url
    )
    port = next(found[1] for line in server.stdout if (found := re.search(r"http://127\.0\.0\.1:(\d+)", line)))
    held = []

    with browser.Browser(str(browser.installed()), tmp_path_factory.mktemp("profile")) as chrome:
        page = chrome.open(f"http://127.0.0.1:{port}/")

        def holds(text: str) -> None:
            """Wait until the page holds a text, and remember the text."""
            read = "document.body?.innerText"
            eventually(lambda: text in (page.evaluate(read) or ""), f"the page holds {text!r}")
            held.append(re.sub(r"\n+", "\n", page.evaluate(read)))

        holds("listening")
        assert run(sys.executable, "order.py", "two books", DATABASE_URL=url).wait(PATIENCE) == 0
        holds("order 1 has changed")
        assert run(sys.executable, "cut.py", "a lamp", DATABASE_URL=url).wait(PATIENCE) == 0
        holds("read again after a gap")

    database.communicate("\n", timeout=PATIENCE)
    assert held == [
        "Orders\nlistening",
        "Orders\ntwo books\norder 1 has changed",
        "Orders\ntwo books\na lamp\nread again after a gap: connection lost",
    ]
