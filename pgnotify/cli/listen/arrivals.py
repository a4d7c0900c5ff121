"""The notifications and gaps that have arrived and were not handled yet, in order, up to a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from queue import Empty, SimpleQueue

from pgnotify.cli.lines import Began, Item, Received
from pgnotify.listener.gap import Gap, Listening, Reason, utc
from pgnotify.notification import Notification

# A notification beside its payload, with its strings and its place in the queue.
BYTES_BESIDE_PAYLOAD = 350
MOST_BYTES = 256 * 1024 * 1024


class Ended(Exception):
    """Nothing follows. The text says why."""


class Arrivals:
    """Notifications and gaps in order, from the thread that reads to the one that handles them.

    The reading thread never waits: a session that listens and does not read keeps the server's notification queue from
    shrinking. While `most_bytes` wait, further notifications are dropped, and a `Gap` takes their place.

    Args:
        most_bytes: how much may wait.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.known_good_at: Callable[[], datetime | None] = lambda: None
        """Returns the last moment at which nothing was missing; see `Status.known_good_at`."""
        self._most_bytes = most_bytes
        self._queue: SimpleQueue[Item | Exception] = SimpleQueue()  # which a signal handler may put into, too
        self._put = self._taken = 0  # bytes; each is counted by one thread only
        self._lock = threading.Lock()
        self._lost_at: datetime | None = None
        """Since when notifications are dropped; None while none are."""
        self._dropped: dict[str, int] = {}
        """How many, by channel."""

    def receive(self, notification: Notification) -> None:
        """Put a notification. This is the listener's callback."""
        size = BYTES_BESIDE_PAYLOAD + len(notification.payload)
        if self._put - self._taken + size > self._most_bytes:
            self._drop(notification.channel)
            return
        if self._dropped:
            self._put_gap()
        self._put += size
        self._queue.put(Received(time.time(), notification))

    def listening(self, event: Listening) -> None:
        """Put the event of a LISTEN. This is the listener's on_listening."""
        self._queue.put(Began(time.time(), event))

    def end(self, why: Exception) -> None:
        """Have `next` raise this, after everything that came before it. Any thread may call this."""
        self._queue.put(why)

    def next(self, timeout: float | None) -> Item | None:
        """Return the next item.

        Args:
            timeout: seconds to wait for it; None waits for ever.

        Returns:
            None if the timeout passed first.
        """
        try:
            item = self._queue.get_nowait()
        except Empty:
            if self._dropped:
                self._put_gap()
            try:
                item = self._queue.get(timeout=None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
            except Empty:
                return None
        if isinstance(item, Exception):
            raise item
        if isinstance(item, Received):
            self._taken += BYTES_BESIDE_PAYLOAD + len(item.notification.payload)
        return item

    def _drop(self, channel: str) -> None:
        with self._lock:
            if not self._dropped:
                self._lost_at = self.known_good_at()
            self._dropped[channel] = self._dropped.get(channel, 0) + 1

    def _put_gap(self) -> None:
        """Put the gap of the dropped notifications, unless the other thread just does."""
        with self._lock:
            if not self._dropped:
                return
            now = time.time()
            channels, count = tuple(self._dropped), sum(self._dropped.values())
            gap = Gap(Reason.QUEUE_OVERFLOW, self._lost_at or utc(now), utc(now), channels, count)
            self._dropped = {}
            self._queue.put(Began(now, Listening(channels, None, gap)))
