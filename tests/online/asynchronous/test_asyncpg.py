"""asyncpg: what its own listeners get wrong, and what users do beside us."""

from __future__ import annotations

import asyncio
import gc
import json

import asyncpg as driver
import pytest

from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.registry import async_backend_for
from pgnotify.testing._proxy import notification
from tests.helpers.waiting import PATIENCE
from tests.online.asynchronous.native import arrivals, backend_of, nothing_arrives


async def test_bytes_that_are_not_utf_8_arrive_and_harm_nothing(asyncpg, proxy, address, session, channel):
    connection = await asyncpg.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = backend_of(connection)
    await backend.listen(channel)

    session.notify(channel, "before")
    assert await arrivals(backend, 1) == ["before"]
    proxy.say(notification(channel, b"h\xff!"))
    assert await arrivals(backend, 1) == ["h\udcff!"]
    session.notify(channel, "after")

    assert await arrivals(backend, 1) == ["after"]
    assert await connection.fetchval("SELECT 42") == 42


async def test_bytes_that_are_not_utf_8_are_kept_from_a_callback_of_the_users(
    asyncpg, proxy, address, session, channel
):
    connection = await asyncpg.connect(address._replace(host=proxy.host, port=proxy.port))
    backend, called = backend_of(connection), asyncio.Queue()
    await connection.add_listener(channel, lambda *arguments: called.put_nowait(arguments[3]))
    await backend.listen(channel)

    proxy.say(notification(channel, b"h\xff!"))
    assert await arrivals(backend, 1) == ["h\udcff!"]
    session.notify(channel, "after")

    assert await arrivals(backend, 1) == ["after"]
    assert await asyncio.wait_for(called.get(), PATIENCE) == "after"
    assert await connection.fetchval("SELECT 42") == 42


async def test_the_letters_of_another_client_encoding(asyncpg, session, channel):
    connection = await asyncpg.connect()
    await connection.execute("SET client_encoding TO 'LATIN1'")
    backend = backend_of(connection)
    await backend.listen("Ü\\" + channel)

    session.notify("Ü\\" + channel, "é")
    assert await arrivals(backend, 1) == ["é"]
    await backend.notify("Ü\\" + channel, "à")

    assert await arrivals(backend, 1) == ["à"]
    assert (await backend.check()).channels == {"Ü\\" + channel}


async def test_a_callback_of_the_users_goes_on_beside_us_and_after_us(asyncpg, session, channel):
    connection = await asyncpg.connect()
    backend, called = backend_of(connection), asyncio.Queue()
    for each in (channel, "of the user"):
        await connection.add_listener(each, lambda *arguments: called.put_nowait(arguments[3]))
    await backend.listen_many([channel, "other"])

    session.notify("of the user", "only his")
    session.notify(channel, "for both")

    assert await arrivals(backend, 1) == ["for both"]
    await backend.unlisten_many([channel, "other"])
    session.notify(channel, "afterwards")
    heard = [await asyncio.wait_for(called.get(), PATIENCE) for _ in range(3)]
    assert heard == ["only his", "for both", "afterwards"]
    assert (await backend.check()).channels == {channel, "of the user"}


async def test_a_message_that_has_begun_to_arrive_when_we_begin_to_read(asyncpg, proxy, address, session, channel):
    connection = await asyncpg.connect(address._replace(host=proxy.host, port=proxy.port))
    called = asyncio.Queue()
    await connection.add_listener("of the user", lambda *arguments: called.put_nowait(arguments[3]))
    transport = connection._transport
    received, feed = asyncio.Event(), connection._protocol

    class Noticing:
        def __getattr__(self, name):
            return getattr(feed, name)

        def data_received(self, data):
            received.set()
            feed.data_received(data)

    transport.set_protocol(Noticing())
    proxy.pass_only(30)
    session.notify("of the user", "in two pieces")
    await asyncio.wait_for(received.wait(), PATIENCE)
    transport.set_protocol(feed)

    backend = backend_of(connection)
    listening = asyncio.ensure_future(backend.listen(channel))
    await asyncio.sleep(0)
    proxy.thaw()
    await listening
    session.notify(channel, "whole")

    assert await arrivals(backend, 1) == ["whole"]
    assert await asyncio.wait_for(called.get(), PATIENCE) == "in two pieces"


@pytest.mark.parametrize("size", [1, 3, 7, 64])
async def test_messages_in_small_pieces(asyncpg, proxy, address, session, channel, size):
    connection = await asyncpg.connect(address._replace(host=proxy.host, port=proxy.port))
    backend, protocol = backend_of(connection), connection._transport
    await backend.listen(channel)
    tap = protocol.get_protocol()
    whole = tap.data_received

    class InPieces:
        def __getattr__(self, name):
            return getattr(tap, name)

        def data_received(self, data):
            for start in range(0, len(data), size):
                whole(data[start : start + size])

    protocol.set_protocol(InPieces())
    session.notify_all(channel, ["a", "b" * 100, ""])

    rows = await connection.fetch("SELECT pg_catalog.repeat('x', 300) FROM pg_catalog.generate_series(1, 3)")
    assert [len(row[0]) for row in rows] == [300] * 3
    assert await arrivals(backend, 3) == ["a", "b" * 100, ""]


async def test_what_arrives_before_the_answer_to_an_unlisten_is_kept(asyncpg, session, channel):
    backend = backend_of(await asyncpg.connect())
    await backend.listen(channel)
    session.notify_all(channel, map(str, range(100)))

    await backend.unlisten(channel)

    assert [each.payload for each in backend.fetch()] == [str(number) for number in range(100)]


async def test_codecs_and_record_classes_of_the_users_change_nothing(asyncpg, session, channel):
    class Upside(driver.Record):
        def __iter__(self):
            raise AssertionError("not for us")

    pool = await driver.create_pool(**_arguments(asyncpg.address), record_class=Upside, min_size=1, max_size=1)
    async with pool, pool.acquire() as connection:
        for name in ("text", "json"):
            await connection.set_type_codec(
                name, schema="pg_catalog", encoder=lambda value: json.dumps([value]), decoder=lambda value: 1 / 0
            )
        backend = backend_of(connection)
        await backend.listen(channel)
        await backend.notify(channel, "as it is")
        await backend.notify_many([(channel, "one"), (channel, "two")])

        assert await arrivals(backend, 3) == ["as it is", "one", "two"]
        assert (await backend.check()).channels == {channel}


async def test_no_statement_is_left_at_the_server(asyncpg, channel):
    connection = await driver.connect(**_arguments(asyncpg.address))  # with asyncpg's cache
    asyncpg.opened.append(connection)
    backend = backend_of(connection)

    await backend.listen(channel)
    await backend.notify(channel, "x")
    await backend.check()

    count = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_statements WHERE name OPERATOR(pg_catalog.<>) ''"
    (found,) = await connection.fetch(count)
    assert found[0] == 1  # this one


async def test_a_statement_of_another_task_makes_us_busy(asyncpg, channel):
    connection = await asyncpg.connect()
    backend = backend_of(connection)
    await backend.listen(channel)
    running = asyncio.ensure_future(connection.execute("SELECT pg_catalog.pg_sleep(0.1)"))
    await asyncio.sleep(0)

    for call in (backend.notify(channel), backend.listen("other")):
        with pytest.raises(TransactionError, match="busy with another statement"):
            await call

    await running
    await backend.notify(channel, "afterwards")
    assert await arrivals(backend, 1) == ["afterwards"]


async def test_a_wait_in_a_block_of_the_users_is_refused(asyncpg, channel):
    connection = await asyncpg.connect()
    backend = backend_of(connection)
    await backend.listen(channel)

    async with connection.transaction():
        with pytest.raises(TransactionError, match="inside an open transaction"):
            await arrivals(backend, 1)
        await backend.notify(channel, "at commit")

    assert await arrivals(backend, 1) == ["at commit"]


async def test_the_reason_of_a_loss_is_the_servers_last_word(asyncpg, session, channel):
    backend = backend_of(await asyncpg.connect())
    await backend.listen(channel)

    session.terminate(backend.server_pid)

    with pytest.raises(ConnectionLost) as lost:
        await arrivals(backend, 1)
    assert isinstance(lost.value.__cause__, driver.AdminShutdownError)


async def test_a_connection_that_went_back_to_its_pool_is_lost_to_us_and_free_for_others(asyncpg, session, channel):
    async with driver.create_pool(**_arguments(asyncpg.address), min_size=1, max_size=1) as pool:
        async with pool.acquire() as connection:
            before = backend_of(connection)
            await before.listen(channel)
        async with pool.acquire() as connection:
            with pytest.raises(ConnectionLost) as lost:
                before.fetch()
            assert "released back to the pool" in str(lost.value.__cause__)
            called = asyncio.Queue()
            await connection.add_listener(channel, lambda *arguments: called.put_nowait(arguments[3]))
            session.notify(channel, "for the next one")
            assert await asyncio.wait_for(called.get(), PATIENCE) == "for the next one"
            backend = backend_of(connection)
            await backend.listen(channel)
            session.notify(channel, "for both")
            assert await arrivals(backend, 1) == ["for both"]
            with pytest.raises(ConnectionLost):
                await before.wait(0, None)
            await backend.release()
            await connection.reset()


async def test_nothing_refers_to_a_connection_that_nobody_holds(asyncpg, channel):
    connection = await asyncpg.connect()
    backend = backend_of(connection)
    await backend.listen(channel)
    asyncpg.opened.clear()
    gc.collect()
    gc.disable()
    try:
        with pytest.warns(ResourceWarning, match="unclosed connection"):
            del connection, backend
    finally:
        gc.enable()
    await asyncio.sleep(0)


async def test_what_to_pass_instead_of_a_pool_or_what_is_not_a_connection(asyncpg):
    connection = await asyncpg.connect()
    others = connection.cursor("SELECT 1"), connection.transaction(), await connection.prepare("SELECT 1")

    async with driver.create_pool(**_arguments(asyncpg.address), min_size=0) as pool:
        with pytest.raises(TypeError, match="as the source of an AsyncListener, or one connection: async with pool"):
            async_backend_for(pool)
    for other in others:
        with pytest.raises(TypeError, match=r"pass an asyncpg.Connection, not a asyncpg\.\w+\.\w+"):
            async_backend_for(other)


async def test_a_large_answer_beside_us_is_whole_whatever_is_in_it(asyncpg, session, channel):
    connection = await asyncpg.connect()
    backend = backend_of(connection)
    await backend.listen(channel)
    session.notify(channel, "first")
    content = notification(channel, b"of a row") * 20_000

    rows = await connection.fetch("SELECT $1::pg_catalog.bytea FROM pg_catalog.generate_series(1, 3)", content)

    assert [row[0] for row in rows] == [content] * 3
    assert await arrivals(backend, 1) == ["first"]
    await nothing_arrives(backend)


def _arguments(address):
    return {
        "host": address.host,
        "port": address.port,
        "database": address.database,
        "user": address.user,
        "password": address.password,
    }
