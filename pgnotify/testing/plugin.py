"""A pytest plugin with one fixture, `postgresql_server`; opt in by name.

Either `pytest -p pgnotify.testing.plugin`, or in the top conftest.py
`pytest_plugins = ["pgnotify.testing.plugin"]`. Tests are skipped, with the reason, where no
PostgreSQL is found; the reason also stands in the header.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import pytest

from pgnotify import conninfo
from pgnotify.testing._programs import run_psql
from pgnotify.testing.finder import Kind, NoPostgreSQL, find_postgresql
from pgnotify.testing.postgresql import TemporaryPostgreSQL

KINDS = ("embedded", "system", "celerp")
DSN_VARIABLE = "PGNOTIFY_TEST_DSN"


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
        address = conninfo.hosts(conninfo.parse(dsn))[0]
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --pgnotify-server."""
    parser.getgroup("pgnotify").addoption(
        "--pgnotify-server",
        choices=KINDS,
        help=f"run postgresql_server from this kind of installation only, {DSN_VARIABLE} or not",
    )


def _wanted(config: pytest.Config) -> Kind | None:
    return cast("Kind | None", config.getoption("--pgnotify-server"))


def _external_dsn(config: pytest.Config) -> str | None:
    return None if _wanted(config) else os.environ.get(DSN_VARIABLE)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which server it will be, or why there is none."""
    if _external_dsn(config):
        return f"postgresql_server: from {DSN_VARIABLE}"  # not itself: it may have a password
    try:
        return f"postgresql_server: {find_postgresql(_wanted(config))}"
    except NoPostgreSQL as error:
        return f"postgresql_server: {error}"


@pytest.fixture(scope="session")
def postgresql_server(request: pytest.FixtureRequest) -> Iterator[PostgreSQLServer]:
    """Give a running PostgreSQL for the session: `.dsn`, `.host`, `.port`, `.version`.

    A TemporaryPostgreSQL, unless PGNOTIFY_TEST_DSN names another server. Skips if none is found.
    """
    if dsn := _external_dsn(request.config):
        yield ExternalPostgreSQL(dsn)
        return
    try:
        server = TemporaryPostgreSQL(find_postgresql(_wanted(request.config)))
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with server:
        yield server
