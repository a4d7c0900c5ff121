"""The outbox on asynchronous drivers: sending in the user's transaction, and batches that are acknowledged in it."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from datetime import timedelta

import pytest

import pgnotify
from pgnotify import AsyncListener
from pgnotify.testing import sent_notifications
from tests.helpers.outbox import Sending, installed
from tests.helpers.waiting import PATIENCE


@pytest.fixture(scope="module")
def outbox(address):
    """An outbox."""
    with installed(address) as outbox:
        yield outbox


@pytest.fixture
def sender(session, outbox):
    """Another session, which stores messages."""
    return Sending(session, outbox)


@pytest.fixture
def name():
    """The name of a durable subscription that no other test uses."""
    return f"name {uuid.uuid4().hex[:12]}"


class RolledBackError(Exception):
    """Ends a transaction."""


async def test_a_message_is_sent_with_the_users_transaction_or_not_at_all(native, address, outbox, channel):
    connection = await native.connect()
    async with AsyncListener(address.dsn, channel, driver=native.driver, outbox=outbox) as listener:
        with suppress(RolledBackError), sent_notifications(connection) as sent:
            async with connection.transaction():
                await outbox.notify_async(connection, channel, "never")
                raise RolledBackError
        assert [(*each, each.stored) for each in sent] == [(channel, "never", True)]
        async with connection.transaction():
            await outbox.notify_async(connection, channel, "1")
            await outbox.notify_many_async(connection, [(channel, "2"), (channel, "x" * 10_000)])
            await outbox.notify_many_async(connection, [])
        await outbox.notify_async(connection, channel)

        received = [each.payload async for each in listener.notifications(PATIENCE, 4)]

    assert received == ["1", "2", "x" * 10_000, ""]


async def test_a_blocking_connection_sends_in_a_thread(native, address, outbox, channel):
    blocking = await pgnotify.connect_async(address.dsn, driver="psycopg")
    async with (
        blocking,
        AsyncListener(address.dsn, channel, driver=native.driver, outbox=outbox) as listener,
    ):
        await outbox.notify_async(blocking, channel, "1")
        await outbox.notify_async(blocking.connection, channel, "2")

        assert [each.payload async for each in listener.notifications(PATIENCE, 2)] == ["1", "2"]


async def test_the_blocking_names_refuse_an_asynchronous_connection_and_name_the_right_one(native, outbox, channel):
    connection = await native.connect()

    with pytest.raises(pgnotify.UnknownBackend, match="a method of Outbox that ends in _async"):
        outbox.notify(connection, channel)


async def test_a_batch_that_was_rolled_back_comes_again_and_an_acknowledged_one_does_not(
    native, address, outbox, sender, channel, name
):
    connection = await native.connect()
    effects = []
    async with AsyncListener(
        address.dsn, channel, driver=native.driver, outbox=outbox, durable=name, queue_size=1
    ) as listener:
        sent = sender.send_numbers(channel, 25)
        first = True
        async for batch in listener.batches(10):
            seen = [each.payload for each in batch]
            try:
                async with connection.transaction():
                    await batch.acknowledge(connection)
                    if first:
                        first = False
                        raise RolledBackError
            except RolledBackError:
                assert seen == sent[:10]
                continue
            effects += seen
            if len(effects) == 25:
                with pytest.raises(pgnotify.Superseded, match="this batch of 5 messages"):
                    await batch.acknowledge(connection)
                break
        assert [batch async for batch in listener.batches(timeout=0.05)] == []

    assert effects == sent


async def test_a_step_that_is_cancelled_loses_no_message(native, address, outbox, sender, channel, name):
    async with AsyncListener(address.dsn, channel, driver=native.driver, outbox=outbox, durable=name) as listener:
        messages = listener.notifications()
        received = []
        for number in range(20):
            step = asyncio.ensure_future(anext(messages))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            if number % 2:
                sender.send(channel, number)
            step.cancel()
            await asyncio.wait((step,))
            if not step.cancelled():
                received.append(step.result().payload)
        left = 10 - len(received)
        received += [each.payload async for each in listener.notifications(PATIENCE, left)]

    assert received == [str(number) for number in range(20) if number % 2]


async def test_the_end_of_the_event_loop_acknowledges_what_was_done(native, address, outbox, sender, channel, name):
    async def take_three():
        listener = AsyncListener(address.dsn, channel, driver=native.driver, outbox=outbox, durable=name, start="all")
        messages = listener.notifications()
        return listener, [(await anext(messages)).payload for _ in range(3)]

    sender.send_numbers(channel, 5)
    ended, taken = await asyncio.to_thread(asyncio.run, take_three())
    assert taken == ["0", "1", "2"]
    assert ended.status().state == "closed"

    async with AsyncListener(address.dsn, channel, driver=native.driver, outbox=outbox, durable=name) as listener:
        assert [each.payload async for each in listener.notifications(PATIENCE, 3)] == ["2", "3", "4"]


async def test_a_call_that_a_stop_has_cut_short_is_made_again(native, address, outbox, sender, channel, name):
    entered = asyncio.Event()

    async def stay_in_2(message):
        if message.payload == "2":
            entered.set()
            await asyncio.Event().wait()

    sender.send_numbers(channel, 5)
    listener = AsyncListener(address.dsn, driver=native.driver, outbox=outbox, durable=name, start="all")
    listener.subscribe(channel, stay_in_2)
    await listener.start()
    await entered.wait()
    assert await listener.stop(timeout=0.4)

    async with AsyncListener(address.dsn, channel, driver=native.driver, outbox=outbox, durable=name) as listener:
        assert [each.payload async for each in listener.notifications(PATIENCE, 3)] == ["2", "3", "4"]


async def test_the_tables_are_kept_up_on_any_connection(native, address, session):
    outbox = pgnotify.Outbox(f"upkeep {uuid.uuid4().hex[:8]}", max_age=timedelta(microseconds=1))
    connection = await native.connect()
    blocking = await pgnotify.connect_async(address.dsn, driver="psycopg")
    async with blocking:
        with pytest.raises(pgnotify.OutboxError, match="there is no outbox"):
            await outbox.notify_async(connection, "jobs", "1")
        with suppress(RolledBackError):
            async with connection.transaction():
                await outbox.install_async(connection)
                raise RolledBackError
        with pytest.raises(pgnotify.OutboxError, match="there is no outbox"):
            await outbox.status_async(connection)

        await outbox.install_async(connection, senders=["postgres"])
        await outbox.notify_many_async(connection, [("jobs", "1"), ("jobs", "2"), ("jobs", "3")])
        assert (await outbox.status_async(connection)).messages == 3
        assert await outbox.prune_async(connection, max_rows=2) == 2
        assert await outbox.prune_async(blocking) == 1
        await outbox.rebase_async(connection)
        await outbox.uninstall_async(blocking)
        with pytest.raises(pgnotify.OutboxError, match="there is no outbox"):
            await outbox.prune_async(connection)
