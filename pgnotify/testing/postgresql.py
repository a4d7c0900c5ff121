"""A PostgreSQL of one's own: found, made, started in about a second, and gone without a trace.

This module decides what to run and when; a guard process (`_guard.py`) runs it, so that the
server and its directory go even when this process is killed. The Python layers of the PyPI
wheels are never imported: they create system users, change the modes of parent directories and
leave the server running when their process is killed.
"""

from __future__ import annotations

import os
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
from pgnotify.testing.finder import NoPostgreSQL, find_postgresql

StopMode = Literal["smart", "fast", "immediate"]
Setting = str | int | float | bool
_Server = TypeVar("_Server", bound="TemporaryPostgreSQL")

START_SECONDS = 30.0
STOP_SECONDS = 30.0
SIGNALS = {"smart": "SIGTERM", "fast": "SIGINT", "immediate": "SIGQUIT"}  # postgres(1)

# synchronous_commit stays on: off would lose the last commits at kill() and stop("immediate"), and
# with fsync off it saves some 6 µs of 30 per commit that writes, nothing per NOTIFY (18.6).
SETTINGS: dict[str, Setting] = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "dynamic_shared_memory_type": "mmap",  # files in PGDATA; what SIGKILL leaves in /dev/shm would stay there
    "max_connections": 300,
}
# What the launcher itself decides: another value would make it lose its server, or expose it.
RESERVED = frozenset({"listen_addresses", "port", "unix_socket_directories", "data_directory", "hba_file"})
# Always there, and first: sql() must get in whatever `hba` says.
HBA_FOR_SQL = "local all postgres trust"
HBA = (
    "local all all trust",
    "local replication all trust",
    f"host all all {HOST}/32 trust",
    f"host replication all {HOST}/32 trust",
)


class TemporaryPostgreSQL:
    """Run a PostgreSQL server that listens on loopback only and vanishes with this process.

    Use it as a context manager, or call start() and close(). Gone means gone: a second after
    close(), an exit or a `kill -9` of this process neither a server process nor a directory is
    left. In a forked child the object still tells its addresses but controls nothing.

    Whoever has an account on this machine can be the server's superuser, unless `hba` says
    otherwise: it is for machines whose users trust each other. Data would not survive a crash of
    the machine (fsync is off).

    Args:
        bin_dir: where `postgres` and `initdb` are; None takes what find_postgresql() returns.
        settings: further server settings, as on postgres' command line (`-c name=value`).
        hba: lines of pg_hba.conf in place of the default, which trusts every local user. A line
            that lets sql() in as postgres over the Unix socket always comes first.
        tls: a certificate file and its key file; the key may have any mode, it is copied.
        port: a TCP port; None takes a free one at the first start and keeps it.
        data_dir: an existing data directory, or where to make one. It is kept afterwards;
            without it the data goes with the server.

    Raises:
        NoPostgreSQL: none found, it cannot be executed, or this is Windows.
        ValueError: `settings` has a name that the launcher must decide itself.
    """

    host = HOST

    def __init__(
        self,
        bin_dir: str | os.PathLike[str] | None = None,
        *,
        settings: Mapping[str, Setting] | None = None,
        hba: Iterable[str] | None = None,
        tls: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        port: int | None = None,
        data_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        if sys.platform == "win32":
            raise NoPostgreSQL(
                "TemporaryPostgreSQL needs Linux or macOS, this is Windows; "
                "start a server yourself and pass its address"
            )
        self.bin_directory = find_postgresql() if bin_dir is None else Path(bin_dir).absolute()
        """Where the programs are."""
        self.version = version_of(self.bin_directory / "postgres")
        """Like "18.6"."""
        self.pid: int | None = None
        """The postmaster's process id; None when stopped."""
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
        """The TCP port on loopback, the same after a restart; known from the first start on."""
        if self._port is None:
            raise ServerFailed("no port yet: the server was not started")
        return self._port

    @property
    def dsn(self) -> str:
        """A connection URI for TCP on loopback: user and database postgres, no password."""
        return f"postgresql://postgres@{HOST}:{self.port}/postgres"

    @property
    def socket_dsn(self) -> str:
        """A key=value connection string for the Unix socket in the private directory."""
        return conninfo.serialize(
            {"host": str(self.socket_directory), "port": str(self.port), "user": "postgres", "dbname": "postgres"}
        )

    @property
    def socket_directory(self) -> Path:
        """The private directory (mode 0700) with the Unix socket and the logs."""
        return self._guarded().directory

    @property
    def data_directory(self) -> Path:
        """PGDATA."""
        return self._kept_data or self._guarded().directory / "data"

    # Life and death.

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
        """Whether the postmaster is alive, as far as this process may know."""
        if self.pid is None or self._guard is None:
            return False
        try:
            return self._guard.ask("poll", self.pid) is None
        except ServerFailed:
            return False

    def start(self) -> None:
        """Start the server, making its data directory first if it has none; return when ready.

        Does nothing if it runs. A first start that fails leaves nothing behind; after a later
        one that fails, data and log stay until close().

        Raises:
            ServerFailed: it ended or was not ready within 30 seconds; has the log's last lines.
        """
        if self.running:
            return
        if self._guard is None:
            self._first_start()
        else:
            self._launch()

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and keep its data and port for another start(); may be called twice.

        Args:
            mode: "smart" waits for clients to leave, "fast" sends them away, "immediate" is a
                crash with a shutdown message.

        Raises:
            ServerFailed: it took more than 30 seconds; it was killed.
        """
        number = getattr(signal, SIGNALS[mode])
        if self.pid and self.running and not self._ends_after(number, self.pid, STOP_SECONDS):
            self.kill()
            raise ServerFailed(f"the server did not stop ({mode}), so it was killed{self._tail()}")
        self.pid = None

    def kill(self) -> None:
        """Kill the postmaster (SIGKILL); its children end by themselves when they notice."""
        if self.pid and self.running:
            self._ends_after(signal.SIGKILL, self.pid, STOP_SECONDS)
        self.pid = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop if it runs, then start on the same port with the same data."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """End the server and remove its directory; may be called twice, and without a start."""
        try:
            if self._kept_data:
                self.stop()
        finally:
            guard, self._guard, self.pid = self._guard, None, None
            if guard is not None:
                guard.close(self._kept_data or guard.directory / "data")

    # Use.

    def sql(self, statements: str, *, timeout: float = 30.0) -> str:
        """Run SQL as superuser with the psql beside postgres; no driver is needed.

        Args:
            statements: one or more, separated by semicolons, each in a transaction of its own.
            timeout: seconds until psql is killed.

        Returns:
            What psql prints without headers and alignment: columns joined by "|", one row a line.

        Raises:
            NoPostgreSQL: there is no psql beside postgres.
            ServerFailed: the server refused; the text is psql's message.
        """
        psql = self.bin_directory / "psql"
        if not os.access(psql, os.X_OK):
            raise NoPostgreSQL(f"sql() needs psql beside postgres, and there is no {psql}")
        return run_psql(psql, self.socket_dsn, statements, timeout)

    def log(self) -> str:
        """Return the server's log so far."""
        return text_of(self.socket_directory / "server.log")

    # Underneath.

    def _guarded(self) -> GuardProcess:
        if self._guard is None:
            raise ServerFailed("the server was not started, or closed: it has no directory")
        return self._guard

    def _first_start(self) -> None:
        try:
            self._prepare()
            self._launch()
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
        log = guard.directory / "initdb.log"
        options = ("--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale")
        pid = guard.run(log, self.bin_directory / "initdb", *options, "-D", self.data_directory)
        code = guard.wait(pid, START_SECONDS)
        if code != 0:
            reason = "took too long" if code is None else f"exit code {code}"
            raise ServerFailed(f"initdb of {self.version} failed, {reason}{tail_of(text_of(log))}")

    def _launch(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            said_before = len(self.log())
            code = self._run_server(deadline)
            if code is None:
                self._may_change_port = False  # from now on somebody may know it
                return
            if time.monotonic() > deadline or not self._may_retry(self.log()[said_before:]):
                raise ServerFailed(self._did_not_start(code))

    def _run_server(self, deadline: float) -> int | None:
        """Start postgres and wait until it accepts connections (None) or has ended (its code)."""
        guard = self._guarded()
        postgres = self.bin_directory / "postgres"
        options = ("-D", str(self.data_directory), *self._options())
        self.pid = guard.run(guard.directory / "server.log", postgres, *options)
        while time.monotonic() < deadline:
            code = guard.poll(self.pid)
            if code is not None or self._says_ready(self.pid):
                return code
            time.sleep(POLL_SECONDS)  # the server says so in a file, and rings no bell
        self.kill()
        return -signal.SIGKILL

    def _options(self) -> list[str]:
        directory = self.socket_directory
        decided: dict[str, object] = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": directory,
            "hba_file": directory / "pg_hba.conf",
        }
        if self._tls:
            decided["ssl"] = "on"
            decided["ssl_cert_file"] = directory / "server.crt"
            decided["ssl_key_file"] = directory / "server.key"
        settings = {**self._settings, **decided}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _says_ready(self, pid: int) -> bool:
        # Line 8 is the postmaster's status (miscadmin.h: LOCK_FILE_LINE_PM_STATUS); line 1 tells
        # its file from the one that a killed predecessor left.
        lines = text_of(self.data_directory / "postmaster.pid").splitlines()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _may_retry(self, said: str) -> bool:
        """Tell whether the reason for a failed start is one that passes; remove it if we can."""
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
