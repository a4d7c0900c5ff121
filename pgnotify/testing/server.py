"""Decides which server all tests of a process share: one that already runs, or a temporary one."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
from functools import cached_property
from pathlib import Path
from typing import Protocol

from pgnotify.connecting.conninfo import parse
from pgnotify.connecting.dialect import libpq_form
from pgnotify.connecting.hosts import hosts
from pgnotify.testing._programs import run_psql
from pgnotify.testing.address import Address
from pgnotify.testing.finder import Kind, NoPostgreSQL, find_postgresql
from pgnotify.testing.postgresql import TemporaryPostgreSQL

DSN_VARIABLE = "PGNOTIFY_TEST_DSN"
REQUIRE_VARIABLE = "PGNOTIFY_REQUIRE_SERVER"
"""If it is set, to another value than "0", "false" or "no", a test that lacks a server or a driver fails. Otherwise it
is skipped."""

_preferred: Kind | None = None
_required = False


class PostgreSQLServer(Protocol):
    """The server that the fixture `postgresql_server` returns, of either kind."""

    @property
    def dsn(self) -> str:
        """A connection string of libpq, in either form, with the password if one is needed."""

    @property
    def address(self) -> Address:
        """The same as an address; a server that was running already must listen on TCP."""

    @property
    def host(self) -> str:
        """A name, an address, or (only for a server that was running already) a socket directory."""

    @property
    def port(self) -> int:
        """The port, also for a socket."""

    @property
    def version(self) -> str:
        """Like "18.6"."""


class ExternalPostgreSQL:
    """A server that is running already, and that PGNOTIFY_TEST_DSN names."""

    def __init__(self, dsn: str) -> None:
        self.dsn = libpq_form(dsn)
        """The connection string, as libpq reads it: without the driver that a URI may name."""
        address = hosts(parse(dsn))[0]
        self.host = address.hostaddr or address.host
        """The first host in it: a name, an address or a socket directory."""
        self.port = address.port
        """The port of that host."""

    @property
    def address(self) -> Address:
        """The first host in it, with the user, the database and the password.

        Raises:
            ValueError: it is a Unix socket.
        """
        if self.host.startswith(("/", "@")):
            raise ValueError(f"{DSN_VARIABLE} must name a server that listens on TCP, not the socket {self.host}")
        parameters = parse(self.dsn)
        user = parameters.get("user", "postgres")
        return Address(self.host, self.port, parameters.get("dbname", user), user, parameters.get("password"))

    @cached_property
    def version(self) -> str:
        """Like "18.6"; psql asks the server for it when this is first read.

        Raises:
            NoPostgreSQL: there is no psql.
            ServerFailed: psql could not connect.
        """
        return run_psql(_psql(), self.dsn, "show server_version", 30.0).partition(" ")[0]


def _psql() -> str | Path:
    return shutil.which("psql") or find_postgresql() / "psql"


def prefer(kind: Kind | None) -> None:
    """Make `shared_server` use this kind of installation, whatever PGNOTIFY_TEST_DSN says; None undoes it."""
    global _preferred
    _preferred = kind


def require(required: bool) -> None:
    """Make `is_required` return True, whatever PGNOTIFY_REQUIRE_SERVER says; False undoes it."""
    global _required
    _required = required


def is_required() -> bool:
    """Return whether a test that lacks a server or a driver fails, as a CI wants it, and is not skipped."""
    return _required or os.environ.get(REQUIRE_VARIABLE, "").lower() not in ("", "0", "false", "no")


def shared_server() -> PostgreSQLServer:
    """Return the server of this process: the one PGNOTIFY_TEST_DSN names, or a temporary one until the process ends.

    Raises:
        NoPostgreSQL: there is no PostgreSQL to start.
    """
    dsn = _external_dsn()
    return ExternalPostgreSQL(dsn) if dsn else _started(find_postgresql(_preferred))


@functools.cache
def _started(bin_directory: Path) -> TemporaryPostgreSQL:
    server = TemporaryPostgreSQL(bin_directory)
    server.start()
    atexit.register(server.close)
    return server


def shared_address() -> Address:
    """Return where `shared_server` listens, and as whom to connect.

    Raises:
        NoPostgreSQL: there is no PostgreSQL to start.
        ValueError: PGNOTIFY_TEST_DSN names a Unix socket.
    """
    return shared_server().address


def described() -> str:
    """Return which server `shared_server` returns, or why there is none."""
    if _external_dsn():
        return f"from {DSN_VARIABLE}"  # not its value, which may have a password
    try:
        return str(find_postgresql(_preferred))
    except NoPostgreSQL as error:
        return str(error)


def _external_dsn() -> str | None:
    return None if _preferred else os.environ.get(DSN_VARIABLE)
