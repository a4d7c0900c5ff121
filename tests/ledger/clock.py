"""The wall clock of a trial, which a fault sets. Nobody sets the machine's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgnotify.listener import clocks
from pgnotify.listener.gap import Moment

STEP = 3600.0
"""Seconds by which the clock is set; far longer than any gap of a trial."""


class WallClock:
    """The machine's wall clock, as if somebody had set it."""

    def __init__(self) -> None:
        self.set_by = 0.0
        """By how many seconds it differs from the machine's."""
        self.lock = threading.Lock()
        """Held while a statement is sent, and while the clock is set, so that these never overlap."""

    def set(self, by: float) -> None:
        """Set it to be this many seconds ahead of the machine's."""
        with self.lock:
            self.set_by = by

    @contextmanager
    def read_by_listeners(self, seen: Callable[[float], object] = lambda _: None) -> Iterator[None]:
        """Have listeners that are made meanwhile read this clock, and call a function with each setting they read.

        Full queues read the clock of the listener that is inside at that time.
        """
        read = clocks.now

        def now() -> Moment:
            set_by = self.set_by
            moment = Moment(time.time() + set_by, read().elapsed)
            seen(set_by)
            return moment

        clocks.now = now
        try:
            yield
        finally:
            clocks.now = read
