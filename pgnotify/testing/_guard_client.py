"""Our side of the connection to the guard process, which outlives us just long enough to clean up."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from pgnotify.testing import _guard
from pgnotify.testing._programs import ServerFailed, clean_environment, text_of

HOST = "127.0.0.1"
ANSWER_SECONDS = 30.0
GUARD_SECONDS = 10.0  # it gives its programs less than three
ORPHAN_SECONDS = 2.0
POLL_SECONDS = 0.01  # between two checks of a process that signals nobody when it is done; always with a deadline
GUARD_GONE = "the guard process is gone, and the server with it; call close(), then start()"
# macOS allows 103 bytes for a socket's path, Linux 107; the name in the directory takes 15.
MAX_BASE_BYTES = 103 - len("/pgnotify-01234567") - len("/.s.PGSQL.65535")
# Below the ports that kernels assign to outgoing connections (Linux: from 32768, BSD: 49152).
# Such a port can be taken while the server is down for a restart. A client that retries on it can
# even connect to itself: if both ends have the same port, TCP's simultaneous open succeeds.
PORTS = range(15000, 32000)


class GuardProcess:
    """Our side of the connection to the guard, which ends its programs when this side is closed."""

    def __init__(self, postgres: Path) -> None:
        self._lock = threading.Lock()
        self._foreign = False
        self._line, theirs = socket.socketpair()
        self._line.settimeout(ANSWER_SECONDS)
        with theirs:
            self._process = _start_guard(theirs, postgres)
        _guards.add(self)
        try:
            self.directory = Path(self._receive()["directory"])
        except BaseException:
            self._hang_up()
            raise

    def ask(self, *request: object) -> Any:
        """Send one request (see _guard.py) and return the reply.

        Raises:
            ServerFailed: the guard is gone or reports an error, or this is a forked child.
        """
        if self._foreign:
            raise ServerFailed("the server belongs to the process that this one was forked from")
        with self._lock:
            try:
                self._line.sendall(json.dumps([*map(_plain, request)]).encode() + b"\n")
                return self._receive()
            except OSError as error:
                raise ServerFailed(GUARD_GONE) from error

    def _receive(self) -> Any:
        received = b""
        while not received.endswith(b"\n"):
            if not (part := self._line.recv(65536)):
                raise ServerFailed(GUARD_GONE)
            received += part
        reply = json.loads(received)
        if isinstance(reply, dict) and "error" in reply:
            raise ServerFailed(reply["error"])
        return reply

    def run(self, log: Path, *command: str | Path) -> int:
        """Start a program and return its process id."""
        pid: int = self.ask("run", log, *command)
        return pid

    def poll(self, pid: int) -> int | None:
        """Return the exit code, or None while the program runs."""
        code: int | None = self.ask("poll", pid)
        return code

    def wait(self, pid: int, seconds: float) -> int | None:
        """Return the exit code, or None if the program still runs after this many seconds."""
        deadline = time.monotonic() + seconds
        while (code := self.poll(pid)) is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)  # a process that is not the parent gets no event for it
        return code

    def put(self, name: str, content: bytes) -> None:
        """Write a file into the directory that only the user of the server can read."""
        owner = self.directory.stat()
        descriptor = os.open(self.directory / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(content)

    def close(self, data: Path) -> None:
        """End all programs and remove the directory; both are done on return."""
        if self._foreign:
            return
        self._hang_up()
        if self.directory.exists():  # the guard was killed, or found more than it could remove
            _end_orphan(data / "postmaster.pid")
            _guard.remove_tree(str(self.directory))

    def _hang_up(self) -> None:
        self._line.close()
        try:
            self._process.wait(GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def abandon(self) -> None:
        """Close the connection in a forked child, so that it does not stay open there when the parent is gone."""
        self._foreign = True
        self._line.close()
        self._process.returncode = 0  # not our child: keeps Popen from warning about it


_guards: weakref.WeakSet[GuardProcess] = weakref.WeakSet()


def _abandon_guards() -> None:
    for guard in list(_guards):
        guard.abandon()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_abandon_guards)


def _start_guard(line: socket.socket, postgres: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # Without site and the environment's paths it starts in some 20 ms, and imports nothing of ours.
        [sys.executable, "-I", "-S", _guard.__file__, _base_directory(), str(postgres)],
        stdin=line.fileno(),
        stdout=line.fileno(),
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=clean_environment(),
        start_new_session=True,  # Ctrl-C must reach us first: our tests may still need the server
    )


def _end_orphan(pid_file: Path) -> None:
    """End a postmaster that has lost its guard, and wait until it has removed its file."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while pid := text_of(pid_file).partition("\n")[0]:
        if not _guard.LINUX:  # on Linux the kernel has sent the signal already
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGQUIT)
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_SECONDS)  # a process that is not the parent gets no event for it


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _base_directory() -> str:
    base = os.path.abspath(tempfile.gettempdir())
    # libpq reads a comma in `host` as the end of a directory, and no quoting helps.
    usable = len(os.fsencode(base)) <= MAX_BASE_BYTES and "," not in base
    return base if usable else "/tmp"


def free_port() -> int:
    """Return a loopback TCP port that is free now; another process may still take it first."""
    # Not random.sample: a seeded test run would get the same ports each time.
    for port in random.SystemRandom().sample(PORTS, 20):
        with contextlib.suppress(OSError):
            return _bound(port)
    return _bound(0)


def _bound(port: int) -> int:
    with socket.socket() as probe:
        probe.bind((HOST, port))
        bound: int = probe.getsockname()[1]
        return bound
