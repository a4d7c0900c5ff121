"""What other systems than Linux lack: a test that asks for it is skipped, and Linux can do as if it were Windows.

Nobody has run these tests on Windows yet. PGNOTIFY_TEST_AS_WINDOWS=1 takes away `NAMES`, `MODULES` and `FOLDERS`. Such
a run shows that the package does not ask for them, and that each test that does is skipped. It does not show how the
sockets and the event loops of Windows behave.
"""

from __future__ import annotations

import asyncio  # noqa: F401 # it asks for them when it is imported
import os
import select
import signal
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

NAMES: dict[ModuleType, tuple[str, ...]] = {
    os: ("fork", "register_at_fork", "killpg", "setsid"),
    select: ("poll", "epoll"),
    signal: (
        "SIGALRM",
        "SIGHUP",
        "SIGKILL",
        "SIGUSR1",
        "SIGUSR2",
        "alarm",
        "pthread_kill",
        "pthread_sigmask",
        "setitimer",
    ),
    socket: ("AF_UNIX", "MSG_DONTWAIT"),
}
"""Of each module, the names that we or our tests use, and that are not there on Windows."""

MODULES = ("fcntl", "pty", "resource", "termios")
FOLDERS = ("/dev/", "/proc/")

AS_WINDOWS = os.environ.get("PGNOTIFY_TEST_AS_WINDOWS") == "1"
ROOT = Path(__file__).parents[2]
MAY_ASK = tuple(ROOT / folder for folder in ("tests", "benchmarks", "examples"))


def take_away() -> None:
    """Do as if this were Windows, for the rest of the process. Call it before pgnotify is imported."""
    for module, names in NAMES.items():
        for name in names:
            if hasattr(module, name) and name != "AF_UNIX":  # of which Python makes its socket pairs, where it exists
                delattr(module, name)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment] # so that its import fails
    listdir = os.listdir

    def without_folders(path: Any = ".") -> list[str]:
        if str(path).startswith(FOLDERS):
            raise FileNotFoundError(2, "No such file or directory", path)
        return listdir(path)

    os.listdir = without_folders  # type: ignore[assignment]


def reason(error: BaseException) -> str | None:
    """Return why a test or a module that failed with this error cannot be run on this system; None if it has failed."""
    if sys.platform == "linux" and not AS_WINDOWS:
        return None
    if isinstance(error, pytest.Collector.CollectError) and error.__cause__ is not None:
        error = error.__cause__
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    if where is None or not {*MAY_ASK} & {*Path(where.tb_frame.f_code.co_filename).parents}:
        return None  # the package must not ask for it
    lacking = _lacking(error)
    return lacking and f"not applicable: there is no {lacking} here"


def _lacking(error: BaseException) -> str | None:
    if isinstance(error, AttributeError):
        for module, names in NAMES.items():
            if error.obj is module and error.name in names:
                return f"{module.__name__}.{error.name}"
    if isinstance(error, ModuleNotFoundError) and error.name in MODULES:
        return f"module {error.name}"
    if isinstance(error, FileNotFoundError) and str(error.filename).startswith(FOLDERS):
        return str(error.filename)
    return None


if AS_WINDOWS:
    take_away()
