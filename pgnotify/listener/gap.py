"""Gaps: periods from which notifications may be missing; and the event after which nothing is missed any longer."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any


class Reason(str, enum.Enum):
    """Why notifications may be missing. Each member is also a string: its own value."""

    CONNECTION_LOST = "connection lost"
    """The connection ended, or the server did."""
    HEARTBEAT_MISSED = "heartbeat missed"
    """The server did not answer within `answer_timeout`, and the connection was given up."""
    SUBSCRIPTION_LOST = "subscription lost"
    """The server no longer knew that the listener listens, because of somebody's UNLISTEN or a pooler."""
    FAIL_OVER = "fail-over"
    """The server was found to be a standby."""
    QUEUE_OVERFLOW = "queue overflow"
    """Notifications arrived faster than callbacks or the iteration took them, and a queue of ours was full."""

    UNDECODABLE = "undecodable"
    """One notification has arrived that the driver could not decode. The connection is fine."""

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Gap:
    """A period from which notifications may be missing.

    Notifications that were sent before `lost_at` or after `restored_at`, by this machine's clock, are not missing.
    "Sent before" means that the sender's NOTIFY, or its COMMIT, had returned by then. "Sent after" means that it had
    not begun by then.
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
    """How many notifications a full queue dropped; 1 for an undecodable one. 0 for other reasons, as missing
    notifications cannot be counted."""


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


def utc(seconds: float) -> datetime:
    """Return seconds since the epoch as an aware datetime."""
    return datetime.fromtimestamp(seconds, timezone.utc)
