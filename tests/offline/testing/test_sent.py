"""The recorder of what is sent: it sees every way to send, at once, and nothing that pgnotify sends for itself."""

from __future__ import annotations

import asyncio
import enum
import threading

import pytest

import pgnotify
from pgnotify import ConnectionLost, PayloadError, UnknownBackend
from pgnotify.sending import recorders
from pgnotify.testing import Notifications, SentNotification, sent_notifications


@pytest.fixture
def db(server):
    return server.connect()


@pytest.fixture(autouse=True)
def nobody_records_afterwards():
    yield
    assert recorders == []


def of_handler(db, cls=pgnotify.NotificationHandler):
    return cls(db, "jobs", print)


WAYS = {
    "notify": lambda db, other: pgnotify.notify(db, "jobs", "1"),
    "notify_many": lambda db, other: pgnotify.notify_many(db, [("jobs", "1")]),
    "Connection.notify": lambda db, other: pgnotify.wrap(db).notify("jobs", "1"),
    "Connection.notify_many": lambda db, other: pgnotify.wrap(db).notify_many(iter([("jobs", "1")])),
    "handler.notify": lambda db, other: of_handler(db).notify(payload="1"),
    "handler.notify on another connection": lambda db, other: of_handler(other).notify(db, payload="1"),
    "handler of a Connection": lambda db, other: of_handler(pgnotify.wrap(db)).notify(payload="1"),
}
ASYNC_WAYS = {
    "notify_async": lambda db, other: pgnotify.notify_async(db, "jobs", "1"),
    "notify_many_async": lambda db, other: pgnotify.notify_many_async(db, [("jobs", "1")]),
    "AsyncConnection.notify": lambda db, other: pgnotify.wrap_async(db).notify("jobs", "1"),
    "AsyncNotificationHandler.notify": lambda db, other: of_handler(db, pgnotify.AsyncNotificationHandler).notify(
        payload="1"
    ),
    "AsyncNotificationHandler.notify on another connection": lambda db, other: of_handler(
        other, pgnotify.AsyncNotificationHandler
    ).notify(db, payload="1"),
}


@pytest.fixture(params=[*WAYS, *ASYNC_WAYS])
def send(request, server, db):
    """Sends "1" on "jobs", in one of all ways."""
    other = server.connect()
    if request.param in WAYS:
        return lambda: WAYS[request.param](db, other)

    async def send_on_loop():
        await ASYNC_WAYS[request.param](db, other)

    return lambda: asyncio.run(send_on_loop())


def test_what_is_sent_in_a_transaction_is_recorded_at_once(send, db, server):
    other = server.connect()
    other.listen("jobs")
    db.begin()

    with sent_notifications(db) as sent:
        send()
        assert sent == [("jobs", "1")]
    db.rollback()

    assert other.fetch() == []
    assert sent == [("jobs", "1")]
    assert (sent[0].connection, sent[0].stored) == (db, False)


def test_it_is_sent_all_the_same(send, db):
    db.listen("jobs")

    with sent_notifications():
        send()

    assert [note.payload for note in db.fetch()] == ["1"]


def test_after_the_block_nothing_is_recorded(send, db):
    with sent_notifications(db) as sent:
        pass
    send()

    assert sent == []


def test_on_a_native_asynchronous_connection_it_is_recorded_too(server):
    async def use():
        connection = await server.connect_async()
        with sent_notifications(connection) as sent, sent_notifications() as on_all:
            await pgnotify.notify_async(connection, "jobs", "1")
            await pgnotify.AsyncNotificationHandler(connection, "jobs", print).notify(stop=True)
        assert sent == on_all == [("jobs", "1"), ("stop_jobs", "")]
        await connection.close()

    asyncio.run(use())


def test_other_connections_are_recorded_without_a_filter_only(db, server):
    other = server.connect()

    with sent_notifications(db) as sent, sent_notifications() as on_all:
        pgnotify.notify(other, "jobs", "of another")
        pgnotify.notify(db, "jobs", "its own")

    assert sent == [("jobs", "its own")]
    assert on_all == [("jobs", "of another"), ("jobs", "its own")]
    assert [each.connection for each in on_all] == [other, db]


def test_the_filter_may_be_a_wrapped_connection(db):
    with sent_notifications(pgnotify.wrap(db)) as sent:
        pgnotify.notify(db, "jobs")

    assert sent == [("jobs", "")]


@pytest.mark.parametrize("thing", [5, "postgresql://", object()])
def test_what_is_no_connection_is_refused(thing):
    with pytest.raises(UnknownBackend), sent_notifications(thing):
        pass


def test_threads_are_recorded(db):
    with sent_notifications() as sent:
        thread = threading.Thread(target=pgnotify.notify, args=(db, "jobs", "1"))
        thread.start()
        thread.join()

    assert sent == [("jobs", "1")]


def test_what_fails_was_not_sent(db, server):
    with sent_notifications(db) as sent:
        with pytest.raises(PayloadError):
            pgnotify.notify(db, "jobs", "x" * 8000)
        server.drop_connection(db)
        with pytest.raises(ConnectionLost):
            pgnotify.notify(db, "jobs", "1")

    assert sent == []


def test_what_pgnotify_sends_for_itself_is_not_recorded(server):
    with sent_notifications() as sent:
        with pgnotify.Listener(server.connect, "jobs") as listener:
            listener.probe()
        with Notifications(server.connect()) as collector:
            collector.listen("jobs")
            collector.expect_none()

    assert sent == []


def test_values_are_plain(db):
    class Channel(str, enum.Enum):
        JOBS = "jobs"

    with sent_notifications() as sent:
        pgnotify.notify(db, Channel.JOBS, Channel.JOBS)

    assert [(type(channel), type(payload)) for channel, payload in sent] == [(str, str)]


def test_a_recorder_inside_another_one_sees_its_own_block(db):
    with sent_notifications() as outer:
        pgnotify.notify(db, "jobs", "1")
        with sent_notifications() as inner:
            pgnotify.notify(db, "jobs", "2")

    assert (outer, inner) == ([("jobs", "1"), ("jobs", "2")], [("jobs", "2")])


# The list.


def test_it_has_the_payloads_of_a_channel(db):
    with sent_notifications() as sent:
        pgnotify.notify_many(db, [("a", "1"), ("b", "2"), ("a", "3")])

    assert (sent.payloads("a"), sent.payloads("c")) == (["1", "3"], [])


def test_it_is_folded_as_a_transaction_of_each_connection_is(db, server):
    other = server.connect()
    other.listen("jobs")
    db.begin()
    with sent_notifications() as sent:
        for payload in ("1", "2", "1"):
            pgnotify.notify(db, "jobs", payload)
    db.commit()

    assert sent == [("jobs", "1"), ("jobs", "2"), ("jobs", "1")]
    assert sent.folded() == [(note.channel, note.payload) for note in other.fetch()] == [("jobs", "1"), ("jobs", "2")]


def test_what_two_connections_send_and_what_an_outbox_stores_is_not_folded():
    one, another = object(), object()
    sent = pgnotify.testing.SentNotifications(
        [
            SentNotification("jobs", "1", one),
            SentNotification("jobs", "1", another),
            SentNotification("jobs", "1", one, stored=True),
            SentNotification("jobs", "1", one, stored=True),
            SentNotification("jobs", "1", one),
        ]
    )

    assert len(sent.folded()) == 4
