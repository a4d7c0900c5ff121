"""How a consumer that has reached an overflow waits until the user is told of its gap, before it takes anything newer.

The consumer is a thread that iterates, or a worker. The thread that reads tells the user. If no loop follows, the
consumer does it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pgnotify.listener.delivery import Delivery
from pgnotify.listener.mailbox import Overflow
from pgnotify.listener.runner import ReconnectingRunner
from pgnotify.listener.watch import DroppedGap
from pgnotify.program.ownership import Ownership

if TYPE_CHECKING:
    from pgnotify.listener.lifecycle import Lifecycle


class Overflows:
    """Has the user told of the gap of each overflow that a consumer reaches.

    It remembers nothing itself: the overflow and the watch do.

    Args:
        lifecycle: which thread reads, and whether a loop follows.
        runner: is woken after a request.
        delivery: knows the watch, the workers, and the lock of the queues.
        ownership: the condition on which the consumers wait.
    """

    def __init__(
        self, lifecycle: Lifecycle, runner: ReconnectingRunner, delivery: Delivery, ownership: Ownership
    ) -> None:
        self._lifecycle = lifecycle
        self._shutdown = lifecycle.shutdown
        self._runner = runner
        self._delivery = delivery
        self._watch = delivery.watch
        self._ownership = ownership

    def announce(self, overflow: Overflow, deadline: float | None = None) -> bool:
        """Have the user told of the gap of an overflow that the iteration has reached, and wait until that is done.

        Returns:
            False if the deadline passed first. Then call it again before anything newer is taken.

        Raises the same errors as `Lifecycle.wait_first`.
        """
        dropped = self._ask(overflow)
        while not self._is_told(dropped):
            if self._shutdown.is_over:  # the thread that reads is about to end, or another thread announces it
                self._ownership.wait(lambda: dropped.is_told or self._may_tell(dropped), deadline)
            else:
                self._lifecycle.wait_first(lambda: dropped.is_told or self._shutdown.is_over, deadline)
            if deadline is not None and time.monotonic() >= deadline:
                return self._is_told(dropped)
        return True

    def announce_from_worker(self, overflow: Overflow, unless: Callable[[], bool]) -> bool:
        """Have the user told of the gap of an overflow that a worker has reached, and wait until that is done.

        If no thread reads, the worker waits for the next one that does, or for the end of the listener.

        Args:
            overflow: the overflow.
            unless: ends the wait if it returns True. It is called now, and after each change.

        Returns:
            Whether the user was told, or an error has ended the listener.
        """
        dropped = self._ask(overflow)
        try:
            while not self._is_told(dropped):
                self._ownership.wait(lambda: dropped.is_told or self._may_tell(dropped) or unless(), None)
                if not dropped.is_told and unless():
                    return False
        except BaseException as error:
            self._lifecycle.end_by_worker(error)
        return True

    def _ask(self, overflow: Overflow) -> DroppedGap:
        """Have the reading thread announce the gap of an overflow, unless it was asked before."""
        with self._delivery.lock:
            if overflow.announced is None:
                overflow.announced = DroppedGap(overflow.gap(), self._ownership.notify)
                self._watch.announce(overflow.announced)
                self._runner.wake()
                if self._delivery.workers is not None:
                    self._delivery.workers.notify()
            return overflow.announced

    def _is_told(self, dropped: DroppedGap) -> bool:
        """Return whether the user knows of a gap. Announce it here if no loop in another thread will."""
        if self._may_tell(dropped):
            self._shutdown.announce(dropped)
        return dropped.is_told

    def _may_tell(self, dropped: DroppedGap) -> bool:
        """Return whether this thread is to announce a gap: the loop is over, or runs in this thread."""
        over = self._lifecycle.no_loop_follows()
        here = self._ownership.by_this_thread() and self._watch.is_settled
        return (over or here) and dropped in self._watch.dropped_gaps
