"""One server for all tests of a process: somebody else's, or a temporary one."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
from functools import cached_property
from pathlib import Path
from typing import Protocol

from pgnotify.connecting.conninfo import parse
from pgnotify.connecting.hosts import hosts
from pgnotify.testing._programs import run_psql
from pgnotify.testing.address import Address
from pgnotify.testing.finder import Kind, NoPostgreSQL, find_postgresql
from pgnotify.testing.postgresql import TemporaryPostgreSQL

DSN_VARIABLE = "PGNOTIFY_TEST_DSN"

_preferred: Kind | None = None


class PostgreSQLServer(Protocol):
    """What the fixture gives, whichever server is behind it."""

    @property
    def dsn(self) -> str:
        """A connection string of libpq's, of either form."""

    @property
    def host(self) -> str:
        """A name, an address, or (only if somebody else started the server) a socket directory."""

    @property
    def port(self) -> int:
        """The port, also of a socket."""

    @property
    def version(self) -> str:
        """Like "18.6"."""


class ExternalPostgreSQL:
    """A server that somebody else started and that PGNOTIFY_TEST_DSN leads to."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        """The connection string as it was given."""
        address = hosts(parse(dsn))[0]
        self.host = address.hostaddr or address.host
        """The first host that it names: a name, an address or a socket directory."""
        self.port = address.port
        """The port that belongs to the host."""

    @cached_property
    def version(self) -> str:
        """Like "18.6"; asked for with psql when it is first read.

        Raises:
            NoPostgreSQL: there is no psql.
            ServerFailed: psql could not connect.
        """
        return run_psql(_psql(), self.dsn, "show server_version", 30.0).partition(" ")[0]


def _psql() -> str | Path:
    return shutil.which("psql") or find_postgresql() / "psql"


def prefer(kind: Kind | None) -> None:
    """Have `shared_server` take this kind of installation, whatever PGNOTIFY_TEST_DSN says; None takes it back."""
    global _preferred
    _preferred = kind


def shared_server() -> PostgreSQLServer:
    """Return the server of this process: that of PGNOTIFY_TEST_DSN, or a temporary one that runs until the end.

    Raises:
        NoPostgreSQL: there is none to start.
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
    """Return where `shared_server` listens, and as whom to go there.

    Raises:
        NoPostgreSQL: there is none to start.
        ValueError: PGNOTIFY_TEST_DSN leads to a Unix socket, or has a password.
    """
    server = shared_server()
    parameters = parse(server.dsn)
    if server.host.startswith(("/", "@")) or "password" in parameters:
        raise ValueError(f"{DSN_VARIABLE} must name a server that listens on TCP and trusts whoever comes from here")
    user = parameters.get("user", "postgres")
    return Address(server.host, server.port, parameters.get("dbname", user), user)


def described() -> str:
    """Say which server it will be, or why there is none."""
    if _external_dsn():
        return f"from {DSN_VARIABLE}"  # not itself: it may have a password
    try:
        return str(find_postgresql(_preferred))
    except NoPostgreSQL as error:
        return str(error)


def _external_dsn() -> str | None:
    return None if _preferred else os.environ.get(DSN_VARIABLE)
