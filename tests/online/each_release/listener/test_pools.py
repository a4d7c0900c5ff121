"""Connections that come from a pool: what goes back there does not listen, and no slot of the pool is lost.

A pool here lends at most two connections. A session that returns to it listening is read by nobody, and fills the
server's notification queue until no NOTIFY succeeds.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

import pgnotify
from pgnotify import NotificationHandler
from pgnotify.testing.conformance._statements import run_statement
from tests import kinds
from tests.helpers.listener_fronts import Listener, both_fronts
from tests.helpers.listeners import AT_ONCE, Told, listening, next_payloads
from tests.helpers.sending import burst
from tests.helpers.waiting import eventually

pytestmark = both_fronts

SLOTS = 2
LOSSES = 20


class Lent:
    """A pool, of whichever library.

    Args:
        source: what a Listener is given.
        take: returns a connection.
        give: takes it back.
        dispose: ends the pool.
    """

    def __init__(
        self,
        source: Callable[[], Any],
        take: Callable[[], Any] | None = None,
        give: Callable[[Any], object] = lambda taken: taken.close(),
        dispose: Callable[[], object] = lambda: None,
    ) -> None:
        self.source = source
        self.take = take or source
        self.give = give
        self.dispose = dispose

    def sessions(self) -> list[tuple[int, list[str], list[str]]]:
        """Take all connections at the same time; return of each the server's process, its channels, what arrived."""
        taken: list[Any] = []
        found = []
        try:
            for _ in range(SLOTS):
                taken.append(self.take())
                found.append(self.look_at(taken[-1]))
        finally:
            for each in taken:
                self.give(each)
        return found

    def look_at(self, taken: Any) -> tuple[int, list[str], list[str]]:
        run = run_on(taken)
        ((pid,),) = run("SELECT pg_catalog.pg_backend_pid()")
        channels = [name for (name,) in run("SELECT pg_catalog.pg_listening_channels()")]
        return pid, channels, arrived_at(below(taken))


def below(taken):
    """Return the driver's connection."""
    return pgnotify.wrap(taken).backend.connection


def run_on(taken):
    connection = below(taken)

    def run(statement):
        rows = run_statement(connection, statement)
        if hasattr(connection, "rollback"):
            connection.rollback()
        return rows

    return run


def arrived_at(connection):
    """Return what the driver's own ways to receive have, and whether something of ours is in these ways."""
    name = type(connection).__module__.partition(".")[0]
    if hasattr(connection, "pgconn"):  # psycopg's, or of a class of its pool's
        hooked = ["hook"] if "pgnotify" in repr(connection.pgconn.notify_handler) else []
        # The receiver of ours is the append of a list; psycopg's own is a partial function.
        hooked += ["list"] if "append" in repr(connection.pgconn.notify_handler) else []
        connection.pgconn.consume_input()  # before psycopg 3.2, notifies() has no timeout
        backlog = getattr(connection, "_notifies_backlog", None) or ()
        return [*hooked, *backlog, *iter(connection.pgconn.notifies, None)]
    if name == "psycopg2":
        connection.poll()
        return [each.payload for each in connection.notifies]
    if name == "pg8000":
        own = connection.message_types[b"A"] == connection.handle_NOTIFICATION_RESPONSE
        return [] if own and not connection.notifications else ["hook"]
    return [] if connection.getnotify() is None else ["queued"]


def until_empty(session):
    """Wait until the server's queue is empty. It never is while a session listens and does not read."""

    def is_empty():
        session.notify("unheard")  # a session that has ended is left out by the next one that sends
        return session.sql("SELECT pg_catalog.pg_notification_queue_usage()") == [("0",)]

    eventually(is_empty)


# The pools.


def psycopg_pool(way, *, address, **options):
    pools = pytest.importorskip("psycopg_pool")
    pytest.importorskip("psycopg")
    try:
        pool = pools.ConnectionPool(address.dsn, min_size=1, max_size=SLOTS, timeout=10, open=True, **options)
    except (TypeError, ValueError) as error:
        pytest.skip(f"not applicable: {error}")
    source = {
        "method": pool.getconn,
        "partial": partial(pool.getconn, timeout=10),
        "function": lambda: pool.getconn(),
    }[way]
    return Lent(source, pool.getconn, pool.putconn, pool.close)


def psycopg2_pool(way, *, address):
    pools = pytest.importorskip("psycopg2.pool")
    pool = getattr(pools, way)(SLOTS, SLOTS, address.dsn)
    return Lent(pool.getconn, pool.getconn, pool.putconn, pool.closeall)


def sqlalchemy_pool(driver, way, *, address):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip(driver)
    url = sqlalchemy.URL.create(
        f"postgresql+{driver}", address.user, address.password, address.host, address.port, address.database
    )
    engine = sqlalchemy.create_engine(url, pool_size=1, max_overflow=SLOTS - 1, pool_timeout=10)
    take = getattr(engine, way)
    return Lent(take, dispose=engine.dispose)


def django_pool(*, address, **pool):
    django = pytest.importorskip("django")
    pytest.importorskip("psycopg_pool")
    if django.VERSION < (5, 1):
        pytest.skip("not applicable: Django has no pool before 5.1")
    import django.conf
    from django.db import ConnectionHandler

    if not django.conf.settings.configured:
        django.conf.settings.configure()
        django.setup()
    connections = ConnectionHandler(
        {
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": address.database,
                "HOST": address.host,
                "PORT": address.port,
                "USER": address.user,
                "PASSWORD": address.password,
                "OPTIONS": {"pool": {"min_size": 1, "max_size": SLOTS, "timeout": 10, **pool}},
            }
        }
    )
    connections["default"].close_pool()  # Django keeps it for the name, whatever the settings
    return Lent(lambda: connections.create_connection("default"), dispose=connections["default"].close_pool)


class Proxies:
    """A small pool whose connections are proxies: their close() returns them, as in pools that wrap connections."""

    def __init__(self, connect):
        import wrapt

        class Proxy(wrapt.ObjectProxy):
            def close(proxy):  # noqa: N805  # self is the pool
                self._return(proxy.__wrapped__)

        self._connect, self._proxy = connect, Proxy
        self._free = queue.LifoQueue()
        self._taken = []
        for _ in range(SLOTS):
            self._free.put(None)

    def take(self):
        connection = self._free.get(timeout=10)
        if connection is None or not works(connection):
            connection = self._connect()
        self._taken.append(connection)
        return self._proxy(connection)

    def _return(self, connection):
        if connection in self._taken:
            self._taken.remove(connection)
            self._free.put(connection)

    def dispose(self):
        while not self._free.empty():
            connection = self._free.get()
            with suppress(Exception):
                connection.close()


def works(connection):
    try:
        run_on(connection)("SELECT 1")
    except Exception:
        return False
    return True


def proxies(name, *, address):
    pytest.importorskip("wrapt")
    (kind,) = (kind for kind in kinds.KINDS if kind.name == name)
    if kind.absent:
        pytest.skip(kind.absent)
    pool = Proxies(lambda: kind.connect(address))
    return Lent(pool.take, dispose=pool.dispose)


def case(make, *arguments, driver, **options):
    name = "-".join([make.__name__, *arguments, *options])
    made = partial(make, *arguments, **options)
    return pytest.param(made, id=name, marks=pytest.mark.drivers(driver))


POOLS = [
    case(psycopg_pool, "method", driver="psycopg"),
    case(psycopg_pool, "partial", driver="psycopg"),
    case(psycopg_pool, "function", driver="psycopg", close_returns=True),
    case(psycopg2_pool, "SimpleConnectionPool", driver="psycopg2"),
    case(psycopg2_pool, "ThreadedConnectionPool", driver="psycopg2"),
    case(sqlalchemy_pool, "psycopg", "connect", driver="wrappers"),
    case(sqlalchemy_pool, "psycopg2", "connect", driver="wrappers"),
    case(sqlalchemy_pool, "pg8000", "connect", driver="wrappers"),
    case(sqlalchemy_pool, "psycopg", "raw_connection", driver="wrappers"),
    case(django_pool, driver="wrappers"),
    case(django_pool, driver="wrappers", close_returns=True),
    case(proxies, "psycopg", driver="psycopg"),
    case(proxies, "psycopg2", driver="psycopg2"),
    case(proxies, "pg8000.dbapi", driver="pg8000"),
    case(proxies, "pg", driver="pygresql"),
    case(proxies, "pgdb", driver="pygresql"),
]


@pytest.fixture(params=POOLS)
def pool(request, address) -> Iterator[Lent]:
    """A pool with two slots."""
    lent = request.param(address=address)
    yield lent
    lent.dispose()


# A Listener whose source is a pool.


def test_no_slot_is_lost_with_a_connection(pool, session, channel):
    told = Told()
    with listening(pool.source, channel, on_listening=told, backoff=AT_ONCE) as listener:
        for _ in range(LOSSES):
            told.next()
            session.terminate(listener.status().server_pid)
        told.next()
        session.notify(channel, "at last")
        assert next_payloads(listener, 1) == ["at last"]
        assert listener.status().reconnects == LOSSES

    found = pool.sessions()

    assert len({pid for pid, _, _ in found}) == SLOTS
    assert [rest for _, *rest in found] == [[[], []]] * SLOTS


def test_after_a_stop_no_session_of_the_pool_listens_and_the_queue_stays_empty(pool, session, channel):
    with listening(pool.source, channel) as listener:
        session.notify(channel, "1")
        assert next_payloads(listener, 1) == ["1"]
        burst(session, channel, 100)

    burst(session, channel, 10_000)

    until_empty(session)
    assert [rest for _, *rest in pool.sessions()] == [[[], []]] * SLOTS


def test_a_listen_that_fails_and_an_on_listening_that_fails_lose_no_slot(pool, session, channel):
    told = []

    def fail(event):
        told.append(event)
        if len(told) <= 3:
            raise ZeroDivisionError

    with listening(pool.source, channel, on_listening=fail, on_error=lambda *_: None, backoff=AT_ONCE) as listener:
        eventually(lambda: listener.delivering and len(told) > 3)
        session.notify(channel, "at last")
        assert next_payloads(listener, 1) == ["at last"]

    assert [rest for _, *rest in pool.sessions()] == [[[], []]] * SLOTS


def test_a_transaction_that_is_left_open_loses_no_slot(pool, session, channel):
    begun = []

    def begin(event):
        if not begun:
            begun.append(event)
            run_statement(event.connection, "BEGIN")

    errors = []
    options = {"on_listening": begin, "on_error": lambda error, _: errors.append(error), "backoff": AT_ONCE}
    with listening(pool.source, channel, **options) as listener:
        eventually(lambda: errors and listener.delivering)

    assert [rest for _, *rest in pool.sessions()] == [[[], []]] * SLOTS


def test_a_probe_loses_no_slot(pool, channel):
    for _ in range(SLOTS + 1):
        with listening(pool.source, channel) as listener:
            assert listener.probe(10).delivering == "yes"
        eventually(lambda: "pgnotify probing" not in {each.name for each in threading.enumerate()})

    assert [rest for _, *rest in pool.sessions()] == [[[], []]] * SLOTS


def test_an_attempt_that_is_abandoned_loses_no_slot(pool, channel):
    listener = Listener(pool.source, channel)
    list(listener.notifications(timeout=0))  # begins to connect
    listener.stop()

    # The attempt ends by itself, in its own thread.
    assert [rest for _, *rest in pool.sessions()] == [[[], []]] * SLOTS


# A connection that was taken from a pool, and is returned by the code that took it.


def test_a_listener_leaves_a_taken_connection_as_it_was(pool, session, channel):
    taken = pool.take()
    pid, *_ = pool.look_at(taken)
    with listening(taken, channel) as listener:
        session.notify(channel, "1")
        assert next_payloads(listener, 1) == ["1"]
        burst(session, channel, 100)

    assert pool.look_at(taken) == (pid, [], [])
    pool.give(taken)
    burst(session, channel, 10)
    assert [rest for _, *rest in pool.sessions()] == [[[], []]] * SLOTS


@pytest.mark.parametrize("how", ["wrapped", "handler", "handler in a transaction"])
def test_a_close_gives_no_listening_session_back(pool, session, channel, how):
    taken = pool.take()
    if how == "wrapped":
        wrapped = pgnotify.wrap(taken)
        wrapped.listen(channel)
        burst(session, channel, 10)
        assert wrapped.wait(20)
    else:
        wrapped = NotificationHandler(taken, channel, print)
        wrapped.listen()
        if how == "handler in a transaction":
            run_statement(below(taken), "BEGIN")
        burst(session, channel, 10)

    wrapped.close()
    wrapped.close()
    with suppress(Exception):  # as a context manager would do
        pool.give(taken)

    burst(session, channel, 10_000)
    until_empty(session)
    assert [rest for _, *rest in pool.sessions()] == [[[], []]] * SLOTS
