"""How positions are made valid again, after a dump and a restore, a copy, or another loss of the server's counter.

Positions move to the beginning, so nothing is lost, and messages come a second time.
"""

from __future__ import annotations

from typing import NamedTuple

from pgnotify.errors import OutboxError
from pgnotify.outbox.found import find_present
from pgnotify.outbox.schema import filled
from pgnotify.outbox.statements import HOME_IS_VOID, HOMES, LOOK
from pgnotify.outbox.steps import Steps
from pgnotify.outbox.tables import Tables


class Rebased(NamedTuple):
    """What a rebase has changed. All are 0 or False if nothing was void."""

    new_home: bool
    """Whether the outbox has got a new mark, as it was a copy: all positions that belong to the old one are void."""
    messages: int
    """How many messages were from transactions that this server has not had yet, and belong to the present one now."""
    subscriptions: int
    """How many subscriptions were moved to the beginning."""


# $1 the name of a subscription, NULL for all. One row, see `Rebased`. A home with a new name stays void until the next
# statement has marked it. So it does not matter if that never runs.
_REBASE = f"""\
WITH present AS MATERIALIZED (
    SELECT coalesce((SELECT {HOME_IS_VOID} FROM {HOMES}), true) AS is_void,
        (SELECT said FROM {{home}} WHERE part OPERATOR(pg_catalog.=) 1) AS name,
        pg_catalog.gen_random_uuid()::pg_catalog.text AS new_name
), renamed AS (
    INSERT INTO {{home}} (part, said) SELECT 1, new_name FROM present WHERE is_void
    ON CONFLICT (part) DO UPDATE SET said = excluded.said
), forgotten AS (
    DELETE FROM {{pruned}} WHERE (SELECT is_void FROM present)
), messages AS (
    UPDATE {{messages}} SET xid = pg_catalog.pg_current_xact_id()
    WHERE xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
    RETURNING 1
), moved AS (
    UPDATE {{subscriptions}} AS it SET seen = '1:1:'::pg_catalog.pg_snapshot, upto = NULL, after = 0, batch = NULL,
        home = CASE WHEN present.is_void THEN present.new_name ELSE present.name END,
        moved_at = pg_catalog.clock_timestamp()
    FROM present
    WHERE ($1::pg_catalog.text IS NULL OR it.name OPERATOR(pg_catalog.=) $1::pg_catalog.text)
        AND (present.is_void OR it.home OPERATOR(pg_catalog.<>) present.name
            OR pg_catalog.pg_snapshot_xmax(it.seen) OPERATOR(pg_catalog.>)
                pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
            OR coalesce(pg_catalog.pg_snapshot_xmax(it.upto) OPERATOR(pg_catalog.>)
                pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()), false))
    RETURNING 1
)
SELECT present.is_void::pg_catalog.text, (SELECT pg_catalog.count(*) FROM messages)::pg_catalog.text,
    (SELECT pg_catalog.count(*) FROM moved)::pg_catalog.text
FROM present"""

_IS_KNOWN = "SELECT 1::pg_catalog.text FROM {subscriptions} WHERE name OPERATOR(pg_catalog.=) $1::pg_catalog.text"
_MARK = """\
INSERT INTO {home} AS it (part, said)
SELECT 2, {mark_of_first} FROM {home} AS first WHERE first.part OPERATOR(pg_catalog.=) 1
UNION ALL
SELECT 3, '0'::pg_catalog.text
ON CONFLICT (part) DO UPDATE SET said = excluded.said
WHERE it.part OPERATOR(pg_catalog.=) 2 AND it.said OPERATOR(pg_catalog.<>) excluded.said"""


def rebasing(tables: Tables, name: str | None) -> Steps[Rebased]:
    """Make void positions valid again; return what was changed.

    Raises:
        OutboxError: there is no outbox, or no subscription with this name.
    """
    find_present((yield LOOK, (tables.schema, tables.name)), tables)
    if name is not None and not (yield filled(_IS_KNOWN, tables), (name,)):
        raise OutboxError(f"there is no subscription {name!r} in the outbox {tables}")
    rows = yield filled(_REBASE, tables), (name,)
    ((is_void, messages, subscriptions),) = rows
    yield filled(_MARK, tables), ()
    return Rebased(is_void == "true", int(messages), int(subscriptions))
