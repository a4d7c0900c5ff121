"""How long the Listener's loop waits, and which errors are final."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pgnotify.connecting import retryable
from pgnotify.connecting.backoff import Backoff
from pgnotify.connecting.session_name import name_for_unnamed
from pgnotify.connecting.source import AnySource
from pgnotify.listener.flow import LONGEST_DELAY_SECONDS
from pgnotify.listener.gap import Moment
from pgnotify.listener.options import Options

# A gap under traffic is about this long. The question takes 60 µs of the server's time.
SOON_SECONDS = 0.1
# On a slow link, the time between two questions is this many times as long as the latest answer took: nothing is
# delivered while the reading thread waits for an answer.
SHARE_OF_CHECKS = 10.0


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

    session_name: Callable[[], str] | None = None
    """Returns the name of a new session on the server. None if it has one, or if the connection is the user's own."""

    @classmethod
    def of(cls, options: Options, source: AnySource, clock: Callable[[], float], now: Callable[[], Moment]) -> Policy:
        """Return the policy of a listener with these options, whose connections come from this source."""
        from_function = source.can_reconnect and not source.from_dsn
        name = partial(name_for_unnamed, options.name) if from_function else None
        return cls(options.heartbeat, options.backoff, source.can_reconnect, not from_function, clock, now, name)

    def next_check(self, now: float) -> float:
        """Return when to check although nothing arrives, by the monotonic clock."""
        return math.inf if self.heartbeat is None else now + self.heartbeat

    def latest_check(self, now: float) -> float:
        """Return when to check although much is arriving, by the monotonic clock."""
        return math.inf if self.heartbeat is None else now + max(self.heartbeat, LONGEST_DELAY_SECONDS)

    def soon(self, answer_seconds: float) -> float:
        """Return how many seconds after an arrival to check, if the latest answer took this many."""
        return math.inf if self.heartbeat is None else max(SOON_SECONDS, answer_seconds * SHARE_OF_CHECKS)

    def delay(self, attempt: int) -> float:
        """Return how many seconds to wait after this many failed attempts."""
        return self.backoff.delay(attempt)

    def is_healthy_after(self, seconds: float) -> bool:
        """Return whether earlier failures are forgotten after a connection that has lasted this many seconds."""
        return seconds >= self.backoff.healthy_after

    def is_permanent(self, error: Exception, at_start: bool) -> bool:
        """Return whether another attempt cannot help; see `pgnotify.connecting.retryable`."""
        return retryable.is_permanent(error, at_start)
