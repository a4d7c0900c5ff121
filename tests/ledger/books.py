"""What is written down: by the sender, by each listener, and by whoever strikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from pgnotify.listener.gap import Gap
from pgnotify.notification import Notification


class Sent(NamedTuple):
    """One notification, as its sender knows it. Numbers grow over all channels, and channels have one sender."""

    number: int
    channel: str
    before: float
    """Seconds since the epoch just before the statement went out, by the trial's wall clock, which may be set."""
    after: float
    """The same when it had returned, or failed."""
    sure: bool = True
    """Whether it returned. What failed may have been sent all the same, or not."""
    set_by: float = 0.0
    """By how many seconds that clock was set meanwhile."""

    @property
    def at(self) -> float:
        """Seconds since the epoch just before the statement went out, by the machine's clock, as all other times."""
        return self.before - self.set_by


class Delivered(NamedTuple):
    """A listener's user has received a notification."""

    number: int
    channel: str
    at: float
    """Seconds since the epoch."""


class Announced(NamedTuple):
    """A listener's user was told of a gap."""

    gap: Gap
    at: float
    """Seconds since the epoch."""
    set_by: float = 0.0
    """By how many seconds the trial's wall clock was set at the end of the gap."""


Entry: TypeAlias = Delivered | Announced
"""A listener's book is a list of these; its order is that in which all happened, in whatever thread."""

_LATEST = 500


@dataclass(eq=False)
class Book:
    """What one user of a listener was given."""

    channels: tuple[str, ...]
    """Those that the user hears of."""
    entries: list[Entry] = field(default_factory=list)
    lives: list[int] = field(default_factory=list)
    """Where among the entries each further life of the process began, which has its position from the outbox."""
    since: float | None = None
    """When the user had come, of one that comes and goes, in seconds since the epoch; None for one that stays."""

    def due(self, sent: Sequence[Sent]) -> list[Sent]:
        """Return what a user should have had.

        For one that comes and goes, that is what was sent from when it had come until the last that it took. It may
        have some of what was sent just before, too.
        """
        its = [each for each in sent if each.channel in self.channels]
        if self.since is None:
            return its
        had = {entry.number for entry in self.entries if isinstance(entry, Delivered)}
        last = max(had, default=0)
        return [each for each in its if each.number in had or (each.at >= self.since and each.number <= last)]

    def latest(self) -> list[Delivered]:
        """Return the notifications among its latest entries, the newest first."""
        return [entry for entry in reversed(self.entries[-_LATEST:]) if isinstance(entry, Delivered)]


def number_of(item: Notification) -> int:
    """Return the number in a payload. What follows it says nothing here."""
    return int(item.payload.split(None, 1)[0])


class Strike(NamedTuple):
    """A fault has struck."""

    kind: str
    at: float
    """Seconds since the epoch just before."""
    over: float
    """From when on a listener could be back: the same, or when the server was up again."""
