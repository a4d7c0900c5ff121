"""How long the Listener's loop waits, and which errors are final."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pgnotify.connecting import retryable
from pgnotify.connecting.backoff import Backoff
from pgnotify.connecting.source import Source
from pgnotify.listener.gap import Moment
from pgnotify.listener.options import Options


@dataclass(frozen=True)
class Policy:
    """The settings and the clocks of the loop, which has no clock of its own."""

    heartbeat: float | None
    """Seconds between two checks; None never checks."""
    backoff: Backoff
    """How long to wait between attempts to connect."""
    can_reconnect: bool
    """Whether there can be a second connection."""
    new_is_fresh: bool
    """Whether a new connection is certainly new. If not, it may have died long ago."""
    clock: Callable[[], float]
    """Returns seconds of a monotonic clock."""
    now: Callable[[], Moment]
    """Reads the wall clock, too; for gaps."""

    @classmethod
    def of(cls, options: Options, source: Source, clock: Callable[[], float], now: Callable[[], Moment]) -> Policy:
        """Return the policy of a listener with these options, whose connections come from this source."""
        new_is_fresh = source.from_dsn or not source.can_reconnect
        return cls(options.heartbeat, options.backoff, source.can_reconnect, new_is_fresh, clock, now)

    def delay(self, attempt: int) -> float:
        """Return how many seconds to wait after this many failed attempts."""
        return self.backoff.delay(attempt)

    def is_healthy_after(self, seconds: float) -> bool:
        """Return whether earlier failures are forgotten after a connection that has lasted this many seconds."""
        return seconds >= self.backoff.healthy_after

    def is_permanent(self, error: Exception, at_start: bool) -> bool:
        """Return whether another attempt cannot help; see `pgnotify.connecting.retryable`."""
        return retryable.is_permanent(error, at_start)
