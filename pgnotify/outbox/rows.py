"""What the statement that reads returns: one row about the position, and then messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import repeat
from typing import Any, NamedTuple, TypeAlias

Rows: TypeAlias = Sequence[Sequence[Any]]
PlainMessage: TypeAlias = tuple[Any, ...]
"""The fields of a message: channel, payload, pid, id, sent_at."""


_after_epoch = datetime(1970, 1, 1, tzinfo=timezone.utc).__add__


class Head(NamedTuple):
    """The first row: where the reader stands."""

    upto: str
    """The snapshot up to which this set of messages goes."""
    seen: str
    """The snapshot after which it begins."""
    after: int
    """The last id of the set that is done with, 0 if none is."""
    looked_up_to: int | None
    """The id at which a read of many has ended, as it had looked at this many; None if it has not."""
    is_copy: bool
    """Whether the position belongs to another outbox, of which this one is a copy."""
    is_ahead: bool
    """Whether the position is ahead of the server, which has lost transactions."""
    in_transaction: bool
    """Whether the read has run inside a transaction that has written, whose snapshot shows its own messages."""
    expired: int
    """How many messages retention has removed before this subscription has read them."""
    many: bool
    """Whether the set is so large that it is read along its ids."""
    found_any: bool
    """Whether there is anything new, perhaps on other channels."""
    is_fresh: bool
    """Whether the set begins with this read."""
    is_taken: bool
    """Whether the token was stored, by which these messages are acknowledged; or, without a name, whether the log is
    on disk up to `inserted` since the statement has ended."""
    prunes: int
    """How often messages were pruned so far."""
    expired_since: int
    """When the first of the expired messages was stored, in microseconds since the epoch; 0 if none has expired."""
    inserted: int
    """How far the server's log was written, as a number of bytes."""
    flushed: int
    """How far it was on disk."""
    timeline: str
    """The server's. Another one has taken over if it changes."""
    table_bytes: int
    """The size of the table of messages."""


def head_of(rows: Rows) -> Head:
    """Return the first row, parsed."""
    upto, seen, after, void, counts, places = rows[0]
    after, looked_up_to = after.split()
    is_copy, is_ahead, in_transaction = void.split()
    expired, many, found_any, is_fresh, is_taken, prunes, expired_since = counts.split()
    inserted, flushed, timeline, table_bytes = places.split()
    return Head(
        upto,
        seen,
        int(after),
        None if looked_up_to == "-" else int(looked_up_to),
        is_copy == "true",
        is_ahead == "true",
        in_transaction == "true",
        int(expired),
        many == "true",
        found_any == "true",
        is_fresh == "true",
        is_taken == "true",
        int(prunes),
        int(expired_since),
        place_of(inserted),
        place_of(flushed),
        timeline,
        int(table_bytes),
    )


def messages_of(rows: Rows) -> list[PlainMessage]:
    """Return the messages in the other rows; a message takes about 1 µs."""
    if len(rows) < 2:
        return []
    ids, channels, payloads, pids, micros, _ = zip(*rows[1:], strict=True)
    moments = map(_after_epoch, map(timedelta, repeat(0), repeat(0), map(int, micros)))
    return list(zip(channels, payloads, map(int, pids), map(int, ids), moments, strict=False))


def is_cut_off(rows: Rows, limit: int) -> bool:
    """Return whether a limit has ended these rows: that of rows, or that of bytes."""
    count = len(rows) - 1
    return count > 0 and not count == int(rows[-1][5]) < limit


def moment_of(micros: int) -> datetime:
    """Return the moment that is this many microseconds after 1970 began, in UTC."""
    return _after_epoch(timedelta(microseconds=micros))


def place_of(lsn: str) -> int:
    """Return a place in the server's log, such as ``0/171D798``, as a number of bytes."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)
