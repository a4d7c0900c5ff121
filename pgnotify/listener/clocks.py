"""The clocks of this machine, read together."""

from __future__ import annotations

import time

from pgnotify.listener.gap import Moment

# Linux's monotonic clock stands still while the machine is suspended; this one does not.
_ELAPSED = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> Moment:
    """Read the wall clock, and the clock that nobody sets."""
    return Moment(time.time(), elapsed())


def elapsed() -> float:
    """Read the clock that nobody sets; see `Moment.elapsed`."""
    return time.monotonic() if _ELAPSED is None else time.clock_gettime(_ELAPSED)
