"""psycopg's AsyncConnection: statements of other tasks on the connection that we listen on, and its pools."""

from __future__ import annotations

import asyncio

import psycopg as driver
import psycopg_pool
import pytest

from pgnotify.aio.loop import Loop
from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.errors import TransactionError
from pgnotify.registry import async_backend_for
from tests.helpers.waiting import PATIENCE
from tests.online.asynchronous.native import arrivals, backend_of


async def test_what_comes_along_with_a_statement_of_another_task_ends_the_wait(psycopg, channel):
    connection = await psycopg.connect()
    backend, woken = backend_of(connection), asyncio.Event()
    await backend.listen(channel)

    class OnlyWoken:
        """psycopg reads before we see that there is something to read."""

        wake = staticmethod(woken.set)

        async def wait_readable(self, descriptor, timeout):
            return await woken.wait()

    waiting = asyncio.ensure_future(backend.wait(None, OnlyWoken()))
    await asyncio.sleep(0)
    await connection.execute("SELECT pg_catalog.pg_notify(%s, 'along')", (channel,))

    assert await asyncio.wait_for(waiting, PATIENCE)
    assert [each.payload for each in backend.fetch()] == ["along"]


async def test_a_wait_goes_on_during_and_after_statements_of_other_tasks(psycopg, session, channel):
    connection = await psycopg.connect()
    backend = backend_of(connection)
    await backend.listen(channel)
    waiting = asyncio.ensure_future(arrivals(backend, 2))
    await asyncio.sleep(0)

    await asyncio.gather(*(connection.execute("SELECT pg_catalog.pg_sleep(0.01)") for _ in range(3)))
    session.notify(channel, "first")
    await connection.execute("SELECT 1")  # psycopg stops watching the descriptor afterwards
    session.notify(channel, "second")

    assert await asyncio.wait_for(waiting, PATIENCE) == ["first", "second"]


async def test_nothing_is_asked_of_libpq_during_a_statement_of_another_task(psycopg, session, channel):
    connection = await psycopg.connect()
    backend, wakeup = backend_of(connection), LoopWakeup(Loop())
    await backend.listen(channel)
    running = asyncio.ensure_future(connection.execute("SELECT pg_catalog.pg_sleep(0.05), 'the answer'"))
    await asyncio.sleep(0)
    session.notify(channel, "x")

    while not running.done():
        await backend.wait(0.01, wakeup)
        backend.fetch()

    (row,) = await running.result().fetchall()
    assert row[1] == "the answer"
    wakeup.forget()


async def test_a_verb_waits_for_a_statement_of_another_task(psycopg, channel):
    connection = await psycopg.connect()
    backend = backend_of(connection)
    running = asyncio.ensure_future(connection.execute("SELECT pg_catalog.pg_sleep(0.05)"))
    await asyncio.sleep(0)

    await backend.listen(channel)
    await backend.notify(channel, "x")

    assert running.done()
    assert await arrivals(backend, 1) == ["x"]


async def test_a_statement_of_another_task_stays_in_its_transaction(psycopg, session, channel):
    connection = await psycopg.connect()
    await connection.set_autocommit(False)
    backend = backend_of(connection)

    await asyncio.gather(backend.listen(channel), connection.execute("CREATE TEMPORARY TABLE kept (x int)"))

    assert not connection.autocommit
    assert connection.info.transaction_status == driver.pq.TransactionStatus.INTRANS
    await connection.rollback()
    with pytest.raises(driver.errors.UndefinedTable):
        await connection.execute("SELECT x FROM pg_temp.kept")


async def test_a_connection_in_pipeline_mode_is_refused(psycopg, channel):
    connection = await psycopg.connect()
    backend = backend_of(connection)

    async with connection.pipeline():
        with pytest.raises(TransactionError, match="pipeline mode"):
            await backend.listen(channel)

    await backend.listen(channel)


@pytest.mark.parametrize("close_returns", [False, True])
async def test_a_connection_of_a_pool_does_not_go_back_listening(psycopg, channel, close_returns):
    conninfo = driver.conninfo.make_conninfo(**_parameters(psycopg))
    options = {"close_returns": True} if close_returns else {}
    async with psycopg_pool.AsyncConnectionPool(conninfo, min_size=1, max_size=1, open=False, **options) as pool:
        connection = await pool.getconn()
        backend = backend_of(connection)
        await backend.listen(channel)

        await backend.close()

        if not close_returns:
            await pool.putconn(connection)
        async with pool.connection() as following:
            cursor = await following.execute("SELECT pg_catalog.pg_listening_channels()")
            assert await cursor.fetchall() == []
            assert (following is connection) is close_returns


async def test_what_to_pass_instead_of_a_pool_or_a_cursor(psycopg):
    connection = await psycopg.connect()
    pool = psycopg_pool.AsyncConnectionPool(open=False)

    with pytest.raises(TypeError, match="AsyncConnectionPool as the source of an AsyncListener"):
        async_backend_for(pool)
    async with connection.cursor() as cursor, connection.cursor("named") as named:
        for each in (cursor, named):
            with pytest.raises(TypeError, match=r"pass the psycopg.AsyncConnection, not a Async\w*Cursor"):
                async_backend_for(each)


async def test_a_connection_that_blocks_has_no_asynchronous_backend(psycopg):
    with driver.connect(**_parameters(psycopg)) as connection:
        assert async_backend_for(connection) is None
        assert async_backend_for(connection.cursor()) is None
    assert async_backend_for(psycopg_pool.ConnectionPool(open=False)) is None


def _parameters(psycopg):
    address = psycopg.address
    return {
        "host": address.host,
        "port": address.port,
        "dbname": address.database,
        "user": address.user,
        "password": address.password,
    }
