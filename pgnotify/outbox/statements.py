"""The statements of an outbox. Each is qualified in full; parameters are texts, and so are all columns of results.

Why they are as they are: a position is a snapshot, and unread is what a newer snapshot sees and the position does not.
The statement that reads has to find these rows without looking at the others, with whichever plan the server makes of
it, with statistics or without. So it compares rows instead of ranges on xid, has no equality on xid, and says
``ORDER BY xid, id LIMIT``. One unread message among a million costs 10 to 18 buffers that way, and the obvious
statement 113 to 154 ms, from the sixth execution on if not before.
"""

from __future__ import annotations

from functools import cached_property

from pgnotify.outbox.schema import filled
from pgnotify.outbox.tables import Tables

MOST_BYTES = 8_000_000
"""A read ends after the message that reaches this, so that a backlog of large payloads is not in memory at once."""

# A larger set of unread messages is read along the primary key instead of being collected first.
_MANY = 2000

MOST_LOOKED_AT = 5000
"""A read of many looks at this many ids at most, so that it ends soon though few of them are for its reader."""

_SEND = "INSERT INTO {messages} (channel, payload) VALUES ($1::pg_catalog.text, $2::pg_catalog.text)"
_SEND_MANY = """\
INSERT INTO {messages} (channel, payload)
SELECT pair.value OPERATOR(pg_catalog.->>) 0, pair.value OPERATOR(pg_catalog.->>) 1
FROM pg_catalog.json_array_elements($1::pg_catalog.text::pg_catalog.json) WITH ORDINALITY AS pair (value, place)
ORDER BY pair.place"""

# $1 schema, $2 name. No row: there is no such table. It needs no right to anything. See `pgnotify.outbox.found`.
LOOK = """\
SELECT pg_catalog.pg_is_in_recovery()::pg_catalog.text,
    pg_catalog.obj_description(messages.oid, 'pg_class'),
    parts.are_complete::pg_catalog.text,
    (pg_catalog.has_schema_privilege(space.oid, 'USAGE') AND parts.may_be_read)::pg_catalog.text,
    parts.may_be_kept::pg_catalog.text,
    parts.are_hidden::pg_catalog.text,
    pg_catalog.current_setting('transaction_read_only'),
    pg_catalog.pg_get_userbyid(messages.relowner)::pg_catalog.text,
    current_user::pg_catalog.text
FROM pg_catalog.pg_class AS messages
JOIN pg_catalog.pg_namespace AS space ON space.oid OPERATOR(pg_catalog.=) messages.relnamespace
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) OPERATOR(pg_catalog.=) 4::pg_catalog.int8 AS are_complete,
        pg_catalog.bool_and(pg_catalog.has_table_privilege(part.oid, 'SELECT')) AS may_be_read,
        pg_catalog.bool_and(part.relname::pg_catalog.text OPERATOR(pg_catalog.<>)
                ($2::pg_catalog.text OPERATOR(pg_catalog.||) '_subscription'::pg_catalog.text)
            OR (pg_catalog.has_table_privilege(part.oid, 'INSERT')
                AND pg_catalog.has_table_privilege(part.oid, 'UPDATE'))) AS may_be_kept,
        pg_catalog.bool_or(pg_catalog.row_security_active(part.oid) AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_policy AS policy
            WHERE policy.polrelid OPERATOR(pg_catalog.=) part.oid)) AS are_hidden
    FROM pg_catalog.pg_class AS part
    WHERE part.relnamespace OPERATOR(pg_catalog.=) space.oid
        AND part.relname OPERATOR(pg_catalog.=) ANY (ARRAY[
            $2::pg_catalog.text::pg_catalog.name,
            ($2::pg_catalog.text OPERATOR(pg_catalog.||) '_subscription'::pg_catalog.text)::pg_catalog.name,
            ($2::pg_catalog.text OPERATOR(pg_catalog.||) '_home'::pg_catalog.text)::pg_catalog.name,
            ($2::pg_catalog.text OPERATOR(pg_catalog.||) '_pruned'::pg_catalog.text)::pg_catalog.name])
) AS parts
WHERE space.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name
    AND messages.relname OPERATOR(pg_catalog.=) $2::pg_catalog.text::pg_catalog.name"""

# Whether positions belong to other tables than these, of which these are a copy; or the server's counter is behind. An
# ordered look at the end of the index finds that with two buffers, also if all messages there are dead.
HOME_IS_VOID = """\
(second.said OPERATOR(pg_catalog.<>) ({mark_of_first})
    OR coalesce((SELECT true FROM {messages} AS ahead
        WHERE ahead.xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
        ORDER BY ahead.xid, ahead.id LIMIT 1), false))"""
HOMES = """\
{home} AS first JOIN {home} AS second
    ON first.part OPERATOR(pg_catalog.=) 1 AND second.part OPERATOR(pg_catalog.=) 2"""
_PRUNES = "(SELECT third.said FROM {home} AS third WHERE third.part OPERATOR(pg_catalog.=) 3)"
_SIZE = "pg_catalog.pg_relation_size({messages_text}::pg_catalog.regclass)::pg_catalog.text"

# One row: whether all positions are void, the home's name, how often messages were pruned, the present snapshot, how
# far the log is written, its timeline, and the size of the table in bytes.
_BEGIN = f"""\
SELECT {HOME_IS_VOID}::pg_catalog.text, first.said, {_PRUNES},
    pg_catalog.pg_current_snapshot()::pg_catalog.text,
    pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text,
    pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8),
    {_SIZE}
FROM {HOMES}"""

# $1 name. Whether its position belongs to other tables, and whether it is ahead of the server. No row: a new name.
_POSITION_IS_VOID = """\
SELECT (it.home OPERATOR(pg_catalog.<>) first.said)::pg_catalog.text,
    (pg_catalog.pg_snapshot_xmax(it.seen) OPERATOR(pg_catalog.>)
        pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()))::pg_catalog.text
FROM {subscriptions} AS it CROSS JOIN {home} AS first
WHERE it.name OPERATOR(pg_catalog.=) $1::pg_catalog.text AND first.part OPERATOR(pg_catalog.=) 1"""

# $1 name, $2 channels, $3 the position to begin at; NULL for the present one. For a new name only. To look first
# does not wait for a transaction of the user's that has acknowledged; ON CONFLICT does.
_SUBSCRIBE = """\
INSERT INTO {subscriptions} (name, channels, seen, home)
SELECT $1::pg_catalog.text, $2::pg_catalog.text::pg_catalog.text[],
    coalesce($3::pg_catalog.text::pg_catalog.pg_snapshot, pg_catalog.pg_current_snapshot()), first.said
FROM {home} AS first WHERE first.part OPERATOR(pg_catalog.=) 1
    AND NOT EXISTS (SELECT FROM {subscriptions} AS it WHERE it.name OPERATOR(pg_catalog.=) $1::pg_catalog.text)
ON CONFLICT (name) DO NOTHING"""

# $1 name, $2 channels.
_SET_CHANNELS = """\
UPDATE {subscriptions} SET channels = $2::pg_catalog.text::pg_catalog.text[]
WHERE name OPERATOR(pg_catalog.=) $1::pg_catalog.text
    AND channels OPERATOR(pg_catalog.<>) $2::pg_catalog.text::pg_catalog.text[]"""

# $1 name. A session holds the lock while its process is the active one.
KEY = """\
pg_catalog.hashtextextended($1::pg_catalog.text,
    ({messages_text}::pg_catalog.regclass)::pg_catalog.oid::pg_catalog.int8)"""
_SESSION = """\
it.pid::pg_catalog.text OPERATOR(pg_catalog.||) ' '::pg_catalog.text
    OPERATOR(pg_catalog.||) pg_catalog.date_part('epoch', it.backend_start)::pg_catalog.text"""
_LOCK = f"""\
SELECT pg_catalog.pg_try_advisory_lock({KEY})::pg_catalog.text, {_SESSION}
FROM pg_catalog.pg_stat_activity AS it WHERE it.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()"""
# $2 a session, as the statement above names it. The server keeps a session, and its locks, that ends without a word.
_END_SESSION = f"""\
SELECT pg_catalog.pg_terminate_backend(it.pid)::pg_catalog.text
FROM pg_catalog.pg_stat_activity AS it JOIN pg_catalog.pg_locks AS held ON held.pid OPERATOR(pg_catalog.=) it.pid
WHERE held.locktype OPERATOR(pg_catalog.=) 'advisory'::pg_catalog.text AND held.granted
    AND held.objsubid OPERATOR(pg_catalog.=) 1::pg_catalog.int2
    AND ((held.classid::pg_catalog.int8 OPERATOR(pg_catalog.<<) 32)
        OPERATOR(pg_catalog.|) held.objid::pg_catalog.int8) OPERATOR(pg_catalog.=) {KEY}
    AND ({_SESSION}) OPERATOR(pg_catalog.=) $2::pg_catalog.text"""
# The server notices within half a minute that a machine was cut off, and not after hours: until then it keeps the lock.
# A probe is answered by the machine, however long a process holds still; user_timeout is for hints that nobody takes.
_FREE_SOON = """\
SELECT pg_catalog.set_config('tcp_keepalives_idle', '10', false),
    pg_catalog.set_config('tcp_keepalives_interval', '5', false),
    pg_catalog.set_config('tcp_keepalives_count', '3', false),
    pg_catalog.set_config('tcp_user_timeout', '25000', false)"""
_UNLOCK = f"SELECT pg_catalog.pg_advisory_unlock({KEY})::pg_catalog.text"

# $1 not NULL: it is known that many are left. The other parameters are those of the position. No parameter is
# anywhere else, except for a name: so a plan made for their values seems no better than a generic one, and the server
# keeps that from the sixth execution on. Otherwise it would make one for each read, which takes as long as to read 500
# messages.
_POSITION_OF_NAME = """\
SELECT $1::pg_catalog.text IS NOT NULL AS is_many, seen, channels, after, upto IS NULL AS fresh,
    coalesce(upto, pg_catalog.pg_current_snapshot()) AS upto, expired, expired_since,
    home, batch
FROM {subscriptions} WHERE name OPERATOR(pg_catalog.=) $2::pg_catalog.text"""
_POSITION_IN_MEMORY = """\
SELECT $1::pg_catalog.text IS NOT NULL AS is_many, given.seen, given.channels, given.after,
    given.upto IS NULL AS fresh, coalesce(given.upto, pg_catalog.pg_current_snapshot()) AS upto,
    0::pg_catalog.int8 AS expired, NULL::pg_catalog.timestamptz AS expired_since, given.home
FROM (SELECT $2::pg_catalog.text::pg_catalog.pg_snapshot AS seen, $3::pg_catalog.text::pg_catalog.text[] AS channels,
    $4::pg_catalog.text::pg_catalog.int8 AS after, $5::pg_catalog.text::pg_catalog.pg_snapshot AS upto,
    $6::pg_catalog.text AS home) AS given"""

# The transaction of a statement is on disk when it has ended, whatever the session's synchronous_commit is.
_DURABLY = """\
durably AS MATERIALIZED (
    SELECT pg_catalog.set_config('synchronous_commit', CASE
        WHEN pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off' THEN 'on'
        ELSE pg_catalog.current_setting('synchronous_commit') END, true)
)"""

# A message for nobody, in the log: at its commit, all that was in the log before is flushed. Everybody may write it, in
# a session that is read-only, too.
_MARK = """\
SELECT pg_catalog.pg_logical_emit_message(true, 'pgnotify'::pg_catalog.text, ''::pg_catalog.text)::pg_catalog.text
    FROM durably"""
_FLUSH = f"WITH {_DURABLY} {_MARK}"

# A read under a name stores that its messages are about to be delivered, in the same statement: behind a pooler a
# second one might run on a server that has crashed in between. $3 is a new token, by which they are acknowledged.
# What is stored has to outlive a crash, whatever the session's synchronous_commit is. The new snapshot must see all
# that the old one sees. If the position is void, or another process has moved it by now, nothing is taken. If there is
# nothing new, nothing is written. If some of the messages are being removed, the user is told of them instead.
_TAKEN = f""", {_DURABLY}, taken AS (
    UPDATE {{subscriptions}} AS it SET upto = m.upto, batch = $3::pg_catalog.text::pg_catalog.uuid,
        moved_at = pg_catalog.clock_timestamp()
    FROM m CROSS JOIN v CROSS JOIN durably
    WHERE NOT (v.is_copy OR v.is_ahead OR v.in_transaction)
        AND it.name OPERATOR(pg_catalog.=) $2::pg_catalog.text
        AND it.seen::pg_catalog.text OPERATOR(pg_catalog.=) m.seen::pg_catalog.text
        AND (it.upto IS NULL AND m.fresh
            OR it.upto::pg_catalog.text OPERATOR(pg_catalog.=) m.upto::pg_catalog.text AND NOT m.fresh)
        AND it.after OPERATOR(pg_catalog.=) m.after
        AND it.expired OPERATOR(pg_catalog.=) m.expired
        AND (it.batch IS NULL AND m.batch IS NULL OR it.batch OPERATOR(pg_catalog.=) m.batch)
        AND (m.many OR NOT m.fresh OR EXISTS (SELECT FROM probe))
        AND pg_catalog.pg_snapshot_xmax(m.upto) OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(m.seen)
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_snapshot_xip(m.upto) AS x WHERE pg_catalog.pg_visible_in_snapshot(x, m.seen))
    RETURNING it.name
)"""

# Without a name, and behind a pooler, where the server may have crashed between any two statements: the position is
# known to be on disk if that is done in the statement that reads.
_FLUSHED = f""", {_DURABLY}, flushed AS MATERIALIZED (
    {_MARK} CROSS JOIN m CROSS JOIN v
    WHERE NOT v.in_transaction AND (m.many OR NOT m.fresh OR EXISTS (SELECT FROM probe))
)"""

# The first row is about the position, see `pgnotify.outbox.rows.Head`. Each other row is a message: id, channel,
# payload, pid, microseconds since the epoch, and how many were found before the limit of bytes cut them off. The limits
# are no parameters: without a number after LIMIT, and with a filter that the planner takes for a strict one, it would
# sort all that is unread for each piece of it, as long as the table was never analyzed.
_READ = f"""\
WITH s AS MATERIALIZED (
    {{position}}
), probe AS MATERIALIZED (
    (SELECT o.id FROM s CROSS JOIN LATERAL (
        SELECT id FROM {{messages}}
        WHERE NOT s.is_many
            AND xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(s.seen)
            AND ROW(xid, id) OPERATOR(pg_catalog.<) ROW(pg_catalog.pg_snapshot_xmax(s.upto), 0::pg_catalog.int8)
            AND pg_catalog.pg_visible_in_snapshot(xid, s.upto)
        ORDER BY xid, id LIMIT {_MANY + 1}) AS o)
    UNION ALL
    (SELECT o.id FROM s CROSS JOIN LATERAL pg_catalog.pg_snapshot_xip(s.seen) AS x CROSS JOIN LATERAL (
        SELECT id FROM {{messages}}
        WHERE NOT s.is_many
            AND xid OPERATOR(pg_catalog.>=) x
            AND ROW(xid, id) OPERATOR(pg_catalog.<=) ROW(x, 9223372036854775807::pg_catalog.int8)
            AND pg_catalog.pg_visible_in_snapshot(x, s.upto)
        ORDER BY xid, id LIMIT {_MANY + 1}) AS o)
    LIMIT {_MANY + 1}
), m AS MATERIALIZED (
    SELECT s.*, s.is_many OR p.found_many AS many, CASE
        WHEN NOT (s.is_many OR p.found_many) OR NOT s.fresh THEN s.after
        WHEN NOT (SELECT pg_catalog.pg_visible_in_snapshot(xid, s.seen) FROM {{messages}} ORDER BY id LIMIT 1)
            THEN 0::pg_catalog.int8
        ELSE least(
            (SELECT pg_catalog.min(id OPERATOR(pg_catalog.+) 0::pg_catalog.int8) FROM {{messages}}
                WHERE xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(s.seen)
                    AND ROW(xid, id)
                        OPERATOR(pg_catalog.<) ROW(pg_catalog.pg_snapshot_xmax(s.upto), 0::pg_catalog.int8)),
            (SELECT pg_catalog.min(o.id) FROM pg_catalog.pg_snapshot_xip(s.seen) AS x CROSS JOIN LATERAL (
                SELECT id FROM {{messages}}
                WHERE xid OPERATOR(pg_catalog.>=) x
                    AND ROW(xid, id) OPERATOR(pg_catalog.<=) ROW(x, 9223372036854775807::pg_catalog.int8)
                    AND pg_catalog.pg_visible_in_snapshot(x, s.upto)
                ORDER BY xid, id LIMIT 1) AS o)) OPERATOR(pg_catalog.-) 1::pg_catalog.int8
        END AS low
    FROM s CROSS JOIN (
        SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) {_MANY}::pg_catalog.int8 AS found_many FROM probe) AS p
), v AS MATERIALIZED (
    SELECT coalesce((SELECT {HOME_IS_VOID} OR m.home OPERATOR(pg_catalog.<>) first.said FROM {HOMES}), true)
            AS is_copy,
        pg_catalog.pg_snapshot_xmax(m.seen) OPERATOR(pg_catalog.>)
            pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) AS is_ahead,
        pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL AS in_transaction
    FROM m
), piece AS MATERIALIZED (
    SELECT o.* FROM m CROSS JOIN LATERAL (
        SELECT piece.*, pg_catalog.count(*) OVER () AS found,
            pg_catalog.sum(pg_catalog.octet_length(piece.payload)) OVER (ROWS UNBOUNDED PRECEDING)
                OPERATOR(pg_catalog.-) pg_catalog.octet_length(piece.payload) AS before
        FROM (
            (SELECT id, channel, payload, pid, sent_at FROM {{messages}}
                WHERE NOT m.many AND id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT id FROM probe))
                    AND id OPERATOR(pg_catalog.>) m.after AND channel OPERATOR(pg_catalog.=) ANY (m.channels)
                ORDER BY id OPERATOR(pg_catalog.+) 0::pg_catalog.int8 LIMIT {{limit}})
            UNION ALL
            (SELECT id, channel, payload, pid, sent_at FROM (
                    SELECT * FROM {{messages}} WHERE m.many AND id OPERATOR(pg_catalog.>) m.low
                    ORDER BY id LIMIT {MOST_LOOKED_AT}) AS looked_at
                WHERE NOT pg_catalog.pg_visible_in_snapshot(xid, m.seen)
                    AND pg_catalog.pg_visible_in_snapshot(xid, m.upto)
                    AND channel OPERATOR(pg_catalog.=) ANY (m.channels)
                ORDER BY id LIMIT {{limit}})
        ) AS piece
    ) AS o
    WHERE o.before OPERATOR(pg_catalog.<) {{most_bytes}}::pg_catalog.int8
){{taken}}
SELECT m.upto::pg_catalog.text, m.seen::pg_catalog.text,
    m.after::pg_catalog.text
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text
        OPERATOR(pg_catalog.||) coalesce(CASE WHEN m.many
            AND (SELECT pg_catalog.count(*) FROM piece) OPERATOR(pg_catalog.<) {{limit}}::pg_catalog.int8 THEN (
                SELECT pg_catalog.max(looked_at.id)::pg_catalog.text FROM (
                    SELECT id FROM {{messages}} WHERE id OPERATOR(pg_catalog.>) m.low
                    ORDER BY id LIMIT {MOST_LOOKED_AT}) AS looked_at
                HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>=) {MOST_LOOKED_AT}::pg_catalog.int8) END,
            '-'::pg_catalog.text),
    v.is_copy::pg_catalog.text
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text OPERATOR(pg_catalog.||) v.is_ahead::pg_catalog.text
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text OPERATOR(pg_catalog.||) v.in_transaction::pg_catalog.text,
    m.expired::pg_catalog.text
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text OPERATOR(pg_catalog.||) m.many::pg_catalog.text
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text
        OPERATOR(pg_catalog.||) (m.many OR EXISTS (SELECT FROM probe))::pg_catalog.text
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text OPERATOR(pg_catalog.||) m.fresh::pg_catalog.text
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text OPERATOR(pg_catalog.||) {{is_taken}}::pg_catalog.text
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text OPERATOR(pg_catalog.||) coalesce({_PRUNES}, '0'::pg_catalog.text)
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text
        OPERATOR(pg_catalog.||) coalesce(pg_catalog.int8(pg_catalog.date_part('epoch', m.expired_since)
            OPERATOR(pg_catalog.*) 1000000::pg_catalog.float8), 0::pg_catalog.int8)::pg_catalog.text,
    pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text
        OPERATOR(pg_catalog.||) pg_catalog.pg_current_wal_flush_lsn()::pg_catalog.text
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text
        OPERATOR(pg_catalog.||) pg_catalog.substr(
            pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)
        OPERATOR(pg_catalog.||) ' '::pg_catalog.text OPERATOR(pg_catalog.||) {_SIZE}
FROM m CROSS JOIN v
UNION ALL
SELECT piece.id::pg_catalog.text, piece.channel, piece.payload, piece.pid::pg_catalog.text,
    pg_catalog.int8(pg_catalog.date_part('epoch', piece.sent_at) OPERATOR(pg_catalog.*) 1000000::pg_catalog.float8
        )::pg_catalog.text, piece.found::pg_catalog.text
FROM piece"""

# $1 name, $2 the batch's token, $3 the last id that is done with, NULL for the end of the set, $4 not NULL: more of
# this batch follows. No row: another process has taken over, or it was acknowledged before.
_ACKNOWLEDGE = """\
UPDATE {subscriptions} SET seen = CASE WHEN $3::pg_catalog.text IS NULL THEN upto ELSE seen END,
    upto = CASE WHEN $3::pg_catalog.text IS NOT NULL THEN upto END,
    after = coalesce($3::pg_catalog.text::pg_catalog.int8, 0::pg_catalog.int8),
    batch = CASE WHEN $4::pg_catalog.text IS NOT NULL THEN batch END, moved_at = pg_catalog.clock_timestamp()
WHERE name OPERATOR(pg_catalog.=) $1::pg_catalog.text
    AND batch OPERATOR(pg_catalog.=) $2::pg_catalog.text::pg_catalog.uuid
RETURNING name"""

# $1 name, $2 how many of the expired messages the user was told of.
_EXPIRED_TOLD = """\
UPDATE {subscriptions} SET expired = expired OPERATOR(pg_catalog.-) $2::pg_catalog.text::pg_catalog.int8,
    expired_since = CASE WHEN expired OPERATOR(pg_catalog.>) $2::pg_catalog.text::pg_catalog.int8 THEN expired_since END
WHERE name OPERATOR(pg_catalog.=) $1::pg_catalog.text"""


class Statements:
    """The statements of one outbox. The comments above say what their parameters are.

    Args:
        tables: the names.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._reads: dict[tuple[str, str, int, int], str] = {}

    @cached_property
    def send(self) -> str:
        """Store a message."""
        return self._filled(_SEND)

    @cached_property
    def send_many(self) -> str:
        """Store any number of messages, given as a JSON array of [channel, payload] pairs."""
        return self._filled(_SEND_MANY)

    @cached_property
    def look(self) -> str:
        """Look whether the outbox is there, and what may be done with it."""
        return LOOK

    @cached_property
    def begin(self) -> str:
        """Begin to read in a session: whether positions are void, and the present one."""
        return self._filled(_BEGIN)

    @cached_property
    def position_is_void(self) -> str:
        """Whether the position of a durable subscription means nothing here."""
        return self._filled(_POSITION_IS_VOID)

    @cached_property
    def subscribe(self) -> str:
        """Make a durable subscription, unless there is one with that name."""
        return self._filled(_SUBSCRIBE)

    @cached_property
    def set_channels(self) -> str:
        """Change the channels of a durable subscription."""
        return self._filled(_SET_CHANNELS)

    @cached_property
    def lock(self) -> str:
        """Try to become the active process of a name."""
        return self._filled(_LOCK)

    @cached_property
    def end_session(self) -> str:
        """End a session that holds the lock of a name."""
        return self._filled(_END_SESSION)

    @cached_property
    def free_soon(self) -> str:
        """Have the server end the session, which frees its locks, within half a minute of the loss of the machine."""
        return _FREE_SOON

    @cached_property
    def unlock(self) -> str:
        """Leave that to another process."""
        return self._filled(_UNLOCK)

    def read_name(self, limit: int, table_bytes: int) -> str:
        """Read at most this many of the messages that a durable subscription has not read, and take them.

        Args:
            limit: how many.
            table_bytes: the size of the table for which the server is to plan. It keeps a plan with each text.
        """
        return self._read(_POSITION_OF_NAME, _TAKEN, "EXISTS (SELECT FROM taken)", limit, table_bytes)

    def read(self, limit: int, table_bytes: int, flushes: bool = False) -> str:
        """Read at most this many of the messages after a position that is kept in memory; see `read_name`.

        Args:
            limit: how many.
            table_bytes: as in `read_name`.
            flushes: whether to have the log on disk up to there, if there is anything new.
        """
        if flushes:
            return self._read(_POSITION_IN_MEMORY, _FLUSHED, "EXISTS (SELECT FROM flushed)", limit, table_bytes)
        return self._read(_POSITION_IN_MEMORY, "", "false", limit, table_bytes)

    @cached_property
    def flush(self) -> str:
        """Have the log on disk up to here."""
        return _FLUSH

    def _read(self, position: str, taken: str, is_taken: str, limit: int, table_bytes: int) -> str:
        key = position, taken, limit, table_bytes
        if key not in self._reads:
            text = self._filled_read(position, taken, is_taken, limit)
            self._reads[key] = f"{text}\n-- planned for a table of {table_bytes} bytes"
        return self._reads[key]

    def _filled_read(self, position: str, taken: str, is_taken: str, limit: int) -> str:
        return self._filled(
            _READ.replace("{position}", position)
            .replace("{taken}", taken)
            .replace("{is_taken}", is_taken)
            .replace("{limit}", str(limit))
            .replace("{most_bytes}", str(MOST_BYTES))
        )

    @cached_property
    def acknowledge(self) -> str:
        """Move a durable subscription past what is done with."""
        return self._filled(_ACKNOWLEDGE)

    @cached_property
    def expired_told(self) -> str:
        """Forget messages that have expired, as the user knows."""
        return self._filled(_EXPIRED_TOLD)

    def _filled(self, template: str) -> str:
        return filled(template, self.tables)


def array(texts: tuple[str, ...]) -> str:
    """Return texts as the literal of an array of texts."""
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in escaped) + "}"
