"""A pytest plugin with fixtures for code that listens or notifies; opt in by name.

Either `pytest -p pgnotify.testing.plugin`, or in the top conftest.py
`pytest_plugins = ["pgnotify.testing.plugin"]`. The fixtures:

    memory_server              a PostgreSQL in memory, new for each test
    postgresql_server          a real one, for the session
    notifications              expects notifications, collected in the background
    notifications_connection   what that listens on; override it to listen elsewhere

Tests are skipped, with the reason, where no PostgreSQL or no driver is found; the former also
stands in the header.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast, get_args

import pytest

from pgnotify.connecting import conninfo
from pgnotify.errors import UnknownBackend
from pgnotify.registry import connect_with
from pgnotify.testing import server
from pgnotify.testing.finder import Kind, NoPostgreSQL
from pgnotify.testing.memory import MemoryServer
from pgnotify.testing.notifications import Notifications
from pgnotify.testing.server import PostgreSQLServer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --pgnotify-server."""
    parser.getgroup("pgnotify").addoption(
        "--pgnotify-server",
        choices=get_args(Kind),
        help=f"run postgresql_server from this kind of installation only, {server.DSN_VARIABLE} or not",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Hand the option on to all that need a server, `BackendConformance` too."""
    server.prefer(cast("Kind | None", config.getoption("--pgnotify-server")))


def pytest_report_header() -> str:
    """Say which server it will be, or why there is none."""
    return f"postgresql_server: {server.described()}"


@pytest.fixture(scope="session")
def postgresql_server() -> PostgreSQLServer:
    """Give a running PostgreSQL: `.dsn`, `.host`, `.port`, `.version`; one for all tests of the process.

    A TemporaryPostgreSQL, unless PGNOTIFY_TEST_DSN names another server. Skips if none is found.
    """
    try:
        return server.shared_server()
    except NoPostgreSQL as error:
        pytest.skip(str(error))


@pytest.fixture
def memory_server() -> Iterator[MemoryServer]:
    """Give a new PostgreSQL in memory: connections to it listen and notify, and fail on demand."""
    with MemoryServer() as server:
        yield server


@pytest.fixture
def notifications_connection(request: pytest.FixtureRequest) -> Any:
    """Give a connection for `notifications`, which closes it; override this to listen elsewhere.

    It leads to `postgresql_server`, with the driver that `pgnotify.connect` would take. Skips if
    none is installed.
    """
    try:
        connect = connect_with(None)
    except UnknownBackend as error:
        pytest.skip(str(error))
    dsn = request.getfixturevalue("postgresql_server").dsn  # not started for a test that is skipped
    return connect(conninfo.merge(dsn, {}))


@pytest.fixture
def notifications(notifications_connection: Any) -> Iterator[Notifications]:
    """Expect notifications: `.listen("orders")`, run what sends, `.expect("orders", "42", within=1.0)`."""
    with Notifications(notifications_connection) as collector:
        yield collector
