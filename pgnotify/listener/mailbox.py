"""A bounded queue between a reader that never waits and somebody slower, who learns what was dropped, and where."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from pgnotify.listener.gap import Gap, Reason, utc
from pgnotify.notification import Plain


class Overflow:
    """The place in a mailbox where some are missing."""

    def __init__(self, lost_at: float) -> None:
        self._lost_at = self._restored_at = lost_at
        self._channels: dict[str, None] = {}
        self._dropped = 0

    def drop(self, plains: Sequence[Plain], now: float) -> None:
        """Take note of what was dropped."""
        self._channels.update((plain[0], None) for plain in plains)
        self._dropped += len(plains)
        self._restored_at = now

    def gap(self) -> Gap:
        """Return what the user is told."""
        lost_at, restored_at = utc(self._lost_at), utc(self._restored_at)
        return Gap(Reason.QUEUE_OVERFLOW, lost_at, restored_at, tuple(self._channels), self._dropped)


class Mailbox:
    """Notifications in order of arrival, at most ``size`` of them; what comes in addition is dropped.

    One thread puts, any number of others take. Once it has overflowed it drops all until half of it is free: else
    each notification taken would make room for one, and be followed by a gap.

    Attributes:
        size: how many it holds; None for any number.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self._items: deque[Plain | Overflow] = deque()
        self._overflow: Overflow | None = None
        """Where the latest were dropped; the last of the items, until it is taken or there is room again."""
        self._marks = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many notifications wait, marks of an overflow not counted."""
        return max(0, len(self._items) - self._marks)  # a mark is taken first, and counted behind that

    def __bool__(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._items)

    def put(self, plains: Sequence[Plain], complete_until: float, now: float) -> int:
        """Append what there is room for.

        Args:
            plains: the notifications.
            complete_until: what was sent before this, in seconds since the epoch, was put in before.
            now: seconds since the epoch.

        Returns:
            How many were dropped.
        """
        if self.size is None:
            self._items.extend(plains)
            return 0
        with self._lock:
            if self._overflow is not None and len(self) <= self.size // 2:
                self._overflow = None
            room = 0 if self._overflow is not None else max(0, self.size - len(self))
            self._items.extend(plains[:room])
            dropped = plains[room:]
            if dropped:
                self._drop(dropped, complete_until, now)
            return len(dropped)

    def take(self) -> Plain | Overflow | None:
        """Remove and return the oldest item, None if there is none."""
        try:
            item = self._items.popleft()
        except IndexError:
            return None
        if type(item) is Overflow:
            with self._lock:
                self._marks -= 1
                if self._overflow is item:
                    self._overflow = None
        return item

    def clear(self) -> None:
        """Remove all."""
        with self._lock:
            self._items.clear()
            self._marks, self._overflow = 0, None

    def _drop(self, plains: Sequence[Plain], complete_until: float, now: float) -> None:
        if self._overflow is None:
            self._overflow = Overflow(complete_until)
            self._marks += 1
            self._items.append(self._overflow)
        self._overflow.drop(plains, now)
