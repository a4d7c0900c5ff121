"""A pytest plugin with fixtures for code that listens or notifies; it is loaded only by name.

Use `pytest -p pgnotify.testing.plugin`, or write `pytest_plugins = ["pgnotify.testing.plugin"]` in the
top conftest.py. The fixtures:

    memory_server              a PostgreSQL in memory, new for each test
    postgresql_server          a real one, for the session
    notifications              expects notifications, collected in the background
    async_notifications        the same, for tests that are coroutines
    notifications_connection   the connection that both listen on; override it to listen elsewhere
    sent_notifications         records what is sent, also where the test is rolled back

None of them is a coroutine itself. So they work in the tests of each plugin that runs coroutines on asyncio's loops,
such as pytest-asyncio and anyio's, and need none of these.

If no PostgreSQL or no driver is found, the tests that need it are skipped, with the reason. The header
of the run also says if no PostgreSQL is found. They fail instead with `--pgnotify-require-server`, with
`pgnotify_require_server = true` in pytest's configuration, or with PGNOTIFY_REQUIRE_SERVER=1 in the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast, get_args

import pytest

from pgnotify.connecting import conninfo
from pgnotify.errors import UnknownBackend
from pgnotify.registry import async_backend_for, connect_async_with
from pgnotify.testing import server
from pgnotify.testing.finder import Kind, NoPostgreSQL
from pgnotify.testing.memory import MemoryServer
from pgnotify.testing.notifications import Notifications
from pgnotify.testing.sent import SentNotifications, sent_notifications
from pgnotify.testing.server import PostgreSQLServer

if TYPE_CHECKING:
    from pgnotify.testing.async_notifications import AsyncNotifications


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --pgnotify-server and --pgnotify-require-server, and the setting pgnotify_require_server."""
    group = parser.getgroup("pgnotify")
    group.addoption(
        "--pgnotify-server",
        choices=get_args(Kind),
        help=f"run postgresql_server from this kind of installation only, even if {server.DSN_VARIABLE} is set",
    )
    required = "fail a test that lacks a PostgreSQL server or a driver, instead of skipping it"
    group.addoption("--pgnotify-require-server", action="store_true", help=required)
    parser.addini("pgnotify_require_server", required, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Apply the options to every test that needs a server, `BackendConformance` included."""
    server.prefer(cast("Kind | None", config.getoption("--pgnotify-server")))
    server.require(config.getoption("--pgnotify-require-server") or bool(config.getini("pgnotify_require_server")))


def pytest_report_header() -> str:
    """Return a line that names the server for this run, or says why there is none."""
    return f"postgresql_server: {server.described()}"


@pytest.fixture(scope="session")
def postgresql_server() -> PostgreSQLServer:
    """Return a running PostgreSQL: `.dsn`, `.address`, `.host`, `.port`, `.version`; one for all tests of the process.

    It is a TemporaryPostgreSQL, unless PGNOTIFY_TEST_DSN names another server. Skips the test if there is none, or
    fails it if that is required.
    """
    try:
        return server.shared_server()
    except NoPostgreSQL as error:
        _lacks(error)


@pytest.fixture
def memory_server() -> Iterator[MemoryServer]:
    """Yield a new PostgreSQL in memory: connections to it listen and notify, and fail on demand."""
    with MemoryServer() as server:
        yield server


@pytest.fixture
def notifications_connection(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Yield a connection for `notifications`, which closes it; override this to listen elsewhere.

    By default it is a connection to `postgresql_server`, made with the driver that `pgnotify.connect_async`
    would choose. If that is an asynchronous one, the connection has an event loop of its own. Skips the test if no
    driver is installed, or fails it if that is required.
    """
    try:
        connect, is_asynchronous = connect_async_with(None)
    except UnknownBackend as error:
        _lacks(error)
    dsn = request.getfixturevalue("postgresql_server").dsn  # not started for a test that is skipped
    parameters = conninfo.merge(dsn, {})
    if is_asynchronous:
        with _on_a_loop_of_its_own(connect, parameters) as connection:
            yield connection
    else:
        yield connect(parameters)


@pytest.fixture
def notifications(notifications_connection: Any) -> Iterator[Notifications]:
    """Yield a collector: `.listen("orders")`, run the code that sends, `.expect("orders", "42", within=1.0)`."""
    with Notifications(notifications_connection) as collector:
        yield collector


@pytest.fixture
def async_notifications(notifications: Notifications) -> AsyncNotifications:
    """Return the collector of `notifications` for a coroutine: `await async_notifications.expect("orders", "42")`."""
    from pgnotify.testing.async_notifications import AsyncNotifications  # it imports asyncio

    return AsyncNotifications(notifications)


@pytest.fixture(name="sent_notifications")
def _sent_notifications() -> Iterator[SentNotifications]:
    """Yield the list of what is sent through pgnotify during the test, on all connections."""
    with sent_notifications() as recorded:
        yield recorded


def _lacks(error: Exception) -> NoReturn:
    if server.is_required():
        pytest.fail(f"{error} (not skipped, because a server and a driver are required)", pytrace=False)
    pytest.skip(str(error))


@contextmanager
def _on_a_loop_of_its_own(connect: Callable[[dict[str, str]], Any], parameters: dict[str, str]) -> Iterator[Any]:
    """Yield an asynchronous connection as one that blocks."""
    from pgnotify.testing.async_conformance._blocking_view import blocking_view
    from pgnotify.testing.async_conformance._loop_thread import LoopThread

    loop = LoopThread()
    try:
        backend = loop.call(async_backend_for, loop.call(connect, parameters))
        yield blocking_view(backend, loop)
    finally:
        loop.close()
