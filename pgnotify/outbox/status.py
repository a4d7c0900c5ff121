"""How an outbox stands: how much is in it, and how far each subscription is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta

from pgnotify.outbox.found import find_readable
from pgnotify.outbox.schema import filled
from pgnotify.outbox.statements import HOME_IS_VOID, HOMES, KEY, LOOK
from pgnotify.outbox.steps import Steps
from pgnotify.outbox.tables import Tables

MOST_COUNTED = 10_000
"""Messages are counted up to this many; beyond it there are only estimates."""

# One row, see `OutboxStatus`.
_STATUS = f"""\
SELECT counted.messages::pg_catalog.text,
    greatest(pg_catalog.pg_stat_get_live_tuples(table_of_messages.oid), table_of_messages.reltuples::pg_catalog.int8
        )::pg_catalog.text,
    pg_catalog.pg_total_relation_size(table_of_messages.oid)::pg_catalog.text,
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) (
        SELECT sent_at FROM {{messages}} ORDER BY id LIMIT 1))::pg_catalog.text,
    pg_catalog.pg_stat_get_dead_tuples(table_of_messages.oid)::pg_catalog.text,
    coalesce((SELECT {HOME_IS_VOID} FROM {HOMES}), true)::pg_catalog.text
FROM pg_catalog.pg_class AS table_of_messages CROSS JOIN (
    SELECT pg_catalog.count(*) AS messages FROM (SELECT FROM {{messages}} LIMIT {MOST_COUNTED + 1}) AS few) AS counted
WHERE table_of_messages.oid OPERATOR(pg_catalog.=) ({{messages_text}}::pg_catalog.regclass)::pg_catalog.oid"""

# One row for each subscription, see `SubscriptionStatus`; the second column is how many messages, of all channels, were
# looked at.
_SUBSCRIPTIONS = f"""\
SELECT it.name, unread.seen::pg_catalog.text, unread.messages::pg_catalog.text,
    pg_catalog.array_to_json(it.channels)::pg_catalog.text,
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) it.moved_at)::pg_catalog.text,
    it.expired::pg_catalog.text,
    EXISTS (SELECT FROM pg_catalog.pg_locks AS lock, pg_catalog.pg_database AS here
        WHERE here.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
            AND lock.locktype OPERATOR(pg_catalog.=) 'advisory'::pg_catalog.text
            AND lock.database OPERATOR(pg_catalog.=) here.oid
            AND lock.objsubid OPERATOR(pg_catalog.=) 1::pg_catalog.int2 AND lock.granted
            AND ((lock.classid::pg_catalog.int8 OPERATOR(pg_catalog.<<) 32) OPERATOR(pg_catalog.|)
                lock.objid::pg_catalog.int8) OPERATOR(pg_catalog.=) {KEY.replace("$1", "it.name")}
        )::pg_catalog.text,
    (it.home OPERATOR(pg_catalog.<>) coalesce(
            (SELECT said FROM {{home}} WHERE part OPERATOR(pg_catalog.=) 1), ''::pg_catalog.text)
        OR pg_catalog.pg_snapshot_xmax(it.seen) OPERATOR(pg_catalog.>)
            pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()))::pg_catalog.text
FROM {{subscriptions}} AS it CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) AS seen, pg_catalog.count(*) FILTER (
        WHERE found.channel OPERATOR(pg_catalog.=) ANY (it.channels)
            AND NOT coalesce(found.id OPERATOR(pg_catalog.<=) it.after
                AND pg_catalog.pg_visible_in_snapshot(found.xid, it.upto), false)) AS messages
    FROM (
        (SELECT o.id, o.xid, o.channel FROM {{messages}} AS o
            WHERE o.xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(it.seen)
            ORDER BY o.xid, o.id LIMIT {MOST_COUNTED + 1})
        UNION ALL
        (SELECT o.id, o.xid, o.channel
            FROM pg_catalog.pg_snapshot_xip(it.seen) AS x CROSS JOIN LATERAL (
                SELECT each.id, each.xid, each.channel FROM {{messages}} AS each
                WHERE each.xid OPERATOR(pg_catalog.>=) x
                    AND ROW(each.xid, each.id) OPERATOR(pg_catalog.<=) ROW(x, 9223372036854775807::pg_catalog.int8)
                ORDER BY each.xid, each.id LIMIT {MOST_COUNTED + 1}) AS o)
        LIMIT {MOST_COUNTED + 1}) AS found
) AS unread
ORDER BY it.name"""


@dataclass(frozen=True)
class SubscriptionStatus:
    """How far a durable subscription is."""

    name: str
    """Its durable name."""
    channels: tuple[str, ...]
    """The channels whose messages it gets."""
    unread: int
    """How many messages it has not acknowledged, among the first 10,000 after its position."""
    has_more: bool
    """Whether there are messages beyond these, so that `unread` is the least number."""
    moved: timedelta
    """How long ago its position was moved or a batch was taken; a subscription that gets no messages is not moved."""
    expired: int
    """How many messages retention has removed before it has read them; its listener was not told yet."""
    is_active: bool
    """Whether a listener is reading for it now. A listener behind a transaction pooler is not seen."""
    is_void: bool
    """Whether its position means nothing here: see `Outbox.rebase`."""


@dataclass(frozen=True)
class OutboxStatus:
    """How an outbox stands."""

    version: int
    """The version of its tables."""
    messages: int
    """How many messages are in it: counted up to 10,000, the server's estimate beyond that."""
    size: int
    """How many bytes they take on disk, with indexes, and with dead rows."""
    oldest: timedelta | None
    """How long ago the first message was stored; None if there is no message."""
    dead: int
    """How many dead rows are among the messages, as the server estimates; autovacuum removes them."""
    is_void: bool
    """Whether the outbox is a copy, so that all positions mean nothing: see `Outbox.rebase`."""
    subscriptions: tuple[SubscriptionStatus, ...]
    """The durable subscriptions, by name."""


def looking_at(tables: Tables) -> Steps[OutboxStatus]:
    """Find out how an outbox stands.

    Raises:
        NotPrimary, OutboxError: it cannot be read here.
    """
    found = find_readable((yield LOOK, (tables.schema, tables.name)), tables)
    ((counted, estimate, size, age, dead, is_void),) = yield filled(_STATUS, tables), ()
    rows = yield filled(_SUBSCRIPTIONS, tables), ()
    return OutboxStatus(
        version=found.version,
        messages=int(counted) if int(counted) <= MOST_COUNTED else max(int(estimate), int(counted)),
        size=int(size),
        oldest=None if age is None else timedelta(seconds=float(age)),
        dead=int(dead),
        is_void=is_void == "true",
        subscriptions=tuple(_subscription(*row) for row in rows),
    )


def _subscription(
    name: str, seen: str, unread: str, channels: str, age: str, expired: str, is_active: str, is_void: str
) -> SubscriptionStatus:
    return SubscriptionStatus(
        name=name,
        channels=tuple(json.loads(channels)),
        unread=int(unread),
        has_more=int(seen) > MOST_COUNTED,
        moved=timedelta(seconds=float(age)),
        expired=int(expired),
        is_active=is_active == "true",
        is_void=is_void == "true",
    )
