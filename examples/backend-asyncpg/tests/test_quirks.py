"""The special behaviour of asyncpg, and of a front whose loop runs in another thread."""
# ruff: noqa: D103  # a test is named after the fact that it shows

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from queue import SimpleQueue
from typing import Any

import asyncpg
import pgnotify_asyncpg
import pytest
from pgnotify_asyncpg.backend import AsyncpgBackend
from pgnotify_asyncpg.blocking import BlockingConnection

import pgnotify
from pgnotify import ConnectionLost
from pgnotify.waiting import wait_readable


@pytest.fixture
def blocking(postgresql_server) -> Iterator[BlockingConnection]:
    """A connection."""
    with pgnotify_asyncpg.connect(postgresql_server.dsn) as connection:
        yield connection


@pytest.fixture
def sender(postgresql_server) -> Iterator[pgnotify.Connection]:
    """Another one."""
    with pgnotify.wrap(pgnotify_asyncpg.connect(postgresql_server.dsn)) as connection:
        yield connection


class Loop:
    """An event loop in another thread, such as a program with asyncio has; it can be stopped."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in it, or here if it was stopped."""
        if self._thread.is_alive():
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)
        return self.loop.run_until_complete(coroutine)

    def stop(self) -> None:
        """Stop it; may be called twice."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop in another thread."""
    loop = Loop()
    yield loop
    loop.stop()
    loop.loop.close()


@pytest.fixture
def plain(loop, postgresql_server) -> Iterator[asyncpg.Connection]:
    """A plain connection of asyncpg, which lives in that loop."""
    connection = loop.run(asyncpg.connect(postgresql_server.dsn))
    yield connection
    loop.run(connection.close())


def _payloads(connection: pgnotify.Connection, count: int) -> list[str]:
    arrived: list[str] = []
    while len(arrived) < count:
        assert connection.wait(20)
        arrived += [each.payload for each in connection.fetch()]
    return arrived


# Which connections


def test_the_entry_point_brings_the_backend(blocking):
    assert type(pgnotify.wrap(blocking).backend) is AsyncpgBackend


def test_a_connection_of_a_loop_in_another_thread_may_be_passed_as_it_is(plain, sender):
    connection = pgnotify.wrap(plain)
    connection.listen("jobs")

    sender.notify("jobs", "plain")

    assert _payloads(connection, 1) == ["plain"]
    assert connection.backend.connection is plain


def test_a_connection_of_the_loop_that_runs_here_is_refused(postgresql_server):
    async def wrap_here() -> None:
        connection = await asyncpg.connect(postgresql_server.dsn)
        try:
            pgnotify.wrap(connection)
        finally:
            await connection.close()

    with pytest.raises(TypeError, match=r"another thread.*pass pgnotify_asyncpg\.connect\(dsn\)"):
        asyncio.run(wrap_here())


def test_a_connection_of_a_loop_that_does_not_run_is_refused(loop, plain):
    loop.stop()

    with pytest.raises(TypeError, match=r"another thread.*pass pgnotify_asyncpg\.connect\(dsn\)"):
        pgnotify.wrap(plain)


def test_a_pool_and_what_it_hands_out_are_refused(loop, postgresql_server):
    async def pool_and_connection():
        pool = await asyncpg.create_pool(postgresql_server.dsn, min_size=1, max_size=1)
        return pool, await pool.acquire()

    pool, connection = loop.run(pool_and_connection())

    for refused in (pool, connection):
        with pytest.raises(TypeError, match=rf"pass pgnotify_asyncpg.connect\(dsn\), not a {type(refused).__name__}"):
            pgnotify.wrap(refused)

    loop.run(pool.release(connection))
    loop.run(pool.close())


# The loop in its thread


def test_a_connect_that_fails_leaves_no_thread(blocking):
    before = threading.active_count()

    with pytest.raises(OSError, match="Connect call failed"):
        pgnotify_asyncpg.connect("postgresql://postgres@127.0.0.1:1/postgres")

    assert threading.active_count() == before


def test_a_loop_that_ended_is_a_loss(loop, plain):
    connection = pgnotify.wrap(plain)
    loop.stop()

    for verb in (connection.fetch, connection.wait, lambda: connection.listen("x"), lambda: connection.notify("x")):
        with pytest.raises(ConnectionLost) as lost:
            verb()
        assert isinstance(lost.value.__cause__, asyncpg.InterfaceError)


def test_ctrl_c_cancels_the_statement_and_leaves_the_connection_usable(blocking, sender):
    sleeping = "SELECT FROM pg_catalog.pg_stat_activity WHERE wait_event OPERATOR(pg_catalog.=) 'PgSleep'"

    def interrupt() -> None:
        while not sender.connection.run(sleeping):
            pass
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        blocking.run("SELECT pg_catalog.pg_sleep(60)")
    interrupting.join()

    assert blocking.run("SELECT 1") == [(1,)]
    assert not pgnotify.wrap(blocking).backend.busy


@pytest.fixture
def behind(blocking) -> Callable[[Callable[[], object]], None]:
    """Makes something arrive at the socket while the loop is busy. The loop stays busy until shortly after that."""

    def arrive(what: Callable[[], object]) -> None:
        gate = threading.Event()
        blocking.loop.call_soon_threadsafe(gate.wait, 20)
        what()
        socket = blocking.connection._transport.get_extra_info("socket")  # there is no public way to get it
        assert wait_readable(socket.fileno(), 20)
        threading.Timer(0.05, gate.set).start()

    return arrive


def test_a_fetch_has_the_loop_read_what_is_there(blocking, sender, behind):
    connection = pgnotify.wrap(blocking)
    connection.listen("jobs")

    behind(lambda: sender.notify("jobs", "just arrived"))

    assert [each.payload for each in connection.fetch()] == ["just arrived"]


def test_a_wait_that_only_looks_has_the_loop_read_what_is_there(blocking, sender, behind):
    connection = pgnotify.wrap(blocking)
    connection.listen("jobs")

    behind(lambda: sender.notify("jobs", "just arrived"))

    assert connection.wait(0) is True


def test_a_fetch_has_the_loop_notice_the_end(blocking, sender, behind):
    connection = pgnotify.wrap(blocking)
    pid = blocking.connection.get_server_pid()

    behind(lambda: sender.connection.run("SELECT pg_catalog.pg_terminate_backend($1, 10000)", pid))

    with pytest.raises(ConnectionLost):
        connection.fetch()


# asyncpg


def test_a_listen_is_in_force_though_asyncpg_believed_it_was(blocking, sender):
    connection = pgnotify.wrap(blocking)
    connection.listen("jobs")
    blocking.run("UNLISTEN *")

    connection.listen("jobs")
    sender.notify("jobs", "again")

    assert _payloads(connection, 1) == ["again"]


def test_a_callback_of_the_users_on_the_channel_hears_it_too(plain, loop, sender):
    heard: SimpleQueue[str] = SimpleQueue()
    loop.run(plain.add_listener("jobs", lambda connection, pid, channel, payload: heard.put(payload)))
    connection = pgnotify.wrap(plain)
    connection.listen("jobs")

    sender.notify("jobs", "to both")

    assert _payloads(connection, 1) == ["to both"]
    assert heard.get(timeout=20) == "to both"


def test_an_unexpected_notification_is_an_error_of_asyncpgs_too(blocking, sender):
    handler = pgnotify.NotificationHandler(blocking, "jobs", print)
    handler.listen()
    pgnotify.wrap(blocking).listen("third")
    sender.notify("third")

    with pytest.raises(asyncpg.PostgresError, match='but notified of "third"'):
        handler()


def test_a_notification_that_is_not_utf_8_is_dropped_and_the_next_statement_ends_the_connection(blocking, sender):
    connection = pgnotify.wrap(blocking)
    connection.listen("jobs")
    blocking.run("SET client_encoding TO LATIN1")  # behind the back of asyncpg, which still decodes UTF-8

    sender.notify("jobs", "é")
    sender.notify("jobs", "next")
    assert _payloads(connection, 1) == ["next"]

    with pytest.raises(ConnectionLost) as lost:
        connection.listen("other")
    assert isinstance(lost.value.__cause__, asyncpg.InternalClientError)
