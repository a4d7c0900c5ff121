"""How old messages are removed, and how readers find out what they have missed.

A durable subscription is told exactly: the statement that removes messages locks the subscriptions, and counts for each
the messages that it has not acknowledged. A reader with its position in memory is not known here. So a record is kept
of what each pruning has removed, and the reader compares its position with these. It is told an upper bound: a record
counts as a whole, and its messages are neighbours. The records are bounded, too.
"""

from __future__ import annotations

from datetime import timedelta

from pgnotify.outbox.found import find_present
from pgnotify.outbox.schema import filled
from pgnotify.outbox.statements import LOOK
from pgnotify.outbox.steps import Steps
from pgnotify.outbox.tables import Tables

MOST_RECORDS = 1000
"""Older records are merged into one, which counts for all channels."""
MOST_CHANNELS = 100
"""A pruning of messages on more channels than this has one record, which counts for all channels."""

_LONGEST_AGE = timedelta(days=365_000)  # PostgreSQL's timestamps begin in 4713 BC

# $1 the age as an interval, $2 how many messages are looked at, from the lowest id. One row: how many were removed.
#
# The locks come first: a position that moves while this waits is counted as it is then. Messages never change.
_PRUNE = f"""\
WITH oldest AS MATERIALIZED (
    SELECT ARRAY(SELECT it.id
        FROM (SELECT id, sent_at FROM {{messages}} ORDER BY id LIMIT $2::pg_catalog.text::pg_catalog.int8) AS it
        WHERE it.sent_at OPERATOR(pg_catalog.<)
            (pg_catalog.statement_timestamp() OPERATOR(pg_catalog.-) $1::pg_catalog.text::pg_catalog.interval)
    ) AS ids
), locked AS MATERIALIZED (
    SELECT it.name, it.channels, it.seen, it.upto, it.after FROM {{subscriptions}} AS it
    WHERE (SELECT pg_catalog.cardinality(ids) OPERATOR(pg_catalog.>) 0 FROM oldest)
    ORDER BY it.name FOR UPDATE
), removed AS (
    DELETE FROM {{messages}} AS it
    WHERE (SELECT pg_catalog.count(*) FROM locked) OPERATOR(pg_catalog.>=) 0::pg_catalog.int8
        AND it.id OPERATOR(pg_catalog.=) ANY ((SELECT ids FROM oldest)::pg_catalog.int8[])
    RETURNING it.id, it.xid, it.channel, it.sent_at
), missed AS (
    SELECT locked.name, pg_catalog.count(*) AS missed, pg_catalog.min(removed.sent_at) AS since
    FROM locked JOIN removed ON removed.channel OPERATOR(pg_catalog.=) ANY (locked.channels)
        AND NOT pg_catalog.pg_visible_in_snapshot(removed.xid, locked.seen)
        AND NOT coalesce(removed.id OPERATOR(pg_catalog.<=) locked.after
            AND pg_catalog.pg_visible_in_snapshot(removed.xid, locked.upto), false)
    GROUP BY locked.name
), told AS (
    UPDATE {{subscriptions}} AS it SET expired = it.expired OPERATOR(pg_catalog.+) missed.missed,
        expired_since = least(it.expired_since, missed.since)
    FROM missed WHERE it.name OPERATOR(pg_catalog.=) missed.name
), numbered AS (
    UPDATE {{home}} AS third
    SET said = (third.said::pg_catalog.int8 OPERATOR(pg_catalog.+) 1::pg_catalog.int8)::pg_catalog.text
    WHERE third.part OPERATOR(pg_catalog.=) 3 AND EXISTS (SELECT FROM removed)
    RETURNING third.said::pg_catalog.int8 AS number
), merged AS (
    DELETE FROM {{pruned}} AS it WHERE it.number OPERATOR(pg_catalog.<=) (
        SELECT number FROM {{pruned}} ORDER BY number DESC LIMIT 1 OFFSET {MOST_RECORDS})
    RETURNING it.number, it.removed, it.oldest, it.newest, it.last_id, it.since
), recorded AS (
    INSERT INTO {{pruned}} (number, channel, removed, oldest, newest, last_id, since)
    SELECT numbered.number, it.channel, it.removed, it.oldest::pg_catalog.text::pg_catalog.xid8,
        it.newest::pg_catalog.text::pg_catalog.xid8, it.last_id, it.since
    FROM numbered CROSS JOIN (
        SELECT CASE WHEN channels.are_few THEN removed.channel END AS channel, pg_catalog.count(*) AS removed,
            pg_catalog.min(removed.xid::pg_catalog.text::pg_catalog.numeric) AS oldest,
            pg_catalog.max(removed.xid::pg_catalog.text::pg_catalog.numeric) AS newest,
            pg_catalog.max(removed.id) AS last_id, pg_catalog.min(removed.sent_at) AS since
        FROM removed CROSS JOIN (
            SELECT pg_catalog.count(DISTINCT channel) OPERATOR(pg_catalog.<=) {MOST_CHANNELS}::pg_catalog.int8
                AS are_few FROM removed) AS channels
        GROUP BY 1) AS it
    UNION ALL
    SELECT pg_catalog.max(number), NULL, pg_catalog.sum(removed)::pg_catalog.int8,
        pg_catalog.min(oldest::pg_catalog.text::pg_catalog.numeric)::pg_catalog.text::pg_catalog.xid8,
        pg_catalog.max(newest::pg_catalog.text::pg_catalog.numeric)::pg_catalog.text::pg_catalog.xid8,
        pg_catalog.max(last_id), pg_catalog.min(since)
    FROM merged HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0::pg_catalog.int8
)
SELECT pg_catalog.count(*)::pg_catalog.text FROM removed"""

# $1 seen, $2 channels, $3 after, $4 upto, $5 the number of the last pruning that was compared with the position, and $6
# of the last one to compare now. One row: how many messages the reader may have missed, and when the first of them was
# stored, in microseconds since the epoch.
_MISSED = """\
SELECT coalesce(pg_catalog.sum(it.removed), 0::pg_catalog.numeric)::pg_catalog.text,
    pg_catalog.int8(pg_catalog.date_part('epoch', pg_catalog.min(it.since))
        OPERATOR(pg_catalog.*) 1000000::pg_catalog.float8)::pg_catalog.text
FROM {pruned} AS it
CROSS JOIN (SELECT $1::pg_catalog.text::pg_catalog.pg_snapshot AS seen,
    $4::pg_catalog.text::pg_catalog.pg_snapshot AS upto) AS place
WHERE it.number OPERATOR(pg_catalog.>) $5::pg_catalog.text::pg_catalog.int8
    AND it.number OPERATOR(pg_catalog.<=) $6::pg_catalog.text::pg_catalog.int8
    AND (it.channel IS NULL
        OR it.channel OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.text::pg_catalog.text[]))
    AND (it.newest OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(place.seen)
        OR EXISTS (SELECT FROM pg_catalog.pg_snapshot_xip(place.seen) AS x
            WHERE x OPERATOR(pg_catalog.>=) it.oldest AND x OPERATOR(pg_catalog.<=) it.newest))
    AND NOT coalesce(it.last_id OPERATOR(pg_catalog.<=) $3::pg_catalog.text::pg_catalog.int8
        AND it.newest OPERATOR(pg_catalog.<) pg_catalog.pg_snapshot_xmin(place.upto), false)"""


def pruning(tables: Tables, max_age: timedelta, max_rows: int) -> Steps[int]:
    """Remove old messages; return how many.

    Raises:
        OutboxError: there is no outbox, or it has another version.
    """
    find_present((yield LOOK, (tables.schema, tables.name)), tables)
    age = f"{min(max_age, _LONGEST_AGE).total_seconds():f} seconds"
    rows = yield filled(_PRUNE, tables), (age, str(max_rows))
    return int(rows[0][0])


def missed_sql(tables: Tables) -> str:
    """Return the statement that counts what a reader may have missed."""
    return filled(_MISSED, tables)
