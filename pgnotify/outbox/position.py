"""A position in memory, and how far back it goes when the session is lost.

Transaction ids come again after a crash of the server: its counter restarts behind the log that was on disk. A snapshot
from before then skips messages. So each position is kept until the log is known to be on disk up to where it was taken,
and after a loss the latest such position is the present one. What was delivered after it is remembered, and is left out
when it is read again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from pgnotify.atomic import at_once
from pgnotify.outbox.rows import Head, PlainMessage

Key: TypeAlias = tuple[int, Any]
"""What no two messages share, even after a crash of the server: the id and the time."""

# For a server that takes the place of another one: nobody knows which of its transactions are missing there.
REMEMBERED = 10_000

BEGINNING = "1:1:"
"""The snapshot that sees nothing."""


class Place(NamedTuple):
    """How far a reader has read: the set of messages between two snapshots, up to an id."""

    seen: str
    upto: str | None = None
    """None: the next read takes a fresh snapshot."""
    after: int = 0


class _Pending(NamedTuple):
    """A place that is certain as soon as the log is on disk up to a number of bytes."""

    inserted: int
    place: Place
    keys: tuple[Key, ...]
    """The messages that were delivered on the way there from the one before."""


class Position:
    """How far a reader has read, in memory.

    Args:
        seen: the snapshot to begin at.
        inserted: how far the log was written then, in bytes.
    """

    def __init__(self, seen: str, inserted: int) -> None:
        self.place = self._certain = Place(seen)
        self._inserted = inserted
        """How far the log was written when the latest snapshot was taken."""
        self._pending: deque[_Pending] = deque()
        self._skipped: set[Key] = set()
        """Messages that were delivered before the session was lost, and may be read again."""
        self._latest: deque[Key] = deque(maxlen=REMEMBERED)

    def read(
        self, head: Head, messages: list[PlainMessage], last: int | None, queue: deque[PlainMessage] | None = None
    ) -> list[PlainMessage]:
        """Move past messages that were read; return those to deliver.

        Args:
            head: of the read.
            messages: in order.
            last: the id up to which their set was read; None if nothing is left of it.
            queue: gets those to deliver in the moment in which the position moves.
        """
        self._flushed(head.flushed)
        if head.is_fresh:
            self._inserted = head.inserted
        place = Place(head.upto) if last is None else Place(head.seen, head.upto, last)
        keys = tuple((message[3], message[4]) for message in messages)
        if self._skipped:
            messages = [m for m, key in zip(messages, keys, strict=True) if key not in self._skipped]
        at_once(
            ((deque() if queue is None else queue).extend, (messages,)),
            (self._latest.extend, (keys,)),
            (self._pending.append, (_Pending(self._inserted, place, keys),)),
            (setattr, (self, "place", place)),
        )
        self._flushed(head.flushed)
        return messages

    def session_lost(self) -> None:
        """Go back to the latest certain place."""
        self._skip(key for pending in self._pending for key in pending.keys)
        self._pending.clear()
        self.place = self._certain

    def start_over(self) -> None:
        """Go back to the beginning: another server has taken over, and may lack some transactions that were seen."""
        self.session_lost()
        self._skip(self._latest)
        self.place = self._certain = Place(BEGINNING)

    def _flushed(self, flushed: int) -> None:
        """Take into account that the log is on disk up to there."""
        pending = self._pending
        while pending and pending[0].inserted <= flushed:
            self._certain = pending[0].place  # first: what is pending is left out when it is read again
            pending.popleft()
            if self._skipped and self._certain.upto is None:  # all that it could leave out has been read again
                self._skipped.clear()

    def _skip(self, keys: Iterable[Key]) -> None:
        self._skipped.update(keys)
