"""PgBouncer in front of a server: what a pooler does to LISTEN is tested on a real one.

A guard process runs it (`pgnotify/testing/_guard.py`), so that it goes with the tests however they end,
and so that root can start it, which PgBouncer refuses to run as.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pgnotify.testing._guard_client import HOST, POLL_SECONDS, GuardProcess, free_port
from pgnotify.testing._programs import ServerFailed, tail_of
from pgnotify.testing._wire import Session, SQLError
from pgnotify.testing.address import Address

NOT_INSTALLED = "pgbouncer is not installed"
START_SECONDS = 20.0
DROPPED = "got packet 'A' from server when not linked"
"""What the log says of a notification that came while no client had the server's connection: it is gone."""

Mode = Literal["session", "transaction", "statement"]
Setting = str | int | float

_SETTINGS: dict[str, Setting] = {
    "unix_socket_dir": "",
    "default_pool_size": 2,
    "server_login_retry": 0.1,  # by default it refuses to look for 15 seconds whether a server is back
}


def find_pgbouncer() -> Path | None:
    """Return the program: the one on PATH, or where Debian puts it, which is on root's PATH only."""
    found = shutil.which("pgbouncer", path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin"]))
    return None if found is None else Path(found)


class PgBouncer:
    """A PgBouncer on loopback that asks for the server's password; a context manager, or start() and close().

    It lets in one role, as which all go to the server. Its pool takes two connections, a third client waits.

    Args:
        server: where the server is, the role and its password; changes with `settings` only.
        mode: until when a client keeps the server's connection.
        settings: further settings, or other ones, of the section [pgbouncer].
        databases: the section [databases], in place of one line for all.

    Raises:
        ServerFailed: it is not installed, did not start, or did not reach the server.
    """

    host = HOST

    def __init__(
        self,
        server: Address,
        mode: Mode = "session",
        *,
        settings: Mapping[str, Setting] | None = None,
        databases: Mapping[str, str] | None = None,
    ) -> None:
        program = find_pgbouncer()
        if program is None:
            raise ServerFailed(NOT_INSTALLED)
        self.port = free_port()
        """The TCP port on loopback, the same after a restart."""
        self.pid: int | None = None
        """Its process ID; None when stopped."""
        self._program = program
        self._server = server
        decided = {"listen_addr": HOST, "listen_port": self.port, "pool_mode": mode}
        self._settings = {**_SETTINGS, **(settings or {}), **decided}
        self._databases = databases or {"*": f"host={server.host} port={server.port} user={server.user}"}
        self._guard: GuardProcess | None = None

    @property
    def address(self) -> Address:
        """The database postgres, through the pooler."""
        return self._server._replace(host=HOST, port=self.port)

    @property
    def dsn(self) -> str:
        """The same as a connection URI."""
        return self.address.dsn

    def log(self) -> str:
        """Return its log so far."""
        return "" if self._guard is None else self._guard.log("pgbouncer.log")

    def start(self) -> None:
        """Start it, and return when it has answered a query, with the server behind it."""
        if self._guard is None:
            self._guard = GuardProcess(self._program)
            self._configure(self._guard)
        guard = self._guard
        self.pid = guard.run("pgbouncer.log", self._program, guard.directory / "pgbouncer.ini")
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            code = guard.poll(self.pid)
            if code is not None or time.monotonic() > deadline:
                raise ServerFailed(f"PgBouncer is not ready (exit code {code}){tail_of(self.log())}")
            time.sleep(POLL_SECONDS)  # nothing tells when it accepts its first client

    def stop(self) -> None:
        """End it, and all connections through it, at once; start() has it back on the same port."""
        if self.pid is not None and self._guard is not None:
            # SIGTERM is an immediate shutdown up to 1.22, and one that waits for the clients from 1.23 on.
            self._guard.ask("signal", self.pid, signal.SIGKILL)
            if self._guard.wait(self.pid, START_SECONDS) is None:
                raise ServerFailed(f"PgBouncer does not end{tail_of(self.log())}")
        self.pid = None

    def close(self) -> None:
        """End it and remove its directory; may be called twice."""
        guard, self._guard, self.pid = self._guard, None, None
        if guard is not None:
            guard.close(guard.directory)

    def __enter__(self) -> PgBouncer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _configure(self, guard: GuardProcess) -> None:
        server = self._server
        asks = {"auth_type": "any"}  # only where the server asks nobody either
        if server.password is not None:
            guard.put("users.txt", f"{_quoted(server.user)} {_quoted(server.password)}\n".encode())
            asks = {"auth_type": "scram-sha-256", "auth_file": str(guard.directory / "users.txt")}
        configuration = _ini(
            databases=self._databases,
            pgbouncer={**asks, **self._settings},
        )
        guard.put("pgbouncer.ini", configuration.encode())

    def _answers(self) -> bool:
        try:
            with Session(*self.address):  # asks for its pid
                return True
        except (OSError, SQLError):
            return False


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""'))


def _ini(**sections: Mapping[str, object]) -> str:
    lines = []
    for section, settings in sections.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in settings.items())]
    return "\n".join([*lines, ""])
