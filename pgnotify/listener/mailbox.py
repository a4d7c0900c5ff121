"""A bounded queue between a reader that never waits and a slower consumer. It records each drop in its place."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import final

from pgnotify.listener.gap import Gap, Moment, Period, Reason
from pgnotify.listener.watch import DroppedGap
from pgnotify.notification import Plain


@final
class Overflow:
    """The place in a mailbox where notifications are missing."""

    def __init__(self, lost_at: Moment) -> None:
        self._period = Period(lost_at)
        self._channels: dict[str, None] = {}
        self._dropped = 0
        self.announced: DroppedGap | None = None
        """Its gap, as soon as a consumer has reached its place and has asked to announce it."""

    def drop(self, plains: Sequence[Plain], now: Moment) -> None:
        """Record notifications that were dropped."""
        self._channels.update((plain[0], None) for plain in plains)
        self._dropped += len(plains)
        self._period.extend(now)

    def gap(self) -> Gap:
        """Return the gap that the user is told of."""
        return self._period.gap(Reason.QUEUE_OVERFLOW, tuple(self._channels), self._dropped)


class Mailbox:
    """Notifications in order of arrival, at most ``size`` of them; further notifications are dropped.

    One thread puts; any number of other threads take. After an overflow, everything is dropped until half of it is
    free. Otherwise each notification that is taken would make room for one more, and a gap would follow it.

    Attributes:
        size: how many notifications it holds; None for any number.
        pop: removes and returns the oldest item, and raises IndexError if there is none. An `Overflow` that it returns
            must be passed to `put_back`, and to `remove` as soon as the user knows of its gap.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self._items: deque[Plain | Overflow] = deque()
        self.pop: Callable[[], Plain | Overflow] = self._items.popleft
        self._overflow: Overflow | None = None
        """The mark of the latest drop. It is the last item, until it is taken or there is room again."""
        self._marks = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many notifications wait; marks of an overflow do not count."""
        return max(0, len(self._items) - self._marks)  # a mark is removed first, and its count after that

    def __bool__(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._items)

    def put(self, plains: Sequence[Plain], complete_until: Moment, now: Moment) -> int:
        """Append as many notifications as there is room for, and drop the others.

        Args:
            plains: the notifications.
            complete_until: notifications that were sent before this were put in earlier.
            now: the present moment.

        Returns:
            How many notifications were dropped.
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
        """Remove and return the oldest item, None if there is none. For one consumer, which waits at an overflow."""
        try:
            item = self._items.popleft()
        except IndexError:
            return None
        if isinstance(item, Overflow):
            with self._lock:
                self._reached(item)
                self._marks -= 1
        return item

    def put_back(self, overflow: Overflow) -> None:
        """Return the mark of an overflow to the head, so that nothing newer is taken before it is removed."""
        self._items.appendleft(overflow)
        with self._lock:
            self._reached(overflow)

    def remove(self, overflow: Overflow) -> None:
        """Remove the mark of an overflow from the head, unless another consumer has done that."""
        with self._lock, suppress(ValueError):
            self._items.remove(overflow)
            self._marks = max(0, self._marks - 1)  # 0 if it was cleared in between

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
            self._items.clear()
            self._marks, self._overflow = 0, None

    def _reached(self, overflow: Overflow) -> None:
        """Record that a consumer has reached an overflow. The next drop makes another mark."""
        if self._overflow is overflow:
            self._overflow = None

    def forget_in_child(self) -> None:
        """Remove everything, without waiting for a lock. Called in the child after a fork."""
        self._lock = threading.Lock()
        self.clear()

    def _drop(self, plains: Sequence[Plain], complete_until: Moment, now: Moment) -> None:
        if self._overflow is None:
            self._overflow = Overflow(complete_until)
            self._marks += 1
            self._items.append(self._overflow)
        self._overflow.drop(plains, now)
