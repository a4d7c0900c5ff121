"""Our side of the connection to the guard process, which outlives us just long enough to clean up."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import stat
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
MAX_BASE_BYTES = 103 - len(f"/pgnotify-01234567/{_guard.RUN}") - len("/.s.PGSQL.65535")
# Below the ports that kernels assign to outgoing connections (Linux: from 32768, BSD: 49152).
# Such a port can be taken while the server is down for a restart. A client that retries on it can
# even connect to itself: if both ends have the same port, TCP's simultaneous open succeeds.
PORTS = range(15000, 32000)


class GuardProcess:
    """Our side of the connection to the guard, which ends its programs when this side is closed."""

    def __init__(self, postgres: Path) -> None:
        self._lock = threading.Lock()
        self._foreign = False
        self._pids: set[int] = set()
        base = _base_directory()
        self._line, theirs = socket.socketpair()
        self._line.settimeout(ANSWER_SECONDS)
        with theirs:
            self._process = _start_guard(theirs, base, postgres)
        _guards.add(self)
        try:
            self.directory = Path(self._receive()["directory"])
            """The private directory, with the logs and what put() writes; only we write into it."""
            self.run_directory = self.directory / _guard.RUN
            """The directory of the programs, mode 0700: as root, they may run as another account, and it is theirs."""
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

    def run(self, log: str, *command: str | Path) -> int:
        """Start a program, its output appended to a file in the directory; return its process id."""
        pid: int = self.ask("run", log, *command)
        self._pids.add(pid)
        return pid

    def log(self, name: str) -> str:
        """Return the output so far."""
        return text_of(self.directory / name)

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
        """Write a new file into the directory, for the programs to read (mode 0600)."""
        owner = self.run_directory.stat()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _guard.NO_FOLLOW
        with open(os.open(self.directory / name, flags, 0o600), "wb") as file:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(content)

    def close(self, data: Path) -> None:
        """End all programs and remove the directory; both are done on return."""
        if self._foreign:
            return
        self._hang_up()
        if self.directory.exists():  # the guard was killed, or found more than it could remove
            self._end_orphan(data / "postmaster.pid")
            _guard.remove_tree(str(self.directory))

    def _hang_up(self) -> None:
        self._line.close()
        try:
            self._process.wait(GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _end_orphan(self, pid_file: Path) -> None:
        """End a postmaster that has lost its guard, and wait until it has removed its file."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while pid := text_of(pid_file).partition("\n")[0]:
            # On Linux the kernel has sent the signal already. The file alone is not trusted: the server can write it.
            if not _guard.LINUX and pid in map(str, self._pids):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(pid), signal.SIGQUIT)
            if time.monotonic() > deadline:
                return
            time.sleep(POLL_SECONDS)  # a process that is not the parent gets no event for it

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


def _start_guard(line: socket.socket, base: str, postgres: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # Without site and the environment's paths it starts in some 20 ms, and imports nothing of ours.
        [sys.executable, "-I", "-S", _guard.__file__, base, str(postgres)],
        stdin=line.fileno(),
        stdout=line.fileno(),
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=clean_environment(),
        start_new_session=True,  # Ctrl-C must reach us first: our tests may still need the server
    )


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _base_directory() -> str:
    base = os.path.realpath(tempfile.gettempdir())  # a link could lead elsewhere by the time that it is used
    # libpq reads a comma in `host` as the end of a directory, and no quoting helps.
    usable = len(os.fsencode(base)) <= MAX_BASE_BYTES and "," not in base
    candidates = [base, "/tmp"] if usable else ["/tmp"]
    unsafe = {}
    for candidate in candidates:
        unsafe[candidate] = _open_to_others(candidate)
        if unsafe[candidate] is None:
            return candidate
    reasons = " or ".join(f"in {candidate}, because of {place}" for candidate, place in unsafe.items())
    raise ServerFailed(
        f"another account could rename the server's directory {reasons}; "
        "set TMPDIR to the path of a directory that only you can write, or that has the sticky bit"
    )


def _open_to_others(directory: str) -> Path | None:
    """Return the place, on the way to a directory or that itself, in which others than we and root can rename."""
    trusted = {0, os.geteuid()} | _unmapped_users()
    path = Path(os.path.realpath(directory))
    for each in (path, *path.parents):
        if not each.is_dir():
            return each
        facts = each.stat()
        others_can_write = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not facts.st_mode & stat.S_ISVTX
        if facts.st_uid not in trusted or others_can_write:
            return each
    return None


def _unmapped_users() -> set[int]:
    """Return the owner that the kernel shows for files of accounts that do not exist in our user namespace."""
    with contextlib.suppress(OSError), open("/proc/self/uid_map") as uid_map:
        if uid_map.read().split() != ["0", "0", "4294967295"]:
            return {_guard.UNPRIVILEGED}
    return set()


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
