"""One thread at a time reads; the others wait for what it brings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Reading:
    """Which thread reads, and the condition on which all others wait."""

    def __init__(self) -> None:
        # Reentrant, since a signal handler may come in while its own thread holds it.
        self._changed = threading.Condition(threading.RLock())
        self._reader: int | None = None
        """Guarded by `_changed`."""

    def by_this_thread(self) -> bool:
        """Whether this thread reads: then it is in a callback, or in a signal handler."""
        return self._reader == threading.get_ident()

    @property
    def by_nobody(self) -> bool:
        """Whether no thread reads."""
        return self._reader is None

    def try_to_take(self) -> bool:
        """Be the one that reads, if nobody does; return whether that is so."""
        with self._changed:
            if self._reader is not None:
                return False
            self._reader = threading.get_ident()
            return True

    def give_up(self) -> None:
        """Let others read."""
        with self._changed:
            self._reader = None
            self._changed.notify_all()

    def notify(self) -> None:
        """Have all that wait look again; for whatever thread has changed something."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until a predicate is true, for somebody else changes that; False if the deadline passed first."""
        with self._changed:
            return self._changed.wait_for(predicate, seconds_until(deadline))


def seconds_until(deadline: float | None) -> float | None:
    """Return the seconds until a moment of the monotonic clock, at least 0; None for never."""
    if deadline is None:
        return None
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
