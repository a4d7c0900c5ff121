"""Runs PostgreSQL's programs, and reads their output and their logs."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgnotify.connecting import conninfo
from pgnotify.errors import PgNotifyError
from pgnotify.testing.finder import NoPostgreSQL

VERSION_SECONDS = 30.0
LOG_TAIL_LINES = 15
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # neither exists on Windows
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


class ServerFailed(PgNotifyError, RuntimeError):
    """A temporary PostgreSQL did not start or stop, ended too early, or refused a statement of sql()."""


def run_psql(psql: str | Path, dsn: str, statements: str, timeout: float) -> str:
    """Run statements with psql, and return its output without headers and alignment.

    A password in the connection string goes through a file, because everybody can read command lines.

    Raises:
        ServerFailed: psql could not connect, the server refused, or it took too long.
    """
    with _without_password(dsn) as shown:
        command = (psql, "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", shown, "-f", "-")
        try:
            done = _run(command, statements, timeout)
        except subprocess.TimeoutExpired as error:
            raise ServerFailed(f"psql took more than {timeout} seconds") from error
    if done.returncode != 0:
        raise ServerFailed(done.stderr.strip())
    return done.stdout.rstrip("\n")


@contextmanager
def _without_password(dsn: str) -> Iterator[str]:
    """Yield the connection string with a file in place of the password; the file is gone afterwards."""
    parameters = conninfo.parse(dsn)
    password = parameters.pop("password", None)
    if not password:
        yield dsn
        return
    escaped = password.replace("\\", r"\\").replace(":", r"\:")
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="pgnotify-") as file:  # mode 0600
        file.write(f"*:*:*:*:{escaped}\n")
        file.flush()
        yield conninfo.serialize({**parameters, "passfile": file.name})


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
    """Return the text of a file; "" if there is none, or a link or a pipe, which another account may have put there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW | _NO_WAIT)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return ""
        raise
    # With line ends as they are: a log quotes statements.
    with open(descriptor, encoding="utf-8", errors="replace", newline="") as file:
        return file.read() if stat.S_ISREG(os.fstat(descriptor).st_mode) else ""


def tail_of(text: str) -> str:
    return ":\n" + "\n".join(text.splitlines()[-LOG_TAIL_LINES:])
