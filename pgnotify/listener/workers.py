"""Threads that run the callbacks, so that the reader never waits for one. Each subscription keeps its order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from pgnotify.listener.gap import Moment
from pgnotify.listener.mailbox import Overflow
from pgnotify.listener.subscriptions import Subscription
from pgnotify.notification import Notification, Plain
from pgnotify.program.ownership import seconds_until

# How many notifications of one subscription a worker delivers before it serves another one that waits.
TURN = 100


class Workers:
    """A fixed number of threads. One of them at a time serves a subscription whose mailbox is not empty.

    Args:
        count: how many threads.
        name: the listener's, for the names of the threads.
        call: calls the callback. It handles every error itself.
        announce: tells the user of an overflow, and returns after that. It handles every error itself.
    """

    def __init__(
        self,
        count: int,
        name: str,
        call: Callable[[Subscription, Notification], None],
        announce: Callable[[Overflow], None],
    ) -> None:
        self._call = call
        self._announce = announce
        self._ready: queue.SimpleQueue[Subscription | None] = queue.SimpleQueue()
        self._closing = False
        self._unserved = 0
        """How many subscriptions wait or are served; guarded by `_served`."""
        self._served = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name} worker {number}", daemon=True)
            for number in range(1, count + 1)
        ]
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:  # there are no more threads
            for _ in self._threads:
                self._ready.put(None)
            raise

    def give(self, subscription: Subscription, plains: Sequence[Plain], complete_until: Moment, now: Moment) -> int:
        """Put notifications into a subscription's mailbox, and have it served; return how many were dropped.

        The moments are as in `Mailbox.put`.
        """
        dropped = subscription.mailbox.put(plains, complete_until, now)
        with subscription.lock:
            new, subscription.scheduled = not subscription.scheduled, True
        if new:
            with self._served:
                self._unserved += 1
            self._ready.put(subscription)
        return dropped

    @property
    def include_this_thread(self) -> bool:
        """Whether this thread is one of them. If so, it is in a callback."""
        return threading.current_thread() in self._threads

    def wait_idle(self, deadline: float | None, unless: Callable[[], object] = lambda: False) -> bool:
        """Wait until the other workers have nothing left to deliver.

        Args:
            deadline: of the monotonic clock; None for none.
            unless: ends the wait if it returns a true value. It is called now, and after each `notify`.

        Returns:
            Whether nothing is left to deliver.
        """
        own = 1 if self.include_this_thread else 0
        with self._served:
            self._served.wait_for(lambda: self._unserved <= own or unless(), seconds_until(deadline))
            return self._unserved <= own

    def notify(self) -> None:
        """Have a thread that waits until they are idle check again."""
        with self._served:
            self._served.notify_all()

    def close(self, drain: bool, deadline: float | None) -> bool:
        """End the threads; return whether they have ended in time.

        Args:
            drain: whether to deliver the waiting notifications first.
            deadline: of the monotonic clock; None for none. After it, waiting notifications are dropped, and a callback
                that still runs is left alone.
        """
        if drain:
            self.wait_idle(deadline)
        self._closing = True
        for _ in self._threads:
            self._ready.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(seconds_until(deadline))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (subscription := self._ready.get()) is not None:
            if self._serve(subscription):
                self._ready.put(subscription)
            else:
                with self._served:
                    self._unserved -= 1
                    self._served.notify_all()

    def _serve(self, subscription: Subscription) -> bool:
        """Deliver some of the waiting notifications; return whether there are more."""
        for _ in range(TURN):
            item = None if self._closing else subscription.mailbox.take()
            if item is None:
                with subscription.lock:
                    # Check once more, under the lock: the reader may just have found it scheduled.
                    more = subscription.scheduled = bool(subscription.mailbox) and not self._closing
                return more  # after the lock, another worker may already have it
            if isinstance(item, Overflow):
                self._announce(item)
            else:
                self._call(subscription, Notification._make(item))
        return True
