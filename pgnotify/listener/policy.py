"""How long the Listener's loop waits, and which errors are final."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgnotify.connecting import retryable
from pgnotify.connecting.backoff import Backoff


@dataclass(frozen=True)
class Policy:
    """Everything that the loop asks for; it has no clock of its own."""

    heartbeat: float | None
    """Seconds between two checks; None for none."""
    backoff: Backoff
    """How long to wait between attempts to connect."""
    can_reconnect: bool
    """Whether there can be a second connection."""
    new_is_fresh: bool
    """Whether a new connection cannot have been dead for long."""
    clock: Callable[[], float]
    """Returns seconds of a monotonic clock."""
    now: Callable[[], float]
    """Returns seconds since the epoch."""

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after this many failed attempts."""
        return self.backoff.delay(attempt)

    def is_healthy_after(self, seconds: float) -> bool:
        """Whether a connection that has lasted for this long makes earlier failures forgotten."""
        return seconds >= self.backoff.healthy_after

    def is_permanent(self, error: Exception, at_start: bool) -> bool:
        """Whether trying again cannot help; see `pgnotify.connecting.retryable`."""
        return retryable.is_permanent(error, at_start)
