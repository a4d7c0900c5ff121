"""What may not have arrived: a gap, and the moment at which all is in order again."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any


class Reason(str, enum.Enum):
    """Why notifications may be missing; each is also its own text."""

    CONNECTION_LOST = "connection lost"
    """The connection ended, or the server did."""
    HEARTBEAT_MISSED = "heartbeat missed"
    """The server did not answer within `answer_timeout`, and the connection was given up."""
    SUBSCRIPTION_LOST = "subscription lost"
    """The server did not know any more that we listen; somebody else's UNLISTEN, or a pooler."""
    FAIL_OVER = "fail-over"
    """The server was found to be a standby."""
    QUEUE_OVERFLOW = "queue overflow"
    """Callbacks or the iteration were slower than what came in, and our own queue was full."""

    __str__ = str.__str__


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of time from which notifications may be missing.

    What was sent before `lost_at` or after `restored_at`, by this machine's clock, is not missing: "sent" means
    that the sender's NOTIFY, or its COMMIT, had returned before the one, or had not begun before the other.
    """

    reason: Reason
    """Why; if one followed another before all was in order again, the first one."""
    lost_at: datetime
    """The last moment at which all was known to be in order; aware, in UTC."""
    restored_at: datetime
    """The moment from which all is in order again; aware, in UTC."""
    channels: tuple[str, ...]
    """Whose notifications may be missing."""
    dropped: int = 0
    """How many a full queue has dropped; 0 for the other reasons, since what never came nobody can count."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The event that on_listening is called with: LISTEN is in force, from now on nothing is missed."""

    channels: tuple[str, ...]
    """The channels whose LISTEN came into force; of a queue overflow, those whose notifications were dropped."""
    connection: Any
    """The driver's own connection, live and idle, for reading what was missed; commit or roll back what you begin.

    None only for a queue overflow that the iteration comes to when the listener has ended already.
    """
    gap: Gap | None
    """What may be missing; None if these channels were not listened to before."""


def utc(seconds: float) -> datetime:
    """Return seconds since the epoch as an aware datetime."""
    return datetime.fromtimestamp(seconds, timezone.utc)
