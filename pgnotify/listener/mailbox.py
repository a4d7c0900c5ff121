"""A bounded queue between a reader that never waits and a slower consumer. It records each drop in its place."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, final

from pgnotify.atomic import Call, at_once, then
from pgnotify.listener.gap import Gap, Moment, Period, Reason
from pgnotify.listener.watch import DroppedGap
from pgnotify.notification import Plain


@final
class Overflow:
    """The place in a mailbox where notifications are missing."""

    def __init__(self, lost_at: Moment, now: Moment) -> None:
        self._period = Period(lost_at)
        self.since = now
        """When the first one was dropped."""
        self._channels: dict[str, None] = {}
        self.dropped = 0
        """How many notifications are missing."""
        self.announced: DroppedGap | None = None
        """Its gap, as soon as a consumer has asked to announce it."""

    def extend(self, plains: Sequence[Plain], now: Moment) -> None:
        """Have its gap include notifications that are about to be dropped."""
        self._channels.update((plain[0], None) for plain in plains)
        self._period.extend(now)

    def gap(self) -> Gap:
        """Return the gap that the user is told of."""
        return self._period.gap(Reason.QUEUE_OVERFLOW, tuple(self._channels), self.dropped)


class Mailbox:
    """Notifications in order of arrival, at most ``size`` of them; further notifications are dropped.

    One thread puts; any number of other threads take. After an overflow, everything is dropped until half of it is
    free. Otherwise each notification that is taken would make room for one more, and a gap would follow it.

    Args:
        size: how many notifications it holds; None for any number.
        lock: guards what `plan` decides, until it is done. Several mailboxes may share it.
    """

    def __init__(self, size: int | None = None, lock: AbstractContextManager[object] | None = None) -> None:
        self.size = size
        self.lock = threading.RLock() if lock is None else lock
        self.items: deque[Any] = deque()
        """The notifications before the first overflow. A consumer takes from the head, in C. Those of a stream are
        ready to be handed out, with the gaps of the connection among them."""
        self._later: deque[tuple[Overflow, deque[Any]]] = deque()
        """Each overflow, with the notifications that follow it; changed under the lock."""
        self._seen_head: Plain | None = None
        """The head of the items as the latest `plan` has seen it that found any; None if none has."""
        self._head_since = self._latest_put = Moment(0.0, 0.0)
        """When a `plan` saw that head first, and when the latest one was made."""

    def __len__(self) -> int:
        """Return how many notifications wait."""
        if not self._later:
            return len(self.items)
        return len(self.items) + sum(len(following) for _, following in list(self._later))

    def __bool__(self) -> bool:
        """Whether there is anything to take, or an overflow to pass."""
        return bool(self.items or self._later)

    @property
    def has_dropped(self) -> bool:
        """Whether there is an overflow that no consumer has passed."""
        return bool(self._later)

    @property
    def has_overflow(self) -> bool:
        """The same, for a consumer that has found nothing among the items."""
        return bool(self._later)

    def put(self, plains: Sequence[Plain], complete_until: Moment, now: Moment) -> int:
        """Append as many notifications as there is room for, and drop the others; return how many were dropped.

        The arguments are those of `plan`.
        """
        with self.lock:
            calls, dropped = self.plan(plains, complete_until, now)
            at_once(*calls)
        return dropped

    def plan(self, plains: Sequence[Plain], complete_until: Moment, now: Moment) -> tuple[list[Call], int]:
        """Return the calls that append as many notifications as there is room for, and drop the others.

        The caller holds the lock, and makes the calls at once.

        Args:
            plains: the notifications.
            complete_until: notifications that were sent before this were put in earlier.
            now: the present moment.

        Returns:
            The calls, and how many notifications they drop.
        """
        if self.has_room(len(plains), now):
            return [(self.items.extend, (plains,))], 0
        overflow = self._full_since()
        room = self._room(overflow)
        kept, dropped = (plains, ()) if room >= len(plains) else (plains[:room], plains[room:])
        calls: list[Call] = [((self._later[-1][1] if self._later else self.items).extend, (kept,))]
        if dropped:
            if overflow is None or kept:
                overflow = Overflow(complete_until, now)
                calls.append((self._later.append, ((overflow, deque()),)))
            overflow.extend(dropped, now)
            calls.append((setattr, (overflow, "dropped", overflow.dropped + len(dropped))))
        return calls, len(dropped)

    def has_room(self, count: int, now: Moment) -> bool:
        """Return whether to append this many to the items is all that a `plan` has to do; if so, the caller does that.

        This is the usual case: thousands of streams share a notification. The caller holds the lock.

        Args:
            count: how many notifications are to be appended.
            now: the present moment.
        """
        items = self.items
        if items:
            with suppress(IndexError):  # a consumer has taken all just now
                if items[0] is not self._seen_head:
                    self._seen_head, self._head_since = items[0], now
        self._latest_put = now
        return not self._later and (self.size is None or len(items) + count <= self.size)

    def put_gap(self, gap: Gap) -> None:
        """Append a gap of the connection, whether there is room or not.

        If the latest item is such a gap, too, one takes the place of both: nothing has arrived between them. The gap of
        an overflow stays as it is, because it counts what was dropped.
        """
        with self.lock:
            items = self._later[-1][1] if self._later else self.items
            try:
                latest = items[-1]
                if isinstance(latest, Gap) and latest.reason is not Reason.QUEUE_OVERFLOW:
                    items[-1] = gap.following(latest)
                    return
            except IndexError:  # perhaps because a consumer has taken all just now
                pass
            items.append(gap)

    def waiting_since(self) -> float | None:
        """Return a moment, by `Moment.elapsed`, by which the next thing to take had arrived; None if there is nothing.

        Any thread may call this. A consumer that has stopped taking shows soon: while more arrives, the moment is later
        than the arrival by the time between two arrivals at most.
        """
        try:
            head = self.items[0]
        except IndexError:
            return next((overflow.since.elapsed for overflow, _ in list(self._later)), None)
        return (self._head_since if head is self._seen_head else self._latest_put).elapsed

    def overflow(self) -> Overflow | None:
        """Return the overflow that a consumer has reached, to be passed before anything newer is taken."""
        with self.lock:
            if self.items or not self._later:
                return None
            return self._later[0][0]

    def put_down(self) -> None:
        """Record that the consumer is done with what it has taken, but does not ask for more."""

    def pass_by(self, overflow: Overflow) -> None:
        """Let consumers take what follows an overflow, unless another one has done that. The user knows of its gap."""
        with self.lock:
            if self._later and self._later[0][0] is overflow:
                self.items.extend(then(self._later[0][1], self._later.popleft))

    def show_gap(self) -> bool:
        """Put the gap of an overflow that the consumer has reached among the items, with those that follow it.

        Returns:
            False if there is no overflow, or the consumer has not reached it.
        """
        overflow = self.overflow()
        if overflow is None:
            return False
        with self.lock:
            if self._later and self._later[0][0] is overflow:
                self.items.extend(then([overflow.gap(), *self._later[0][1]], self._later.popleft))
        return True

    def clear(self) -> None:
        """Remove everything."""
        with self.lock:
            self.items.clear()
            self._later.clear()

    def _full_since(self) -> Overflow | None:
        """Return the overflow that goes on: no notification was put in after it.

        A gap of the connection may follow it. If each one began another overflow, a queue that nobody takes from would
        grow with each loss.

        If a consumer has reached it, there is room, and something is put in before the next one is dropped.
        """
        if not self._later:
            return None
        overflow, following = self._later[-1]
        return overflow if all(isinstance(each, Gap) for each in following) else None

    def forget_in_child(self) -> None:
        """Remove everything, without waiting for a lock. Called in the child after a fork."""
        self.lock = threading.RLock()
        self.clear()

    def _room(self, full_since: Overflow | None) -> int:
        if self.size is None:
            return sys.maxsize
        waiting = len(self)
        if full_since is not None and waiting > self.size // 2:
            return 0
        return max(0, self.size - waiting)
