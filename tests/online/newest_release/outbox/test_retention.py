"""Old messages are removed, and nobody misses one without being told."""

from __future__ import annotations

import math
import queue

import pytest

import pgnotify
from pgnotify import Listener
from pgnotify.listener.gap import Reason
from pgnotify.outbox import retention
from pgnotify.outbox.schema import filled
from pgnotify.registry import installed_drivers
from pgnotify.testing._wire import Session
from tests.helpers.listeners import Told, next_payloads
from tests.helpers.outboxes import installed_outbox, make_older, stored, tables_of
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = pytest.mark.skipif(not installed_drivers(), reason="no driver is installed")


@pytest.fixture
def outbox(session):
    """An installed outbox."""
    with installed_outbox(session) as made:
        yield made


@pytest.fixture
def db(address):
    """A connection in autocommit mode."""
    with pgnotify.connect(address.dsn, driver=installed_drivers()[0]) as connection:
        yield connection


def send(outbox, db, *payloads, channel="orders"):
    outbox.notify_many(db, [(channel, payload) for payload in payloads])


def prune(outbox, db, session, *payloads):
    """Remove these messages, as if they were old."""
    make_older(session, outbox, list(payloads))
    assert outbox.prune(db) == len(payloads)


def expired(told):
    return [(gap.reason, gap.channels, gap.dropped) for gap in told.gaps]


def subscribe(outbox, address, name="billing"):
    """Make a subscription."""
    with Listener(address.dsn, "orders", outbox=outbox, durable=name) as listener:
        begin(listener)


def begin(listener):
    """Start a listener, and return when it waits: for a hint, or, with a durable name, for its first consumer."""
    listener.start()
    stored = listener._watch.stored
    eventually(lambda: stored.keeps_position or not stored._is_due)
    eventually(lambda: listener._watch.looked_at == math.inf)


def unread(outbox, db):
    return {each.name: (each.unread, each.expired) for each in outbox.status(db).subscriptions}


def test_messages_are_removed_by_age_the_oldest_first(outbox, db, session):
    send(outbox, db, *"abcdef")
    make_older(session, outbox, list("abcd"))
    make_older(session, outbox, ["e"], days=6)

    assert [outbox.prune(db, max_rows=3), stored(session, outbox)] == [3, ["d", "e", "f"]]
    assert [outbox.prune(db, max_rows=3), stored(session, outbox)] == [1, ["e", "f"]]
    assert outbox.prune(db) == 0
    for max_rows in (0, -1):
        with pytest.raises(ValueError, match="max_rows"):
            outbox.prune(db, max_rows)


def test_inside_a_transaction_of_the_users_messages_are_removed_at_its_commit(outbox, db, session, address):
    send(outbox, db, "a")
    make_older(session, outbox, ["a"])
    db.backend.query("BEGIN")
    assert outbox.prune(db) == 1
    assert stored(session, outbox) == ["a"]
    db.backend.query("ROLLBACK")
    assert stored(session, outbox) == ["a"]


def test_a_subscription_is_told_exactly_how_many_it_has_not_read(outbox, db, session, address):
    subscribe(outbox, address)
    send(outbox, db, "a", "b")
    with Listener(address.dsn, "orders", outbox=outbox, durable="billing") as listener:
        next(listener.batches(2)).acknowledge(db)
    send(outbox, db, *"cde")
    send(outbox, db, "other", channel="other")
    prune(outbox, db, session, *"abc", "other")

    assert unread(outbox, db) == {"billing": (2, 1)}
    told = Told()
    with Listener(address.dsn, "orders", outbox=outbox, durable="billing", on_listening=told) as listener:
        assert next_payloads(listener, 2) == ["d", "e"]
    assert expired(told) == [(Reason.EXPIRED, ("orders",), 1)]
    assert unread(outbox, db)["billing"][1] == 0


def test_of_a_set_that_is_being_read_the_rest_counts(outbox, db, session, address):
    subscribe(outbox, address)
    send(outbox, db, *"abcdef")
    with Listener(address.dsn, "orders", outbox=outbox, durable="billing") as listener:
        batches = listener.batches(2)
        next(batches).acknowledge(db)
        next(batches)  # is not acknowledged
        prune(outbox, db, session, *"abcde")

        assert unread(outbox, db) == {"billing": (1, 3)}


def test_messages_that_are_removed_between_a_read_and_its_batch_are_told_and_not_delivered(
    outbox, db, session, address
):
    tables, told = tables_of(outbox), Told()
    delivered = queue.SimpleQueue()
    with Listener(address.dsn, outbox=outbox, durable="billing", on_listening=told) as listener:
        listener.subscribe("orders", delivered.put)
        begin(listener)
        told.next()
        with Session(*address) as other:
            other.sql(f"BEGIN; SELECT 1 FROM {tables.subscriptions} FOR UPDATE")  # lets others read
            send(outbox, db, "a", "b")
            waits = (
                "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'pgnotify%' AND wait_event_type = 'Lock'"
            )
            eventually(lambda: session.sql(waits), "the listener has read, and waits to take the batch")
            make_older(other, outbox, ["a"])
            other.sql(f"{with_values(outbox)}; COMMIT")

        assert told.next().gap.dropped == 1
        assert delivered.get(timeout=PATIENCE).payload == "b"


def with_values(outbox):
    """Return the statement that prunes, as a session without parameters sends it."""
    text = filled(retention._PRUNE, tables_of(outbox))
    return text.replace("$1", "'7 days'").replace("$2", "'10'")


def test_the_gap_begins_when_the_first_of_the_removed_messages_was_stored(outbox, db, session, address):
    subscribe(outbox, address)
    send(outbox, db, "a", "b")
    make_older(session, outbox, ["a", "b"])
    ((moment,),) = session.sql(f"SELECT min(date_part('epoch', sent_at))::text FROM {tables_of(outbox).messages}")
    assert outbox.prune(db) == 2

    told = Told()
    with Listener(address.dsn, outbox=outbox, durable="billing", on_listening=told) as listener:
        listener.subscribe("orders", print)
        listener.start()
        eventually(lambda: told.gaps)
    assert told.gaps[0].lost_at.timestamp() == pytest.approx(float(moment), abs=1e-3)


def test_a_forgotten_subscription_keeps_nothing(outbox, db, session, address):
    subscribe(outbox, address, "forgotten")
    send(outbox, db, *"abc")
    prune(outbox, db, session, *"abc")

    assert stored(session, outbox) == []
    assert unread(outbox, db) == {"forgotten": (0, 3)}


def without_hints(session, outbox):
    session.sql(f"ALTER TABLE {tables_of(outbox).messages} DISABLE TRIGGER hint")


def with_hints(session, outbox):
    session.sql(f"ALTER TABLE {tables_of(outbox).messages} ENABLE TRIGGER hint")


def test_a_listener_without_a_name_is_told_how_many_it_has_missed_at_most(outbox, db, session, address):
    told = Told()
    with Listener(address.dsn, "orders", outbox=outbox, heartbeat=None, on_listening=told) as listener:
        send(outbox, db, "read")
        assert next_payloads(listener, 1) == ["read"]
        begin(listener)
        without_hints(session, outbox)
        send(outbox, db, *"abc")
        send(outbox, db, "other", channel="other")
        prune(outbox, db, session, "read")
        prune(outbox, db, session, "a", "b", "c", "other")
        with_hints(session, outbox)
        send(outbox, db, "d")

        assert next_payloads(listener, 1) == ["d"]
        assert expired(told) == [(Reason.EXPIRED, ("orders",), 3)]
        send(outbox, db, "e")
        prune(outbox, db, session, "d")
        assert next_payloads(listener, 1) == ["e"]
        assert len(told.gaps) == 1


def test_a_listener_without_a_name_that_has_read_all_is_told_of_no_gap(outbox, db, session, address):
    told = Told()
    with Listener(address.dsn, "orders", outbox=outbox, on_listening=told) as listener:
        for payload in "abc":
            send(outbox, db, payload)
            assert next_payloads(listener, 1) == [payload]
        prune(outbox, db, session, "a", "b")
        send(outbox, db, "d")
        assert next_payloads(listener, 1) == ["d"]
        assert told.gaps == []


@pytest.mark.parametrize("channels", [1, 3])
def test_the_records_of_what_was_removed_are_bounded(outbox, db, session, address, monkeypatch, channels):
    monkeypatch.setattr(
        retention, "_PRUNE", retention._PRUNE.replace("OFFSET 1000", "OFFSET 2").replace("100::", "2::")
    )
    told = Told()
    with Listener(address.dsn, "orders", outbox=outbox, heartbeat=None, on_listening=told) as listener:
        begin(listener)
        told.next()
        without_hints(session, outbox)
        for number in range(8):
            for channel in ["orders", "b", "c"][:channels]:
                send(outbox, db, f"{number} {channel}", channel=channel)
            prune(outbox, db, session, *(f"{number} {channel}" for channel in ["orders", "b", "c"][:channels]))

        assert len(session.sql(f"SELECT 1 FROM {tables_of(outbox).pruned}")) <= 4
        with_hints(session, outbox)
        send(outbox, db, "last")
        assert next_payloads(listener, 1) == ["last"]
        assert expired(told) == [(Reason.EXPIRED, ("orders",), 8 * channels)]


def test_a_few_messages_among_many_are_found_though_others_are_removed_meanwhile(outbox, db, session, address):
    with Listener(address.dsn, "rare", outbox=outbox, heartbeat=None) as listener:
        begin(listener)
        table = tables_of(outbox).messages
        numbers = "pg_catalog.generate_series(1, 12000) AS g"
        session.sql(
            f"INSERT INTO {table} (channel, payload) "
            f"SELECT CASE WHEN g % 4000 = 0 THEN 'rare' ELSE 'orders' END, g::text FROM {numbers}"
        )
        assert next_payloads(listener, 3) == ["4000", "8000", "12000"]
