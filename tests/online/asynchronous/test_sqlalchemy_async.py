"""SQLAlchemy's asynchronous connections, and notify() inside run_sync()."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.util import greenlet_spawn

import pgnotify
from pgnotify.errors import ConnectionLost
from pgnotify.registry import async_backend_for
from tests.helpers.sending import SEND
from tests.online.asynchronous.native import arrivals, backend_of, nothing_arrives


@pytest.fixture(params=["asyncpg", "psycopg"])
def engine(request, address):
    """An engine whose pool has two connections."""
    url = URL.create(f"postgresql+{request.param}", *address[3:], *address[:3])
    return create_async_engine(url, pool_size=2)


async def test_notify_inside_run_sync(engine, channel):
    async with engine.connect() as listening, engine.connect() as connection:
        backend = backend_of(listening)
        await backend.listen(channel)

        await connection.run_sync(lambda inside: pgnotify.notify(inside, channel, "at once"))
        assert await arrivals(backend, 1) == ["at once"]
        async with connection.begin():
            await connection.run_sync(lambda inside: pgnotify.notify(inside, channel, "first"))
            await connection.run_sync(
                lambda inside: pgnotify.notify_many(inside.connection, [(channel, "second"), (channel, "third")])
            )
            await nothing_arrives(backend)
        assert await arrivals(backend, 3) == ["first", "second", "third"]
        async with connection.begin() as transaction:
            await connection.run_sync(lambda inside: pgnotify.notify(inside, channel, "taken back"))
            await transaction.rollback()
        await nothing_arrives(backend)
    await engine.dispose()


async def test_notify_inside_the_run_sync_of_a_session(engine, channel):
    async with engine.connect() as listening, AsyncSession(engine) as session:
        backend = backend_of(listening)
        await backend.listen(channel)

        async with session.begin():
            await session.run_sync(lambda inside: pgnotify.notify(inside.connection(), channel, "at commit"))
            await nothing_arrives(backend)

        assert await arrivals(backend, 1) == ["at commit"]
    await engine.dispose()


async def test_nobody_listens_inside_run_sync(engine, channel):
    async with engine.connect() as connection:
        with pytest.raises(TypeError, match=r"only notify\(\), notify_many\(\) and query\(\) are possible"):
            await connection.run_sync(lambda inside: pgnotify.wrap(inside).listen(channel))
    await engine.dispose()


async def test_notify_in_a_block_of_an_async_connection(engine, channel):
    async with engine.connect() as listening, engine.connect() as connection:
        backend, sending = backend_of(listening), backend_of(connection)
        await backend.listen(channel)

        async with connection.begin():
            await sending.notify(channel, "at commit")
            await nothing_arrives(backend)

        assert await arrivals(backend, 1) == ["at commit"]
    await engine.dispose()


async def test_a_query_begins_the_transaction_of_an_async_connection_if_it_joins(engine, channel):
    async with engine.connect() as listening, engine.connect() as connection:
        backend, sending = backend_of(listening), backend_of(connection)
        await backend.listen(channel)

        await sending.query(SEND, (channel, "never"), joins=True)
        await connection.rollback()
        await sending.query(SEND, (channel, "at commit"), joins=True)
        assert connection.in_transaction()
        await sending.query(SEND, (channel, "in its block"))
        await nothing_arrives(backend)
        await connection.commit()
        await sending.query(SEND, (channel, "at once"))

        assert await arrivals(backend, 3) == ["at commit", "in its block", "at once"]
    await engine.dispose()


async def test_a_query_inside_run_sync(engine, channel):
    def send(inside):
        backend = pgnotify.wrap(inside).backend
        backend.query(SEND, (channel, "never"), joins=True)
        inside.rollback()
        backend.query(SEND, (channel, "at commit"), joins=True)
        assert inside.in_transaction()
        inside.commit()
        backend.query(SEND, (channel, "at once"))
        assert not inside.in_transaction()
        return backend.query("SELECT $1::pg_catalog.text", (None,))

    async with engine.connect() as listening, engine.connect() as connection:
        backend = backend_of(listening)
        await backend.listen(channel)

        assert await connection.run_sync(send) == [(None,)]

        assert await arrivals(backend, 2) == ["at commit", "at once"]
    await engine.dispose()


async def test_a_query_joins_the_transaction_of_a_raw_connection(engine, channel):
    async with engine.connect() as listening:
        backend = backend_of(listening)
        await backend.listen(channel)
        raw = await engine.raw_connection()
        sending = backend_of(raw)

        await sending.query(SEND, (channel, "never"), joins=True)
        await greenlet_spawn(raw.rollback)
        await sending.query(SEND, (channel, "at commit"), joins=True)
        await nothing_arrives(backend)
        await greenlet_spawn(raw.commit)

        assert await arrivals(backend, 1) == ["at commit"]
        await greenlet_spawn(raw.close)
    await engine.dispose()


async def test_a_raw_connection(engine, session, channel):
    raw = await engine.raw_connection()
    backend = backend_of(raw)
    await backend.listen(channel)
    session.notify(channel, "x")
    assert await arrivals(backend, 1) == ["x"]

    await backend.close()

    assert not raw.is_valid
    async with engine.connect() as following:
        assert (await backend_of(following).check()).channels == frozenset()
    await engine.dispose()


async def test_a_loss_is_told_before_the_new_connection_is_used(engine, session, channel):
    async with engine.connect() as connection:
        backend = backend_of(connection)
        await backend.listen(channel)
        session.notify(channel, "before the end")
        assert await arrivals(backend, 1) == ["before the end"]

        session.terminate(backend.server_pid)

        with pytest.raises(ConnectionLost):
            await arrivals(backend, 1)
        await connection.invalidate()
        with pytest.raises(ConnectionLost):
            await backend.listen(channel)
    await engine.dispose()


async def test_what_to_pass_instead(engine):
    with pytest.raises(TypeError, match=r"pass an AsyncConnection, not an AsyncEngine: async with engine\.connect"):
        async_backend_for(engine)
    with pytest.raises(TypeError, match=r"pass an AsyncConnection, not an AsyncSession: await session\.connection"):
        async_backend_for(AsyncSession(engine))
    with pytest.raises(TypeError, match="has not been started"):
        async_backend_for(engine.connect())
    assert async_backend_for(engine.sync_engine) is None
