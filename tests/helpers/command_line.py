"""`pgnotify` as a process, and within the process of the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

COMMAND = (sys.executable, "-m", "pgnotify")

# A terminal's settings, and a server that the machine's user has set, are not for tests.
LEFT_OUT = ("PGNOTIFY_DSN", "FORCE_COLOR", "NO_COLOR", "COLUMNS")


class Ended(NamedTuple):
    """How a command ended, and the text that it printed."""

    code: int
    out: str
    err: str


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a command, with these variables in addition."""
    kept = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    return {**kept, "PYTHONUNBUFFERED": "", "PYTHONUTF8": "1", **variables}


def run(*arguments: str, given: str = "", timeout: float = 30.0, cwd: Path | None = None, **variables: str) -> Ended:
    """Run a command to its end. `given` is its standard input; further variables are added to its environment."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=environment(**variables),
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def run_here(capture: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """Run a command in this process, which is quicker, to its end. `capture` is the fixture capfd."""
    from pgnotify.cli.app import app

    with pytest.MonkeyPatch.context() as patch:
        for name in LEFT_OUT:
            patch.delenv(name, raising=False)
        with pytest.raises(SystemExit) as ended:
            app(list(arguments), prog_name="pgnotify")
    return Ended(ended.value.code or 0, *capture.readouterr())


def start(
    *arguments: str,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.PIPE,
    program: tuple[str, ...] = COMMAND,
    **variables: str,
) -> subprocess.Popen[str]:
    """Start a command, with pipes for its output unless another descriptor is given; the caller ends it."""
    return subprocess.Popen(
        [*program, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )
