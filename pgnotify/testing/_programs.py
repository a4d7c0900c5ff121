"""Runs PostgreSQL's programs, and reads their output and their logs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from pgnotify.errors import PgNotifyError
from pgnotify.testing.finder import NoPostgreSQL

VERSION_SECONDS = 30.0
LOG_TAIL_LINES = 15


class ServerFailed(PgNotifyError, RuntimeError):
    """A temporary PostgreSQL did not start or stop, ended too early, or refused a statement of sql()."""


def run_psql(psql: str | Path, dsn: str, statements: str, timeout: float) -> str:
    """Run statements with psql, and return its output without headers and alignment.

    Raises:
        ServerFailed: psql could not connect, the server refused, or it took too long.
    """
    command = (psql, "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-f", "-")
    try:
        done = _run(command, statements, timeout)
    except subprocess.TimeoutExpired as error:
        raise ServerFailed(f"psql took more than {timeout} seconds") from error
    if done.returncode != 0:
        raise ServerFailed(done.stderr.strip())
    return done.stdout.rstrip("\n")


def version_of(postgres: Path) -> str:
    try:
        done = _run((postgres, "--version"), "", VERSION_SECONDS)
    except OSError as error:
        raise NoPostgreSQL(f"{postgres} cannot be run: {error.strerror}") from error
    found = re.search(r"\(PostgreSQL\) (\S+)", done.stdout)
    if found is None:  # often because a shared library is missing
        raise NoPostgreSQL(f"{postgres} cannot be run: {(done.stderr or done.stdout).strip()}")
    return found[1]


def _run(command: tuple[str | Path, ...], text: str, timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        env=clean_environment(),
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """Return our environment without the variables of libpq and postgres, and with messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "PGCLIENTENCODING": "UTF8"}


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def tail_of(text: str) -> str:
    return ":\n" + "\n".join(text.splitlines()[-LOG_TAIL_LINES:])
