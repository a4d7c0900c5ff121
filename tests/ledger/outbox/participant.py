"""What the listeners with an outbox have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pgnotify
from pgnotify.listener.gap import Gap, Listening
from pgnotify.notification import Notification
from tests.ledger.books import Book
from tests.ledger.participant import POISON, Participant

BATCH = 60
"""How many messages a batch has at most."""
OUTBOX = pgnotify.Outbox()
IN_ORDER = ("iterate", "alone", "run", "batches", "async iterate", "async run", "async batches")
"""The ways to use a listener that have one consumer for all channels."""


def is_stored(mode: str) -> bool:
    """Return whether it is a mode of a listener with an outbox."""
    return "outbox" in mode


def is_durable(mode: str) -> bool:
    """Return whether it has a name, so that another listener goes on in its place."""
    return "durable" in mode or "batches" in mode or "process" in mode or "stand-by" in mode


def may_end_a_loop(mode: str) -> bool:
    """Return whether another listener on a new event loop may go on in the place of one.

    Without a name it begins at the present. Streams are opened one by one, and so does the second one of a channel.
    """
    return (is_durable(mode) and "streams" not in mode) or not is_stored(mode)


class Storing(Participant):
    """A listener with an outbox; see `Participant`. Nothing is lost and no gap is told of, so it counts LISTENs."""

    QUEUED = ()
    times_listened = 0
    """How many times LISTEN came into force, again or for the first time."""

    @property
    def may_lose_its_loop(self) -> bool:
        """Whether another listener on a new event loop may go on in its place."""
        return may_end_a_loop(self.mode) and self.mode.startswith("async")

    @property
    def has_own_channels(self) -> bool:
        """Whether the channels are the listener's own; a name takes no later ones."""
        return super().has_own_channels or (self.way.endswith("streams") and is_durable(self.mode))

    @property
    def has_one_order(self) -> bool:
        """Whether all channels share an order."""
        return self.way in IN_ORDER

    @property
    def _more_options(self) -> dict[str, Any]:
        return {"outbox": OUTBOX, "durable": self.mode if is_durable(self.mode) else None}

    def marks(self) -> list[int]:
        """Return how many times LISTEN came into force."""
        return [self.times_listened]

    def has_gap_since(self, marks: Sequence[int], overflow: bool = False) -> bool:
        """Whether LISTEN has come into force again."""
        return self.times_listened > marks[0]

    def lose_subscriptions(self, channels: tuple[str, ...]) -> Callable[[], object]:
        """Do the same as `Participant.lose_subscriptions`, without a name only: with one, channels may not be added."""
        return _nothing if is_durable(self.mode) else super().lose_subscriptions(channels)  # type: ignore[safe-super]

    def _count(self, event: Listening) -> None:
        if {*event.channels} - {POISON}:
            self.times_listened += 1

    def _write(self, item: Notification | Gap, book: Book) -> None:
        if not isinstance(item, Gap):
            number, length = item.payload.split()
            if len(item.payload) != int(length):
                self.errors.append(AssertionError(f"{number} has {len(item.payload)} of {length} bytes"))
        super()._write(item, book)


def _nothing() -> None:
    """Clear up nothing."""
