"""The examples in the documentation pass type checkers, as strict as a user may set them.

A block that is marked `python` is a whole program, or a test. One that is marked `py` is a part, and uses names that
its page explains. One that is marked `python3` stands in a project of another library, which is not installed here. The
blocks of docs/how-to/write-a-backend.md stand in the example there, which a test compares.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [page for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))] if page.stem != "write-a-backend"]

NAMES = {
    "README": """
connection: object = None
def catch_up(event: pgnotify.Listening) -> None: ...
def work(arg_dict: object) -> None: ...
""",
    "asyncio": """
from collections.abc import AsyncIterator
from typing import Any
sync_to_async: Any = None
connections: Any = None
dsn: str = ""
def callback(arg_dict: dict[str, Any] | None) -> None: ...
async def catch_up(event: pgnotify.Listening) -> None: ...
""",
    "handler": "connection: object = None",
    "listener": """
import signal
dsn: str = ""
listener = pgnotify.Listener(dsn)
def callback(notification: pgnotify.Notification) -> None: ...
def work_through_the_table() -> None: ...
""",
    "outbox": """
import psycopg
dsn: str = ""
outbox = pgnotify.Outbox()
""",
}
"""What the parts on a page use."""


def _programs() -> Iterator[tuple[str, str]]:
    """Yield the name of each block, and its code, after the names that it may use."""
    for page in PAGES:
        blocks = re.findall(r"^```(python|py)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
        for number, (kind, code) in enumerate(blocks):
            has_all = kind == "python" and page.stem != "handler"
            before = "" if has_all else f"import pgnotify\n{NAMES[page.stem]}\n"
            yield f"{page.stem}_{number}.py", before + code


PROGRAMS = dict(_programs())


def test_there_are_examples_on_these_pages() -> None:
    assert {name.rpartition("_")[0] for name in PROGRAMS} == {
        "README",
        "asyncio",
        "handler",
        "listener",
        "outbox",
        "testing",
        "watching",
    }
    assert len(PROGRAMS) >= 24


def _faults(tmp_path: Path, *command: str) -> str:
    """Run a type checker on all examples, each in a module of its own; return what it finds."""
    for library in ("mypy", "prometheus_client", "opentelemetry.sdk"):
        pytest.importorskip(library)
    for name, code in PROGRAMS.items():
        (tmp_path / name).write_text(code)
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *(str(tmp_path / name) for name in PROGRAMS)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_the_examples_pass_mypy(tmp_path: Path) -> None:
    assert _faults(tmp_path, sys.executable, "-m", "mypy", "--strict") == ""


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("pyright") is None, reason="not applicable: pyright is not installed")
def test_the_examples_pass_pyright(tmp_path: Path) -> None:
    assert _faults(tmp_path, "pyright", "--pythonpath", sys.executable) == ""
