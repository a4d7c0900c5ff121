"""Gaps: periods from which notifications may be missing; and the event after which nothing is missed any longer."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple


class Reason(str, enum.Enum):
    """Why notifications may be missing. Each member is also a string: its own value."""

    CONNECTION_LOST = "connection lost"
    """The connection ended, or the server did."""
    HEARTBEAT_MISSED = "heartbeat missed"
    """The server was asked and was silent for `answer_timeout`, and the connection was given up."""
    SUBSCRIPTION_LOST = "subscription lost"
    """The server no longer knew that the listener listens, because of somebody's UNLISTEN or a pooler."""
    FAIL_OVER = "fail-over"
    """The server was found to be a standby."""
    QUEUE_OVERFLOW = "queue overflow"
    """Notifications arrived faster than callbacks or the iteration took them, and a queue of ours was full."""

    UNDECODABLE = "undecodable"
    """One notification has arrived that the driver could not decode. The connection is fine."""
    EXPIRED = "expired"
    """Stored messages were removed because of their age before this subscription has read them."""

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Gap:
    """A period from which notifications may be missing.

    Notifications that were sent before `lost_at` or after `restored_at`, by this machine's clock, are not missing.
    "Sent before" means that the sender's NOTIFY, or its COMMIT, had returned by then. "Sent after" means that it had
    not begun by then.

    If the clock was set during the period, `lost_at` is the beginning by the setting that makes it earliest, and
    `restored_at` the end by the setting that makes it latest. So the period has what was sent in it, by whichever
    setting. Only a setting that came and went between two readings of the clock is not known. It is read with each
    heartbeat, at the loss, after each failed attempt to connect, and when LISTEN is in force again.
    """

    reason: Reason
    """Why. If one reason followed another before everything was in order again, this is the first one."""
    lost_at: datetime
    """The last moment at which everything was known to be in order; aware, in UTC."""
    restored_at: datetime
    """The moment from which everything is in order again; aware, in UTC."""
    channels: tuple[str, ...]
    """The channels whose notifications may be missing."""
    dropped: int = 0
    """How many notifications a full queue dropped, or how many stored messages have expired; 1 for an undecodable one.
    0 for other reasons, as missing notifications cannot be counted."""

    def following(self, earlier: Gap) -> Gap:
        """Return one gap for two that nothing lies between."""
        channels = tuple(dict.fromkeys((*earlier.channels, *self.channels)))
        lost_at = min(earlier.lost_at, self.lost_at)
        restored_at = max(earlier.restored_at, self.restored_at)
        return Gap(earlier.reason, lost_at, restored_at, channels, earlier.dropped + self.dropped)


@dataclass(frozen=True, slots=True)
class Listening:
    """The event that on_listening is called with: LISTEN is in force, and from now on nothing is missed."""

    channels: tuple[str, ...]
    """The channels whose LISTEN came into force; after a queue overflow, those whose notifications were dropped;
    after an undecodable notification, those that it may have been on."""
    connection: Any
    """The driver's own connection, live and idle, to catch up with. Commit or roll back transactions that you begin.

    None only for a queue overflow whose place is reached after the connection has ended for good.
    """
    gap: Gap | None
    """The gap to catch up on; None if these channels were not listened to before."""


class Moment(NamedTuple):
    """A reading of two clocks at once."""

    wall: float
    """Seconds since the epoch, by this machine's clock. It may be set at any time, back or forward."""
    elapsed: float
    """Seconds of a clock that nobody sets; only differences mean anything."""


class Period:
    """A period between two moments, by a wall clock that may be set any number of times during it.

    It knows the settings that it was shown: those of the moments that it was extended to.

    Args:
        start: when it begins.
    """

    __slots__ = ("_earliest", "_end", "_latest", "start")

    def __init__(self, start: Moment) -> None:
        self.start = start
        """When it begins."""
        self._end = start
        # How far the wall clock is ahead of the other one, by the settings seen.
        self._earliest = self._latest = start.wall - start.elapsed

    def extend(self, moment: Moment) -> None:
        """Have it end at a moment that is not earlier than its present end."""
        setting = moment.wall - moment.elapsed
        self._earliest, self._latest = min(self._earliest, setting), max(self._latest, setting)
        self._end = moment

    @property
    def lost_at(self) -> datetime:
        """When it begins, by the setting seen that makes that earliest; aware, in UTC."""
        # The reading itself counts, too: the sum is rounded.
        return utc(min(self.start.wall, self.start.elapsed + self._earliest))

    def gap(self, reason: Reason, channels: tuple[str, ...], dropped: int = 0) -> Gap:
        """Return the gap that is this period by every setting seen; see `Gap` for the arguments."""
        restored_at = max(self._end.wall, self._end.elapsed + self._latest)
        return Gap(reason, self.lost_at, utc(restored_at), channels, dropped)


def utc(seconds: float) -> datetime:
    """Return seconds since the epoch as an aware datetime."""
    return datetime.fromtimestamp(seconds, timezone.utc)
