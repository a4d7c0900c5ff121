"""A temporary PostgreSQL server: found, created and started in about a second, and removed without a trace.

This module decides what to run and when. A guard process (`_guard.py`) runs it, so that the server
and its directory are removed even if this process is killed. The Python layers of the PyPI wheels
are never imported: they create system users, change the modes of parent directories and leave the
server running when their process is killed.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

from pgnotify.connecting import conninfo
from pgnotify.testing._guard_client import HOST, POLL_SECONDS, GuardProcess, free_port
from pgnotify.testing._programs import ServerFailed, run_psql, tail_of, text_of, version_of
from pgnotify.testing._scram import verifier
from pgnotify.testing._wire import Session, SQLError, literal
from pgnotify.testing.address import Address
from pgnotify.testing.finder import NoPostgreSQL, find_postgresql
from pgnotify.uncopyable import Uncopyable

StopMode = Literal["smart", "fast", "immediate"]
Setting = str | int | float | bool
_Server = TypeVar("_Server", bound="TemporaryPostgreSQL")

LOG = "server.log"
START_SECONDS = 30.0
STOP_SECONDS = 30.0
SIGNALS = {"smart": "SIGTERM", "fast": "SIGINT", "immediate": "SIGQUIT"}  # postgres(1)

# synchronous_commit stays on: off would lose the last commits at kill() and stop("immediate"). With
# fsync off, it would save only some 6 of 30 µs per commit that writes, and nothing per NOTIFY (18.6).
SETTINGS: dict[str, Setting] = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",  # files in PGDATA; in /dev/shm, files would remain after SIGKILL
    "max_connections": 300,
}
# The launcher decides these: with another value it would lose its server, or expose it.
RESERVED = frozenset({"listen_addresses", "port", "unix_socket_directories", "data_directory", "hba_file"})
# Always the first line: sql() must be let in whatever `hba` says.
HBA_FOR_SQL = "local all postgres trust"
# The socket lies in a directory that only the account of the server, and root, can enter.
HBA = (
    "local all all trust",
    "local replication all trust",
    f"host all all {HOST}/32 scram-sha-256",
    f"host replication all {HOST}/32 scram-sha-256",
)
# For a data directory that is kept, and started later by others with its own pg_hba.conf.
INITDB = "--no-sync --auth-local=peer --auth-host=scram-sha-256 -U postgres -E UTF8 --no-locale"
PASSWORD_BYTES = 24


class TemporaryPostgreSQL(Uncopyable):
    """Run a PostgreSQL server that listens on loopback only and ends with this process.

    Use it as a context manager, or call start() and close(). One second after close(), an exit or a
    `kill -9` of this process, no server process and no directory is left. In a forked child the
    object still has its addresses, but controls nothing.

    The role postgres has a password, which TCP asks for; it is in `dsn` and in `address`. The Unix
    socket asks for none, and lies in a directory that no other account can enter. A client with
    the password is the server's superuser, and can do all that the server's process can: docs/how-to/testing.md
    says as which account that runs. The data would not survive a crash of the machine (fsync is off).

    Args:
        bin_dir: the directory of `postgres` and `initdb`; None means that of find_postgresql().
        settings: further server settings, as on the command line of postgres (`-c name=value`).
        hba: lines of pg_hba.conf in place of the default, which lets every role in with its password
            over TCP, and without one over the Unix socket. They follow a line that lets sql() in as
            postgres over the Unix socket.
        tls: a certificate file and its key file; the key may have any mode, as it is copied.
        port: a TCP port; None means a free one, which is chosen at the first start and kept.
        data_dir: an existing data directory, or a path where to make one. It is kept afterwards;
            without it, the data is removed with the server.
        password: of the role postgres, which gets it at the first start, in an existing data directory
            too. None means a random one. A standby cannot change it: give it that of its primary.

    Raises:
        NoPostgreSQL: none was found, it cannot be executed, or this is Windows.
        ValueError: `settings` names a setting that the launcher must decide itself, or the password is empty.
    """

    host = HOST
    """127.0.0.1, on which alone it listens."""

    def __init__(
        self,
        bin_dir: str | os.PathLike[str] | None = None,
        *,
        settings: Mapping[str, Setting] | None = None,
        hba: Iterable[str] | None = None,
        tls: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        port: int | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        password: str | None = None,
    ) -> None:
        if sys.platform == "win32":
            raise NoPostgreSQL(
                "TemporaryPostgreSQL needs Linux or macOS, and this is Windows; "
                "start a server yourself and pass its address"
            )
        self.bin_directory = find_postgresql() if bin_dir is None else Path(bin_dir).absolute()
        """The directory of the programs."""
        self.version = version_of(self.bin_directory / "postgres")
        """Like "18.6"."""
        if password == "":
            raise ValueError("password is empty, and PostgreSQL lets nobody in with an empty password")
        self.password = password or secrets.token_urlsafe(PASSWORD_BYTES)
        """The password of the role postgres, which TCP asks for."""
        self.pid: int | None = None
        """The postmaster's process id; None while the server is stopped."""
        self._settings = SETTINGS | _checked(settings or {})
        self._hba = HBA if hba is None else tuple(hba)
        self._tls = tls
        self._port = port
        self._may_change_port = port is None
        self._kept_data = None if data_dir is None else Path(data_dir).absolute()
        self._guard: GuardProcess | None = None

    # Addresses.

    @property
    def port(self) -> int:
        """The TCP port on loopback; it stays the same after a restart, and is known from the first start on."""
        if self._port is None:
            raise ServerFailed("no port yet: the server was not started")
        return self._port

    @property
    def address(self) -> Address:
        """TCP on loopback, user and database postgres, and the password."""
        return Address(HOST, self.port, password=self.password)

    @property
    def dsn(self) -> str:
        """A connection URI for TCP on loopback: user and database postgres, with the password."""
        return self.address.dsn

    @property
    def socket_dsn(self) -> str:
        """A key=value connection string for the Unix socket in the private directory, which asks for no password."""
        return conninfo.serialize(
            {"host": str(self.socket_directory), "port": str(self.port), "user": "postgres", "dbname": "postgres"}
        )

    @property
    def socket_directory(self) -> Path:
        """The private directory (mode 0700) with the Unix socket; it belongs to the account of the server."""
        return self._guarded().run_directory

    @property
    def data_directory(self) -> Path:
        """PGDATA."""
        return self._kept_data or self._guarded().run_directory / "data"

    # Starting and stopping.

    def __enter__(self: _Server) -> _Server:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the postmaster runs; False in a forked child, which cannot know."""
        if self.pid is None or self._guard is None:
            return False
        try:
            return self._guard.ask("poll", self.pid) is None
        except ServerFailed:
            return False

    def start(self) -> None:
        """Start the server, and return when it is ready; make its data directory first if there is none.

        Does nothing if the server runs. If the first start fails, nothing is left behind. If a later
        one fails, data and log stay until close().

        Raises:
            ServerFailed: it ended, or was not ready within 30 seconds; the text has the log's last lines.
        """
        if self.running:
            return
        if self._guard is None:
            self._first_start()
        else:
            self._launch()

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server, and keep its data and port for another start(); may be called twice.

        Args:
            mode: "smart" waits for clients to disconnect, "fast" disconnects them, "immediate" is a
                crash with a shutdown message.

        Raises:
            ServerFailed: it took more than 30 seconds, so the server was killed.
        """
        number = getattr(signal, SIGNALS[mode])
        if self.pid and self.running and not self._ends_after(number, self.pid, STOP_SECONDS):
            self.kill()
            raise ServerFailed(
                f"the server did not stop within {STOP_SECONDS:g} seconds ({mode}), so it was killed{self._tail()}"
            )
        self.pid = None

    def kill(self) -> None:
        """Kill the postmaster (SIGKILL); its children end when they notice."""
        if self.pid and self.running:
            self._ends_after(signal.SIGKILL, self.pid, STOP_SECONDS)
        self.pid = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop the server if it runs, then start it on the same port with the same data."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """End the server and remove its directory; may be called twice, and without start()."""
        try:
            if self._kept_data:
                self.stop()
        finally:
            guard, self._guard, self.pid = self._guard, None, None
            if guard is not None:
                guard.close(self._kept_data or guard.run_directory / "data")

    # Use.

    def sql(self, statements: str, *, timeout: float = 30.0) -> str:
        """Run SQL as superuser with the psql in the directory of postgres; no driver is needed.

        Args:
            statements: one or more, separated by semicolons, each in its own transaction.
            timeout: after how many seconds psql is killed.

        Returns:
            The output of psql without headers and alignment: columns joined by "|", one row per line.

        Raises:
            NoPostgreSQL: there is no psql in the directory of postgres.
            ServerFailed: the server refused a statement (the text is psql's message), or time was up.
        """
        psql = self.bin_directory / "psql"
        if not os.access(psql, os.X_OK):
            raise NoPostgreSQL(f"sql() needs psql in the directory of postgres, and there is no {psql}")
        return run_psql(psql, self.socket_dsn, statements, timeout)

    def log(self) -> str:
        """Return the server's log so far."""
        return self._guarded().log(LOG)

    # Internals.

    def _guarded(self) -> GuardProcess:
        if self._guard is None:
            raise ServerFailed("the server was not started, or was closed: it has no directory")
        return self._guard

    def _first_start(self) -> None:
        try:
            self._prepare()
            self._launch()
            self._set_password()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        self._guard = guard = GuardProcess(self.bin_directory / "postgres")
        self._port = self._port or free_port()
        guard.put("pg_hba.conf", "\n".join((HBA_FOR_SQL, *self._hba, "")).encode())
        for name, path in zip(("server.crt", "server.key"), self._tls or (), strict=False):
            guard.put(name, Path(path).read_bytes())
        if not (self.data_directory / "PG_VERSION").exists():
            self._initdb(guard)

    def _initdb(self, guard: GuardProcess) -> None:
        log = "initdb.log"
        pid = guard.run(log, self.bin_directory / "initdb", *INITDB.split(), "-D", self.data_directory)
        code = guard.wait(pid, START_SECONDS)
        if code != 0:
            reason = "took too long" if code is None else f"exit code {code}"
            raise ServerFailed(f"initdb of {self.version} failed, {reason}{tail_of(guard.log(log))}")

    def _set_password(self) -> None:
        # Over TCP, a new server has let nobody in so far. The verifier is not the password, which stands in no log.
        role = f"ALTER ROLE postgres PASSWORD {literal(verifier(self.password))}"
        try:
            with Session(str(self.socket_directory), self.port) as session:
                if session.sql("SELECT pg_catalog.pg_is_in_recovery()") == [("f",)]:
                    # `settings` may say that transactions are read-only, or wait for a standby.
                    session.sql(f"BEGIN READ WRITE; SET LOCAL synchronous_commit TO local; {role}; COMMIT")
                session.end()
        except (OSError, SQLError) as error:
            raise ServerFailed(f"the role postgres could not be given its password: {error}") from error

    def _launch(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            said_before = len(self.log())
            code = self._run_server(deadline)
            if code is None:
                self._may_change_port = False  # from now on somebody may rely on the port
                return
            if time.monotonic() > deadline or not self._may_retry(self.log()[said_before:]):
                raise ServerFailed(self._did_not_start(code))

    def _run_server(self, deadline: float) -> int | None:
        """Start postgres; return None when it accepts connections, or its exit code if it ends first."""
        guard = self._guarded()
        postgres = self.bin_directory / "postgres"
        options = ("-D", str(self.data_directory), *self._options())
        self.pid = guard.run(LOG, postgres, *options)
        while time.monotonic() < deadline:
            code = guard.poll(self.pid)
            if code is not None or self._says_ready(self.pid):
                return code
            time.sleep(POLL_SECONDS)  # the server reports it in a file only
        self.kill()
        return -signal.SIGKILL

    def _options(self) -> list[str]:
        directory = self._guarded().directory
        decided: dict[str, object] = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": self.socket_directory,
            "hba_file": directory / "pg_hba.conf",
        }
        if self._tls:
            decided["ssl"] = "on"
            decided["ssl_cert_file"] = directory / "server.crt"
            decided["ssl_key_file"] = directory / "server.key"
        settings = {**self._settings, **decided}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _says_ready(self, pid: int) -> bool:
        # Line 8 is the postmaster's status (miscadmin.h: LOCK_FILE_LINE_PM_STATUS). Line 1 is its pid:
        # a killed predecessor may have left a file with another one.
        lines = text_of(self.data_directory / "postmaster.pid").splitlines()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _may_retry(self, said: str) -> bool:
        """Return whether another start may succeed where this one failed; choose another port if that helps."""
        if self._may_change_port and "could not create any TCP/IP sockets" in said:
            self._port = free_port()
            return True
        # The children of a killed postmaster hold its shared memory until they notice.
        return "is still in use" in said

    def _did_not_start(self, code: int) -> str:
        return f"PostgreSQL {self.version} did not start (exit code {code}){self._tail()}"

    def _tail(self) -> str:
        return tail_of(self.log())

    def _ends_after(self, number: int, pid: int, seconds: float) -> bool:
        guard = self._guarded()
        guard.ask("signal", pid, number)
        return guard.wait(pid, seconds) is not None


def _checked(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    checked = {name.lower().replace("-", "_"): value for name, value in settings.items()}
    if refused := sorted(RESERVED & checked.keys()):
        raise ValueError(f"{', '.join(refused)}: decided by TemporaryPostgreSQL, not by `settings`")
    return checked
