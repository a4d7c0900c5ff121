"""Threads that run the callbacks, so that the reader never waits for one. Each subscription keeps its order."""

from __future__ import annotations

import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from pgnotify.atomic import Call
from pgnotify.listener import clocks
from pgnotify.listener.mailbox import Overflow
from pgnotify.listener.subscriptions import Subscription
from pgnotify.notification import Plain
from pgnotify.program.ownership import is_held_here, seconds_until, wait_for
from pgnotify.threads import background

# How many notifications of one subscription a worker delivers before it serves another one that waits.
TURN = 100


class Interruptible(Protocol):
    """What a delivery looks at after each notification."""

    interrupted: bool
    """Whether the delivery is to end."""


class Workers:
    """A fixed number of threads. One of them at a time serves a subscription whose mailbox is not empty.

    A thread that waits does not refer to this object, so the threads end when it is deleted with its listener.

    Args:
        count: how many threads.
        name: the listener's, for the names of the threads.
        lock: that of the subscriptions' mailboxes.
        serve: calls the callback of a subscription for notifications in a queue, at most so many of them, until it is
            interrupted.
        announce: has the user told of an overflow, and waits for that, or until its second argument returns a true
            value; returns whether the user was told. It handles every error itself.
        fail: ends the listener with an error.
    """

    def __init__(
        self,
        count: int,
        name: str,
        lock: AbstractContextManager[object],
        serve: Callable[[Subscription, deque[Plain], int, Interruptible], object],
        announce: Callable[[Overflow, Callable[[], bool]], bool],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._lock = lock
        self._serve_some = serve
        self._announce = announce
        self.fail = fail
        self._ready: queue.SimpleQueue[Subscription | None] = queue.SimpleQueue()
        self.interrupted = False
        """Whether the threads are to end, without delivering what waits."""
        self._unserved: set[Subscription] = set()
        """The subscriptions that wait or are served; changed under the lock."""
        self._served_lock = threading.RLock()
        self._served = threading.Condition(self._served_lock)
        self._held_up: set[Subscription] = set()
        """Those of them that have reached an overflow of which the user does not know yet."""
        self._turns: dict[Subscription, float] = {}
        """The subscriptions whose callbacks run now, and since when they are served, by `clocks.elapsed`."""
        self._waiting = 0
        """How many threads wait at an overflow; changed under the lock."""
        itself, numbers = weakref.ref(self), range(1, count + 1)
        self.served: Callable[[], object] = lambda: None
        """Called after nothing was left to deliver for a subscription, in one of the threads. The listener sets it."""
        self._threads = [background(_work, f"{name} worker {number}", itself, self._ready) for number in numbers]
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:  # there are no more threads
            self._dismiss()
            raise

    def __del__(self) -> None:
        """End the threads, unless that is done."""
        self._dismiss()

    def plan(self, subscription: Subscription) -> list[Call]:
        """Return the calls that have a subscription served. The caller holds the lock, and makes the calls at once."""
        if subscription in self._unserved:
            return []
        return [(self._unserved.add, (subscription,)), (self._ready.put, (subscription,))]

    @property
    def include_this_thread(self) -> bool:
        """Whether this thread is one of them. If so, it is in a callback."""
        return threading.current_thread() in self._threads

    def lock_is_held_here(self) -> bool:
        """Return whether this thread holds the lock that they need to end. If so, it is in a signal handler."""
        return is_held_here(self._served_lock)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to deliver."""
        return not self._unserved

    def wait_idle(self, deadline: float | None, unless: Callable[[], object] = lambda: False) -> bool:
        """Wait until the other workers have nothing left to deliver.

        Args:
            deadline: of the monotonic clock; None for none.
            unless: ends the wait if it returns a true value. It is called now, and after each `notify`.

        Returns:
            Whether nothing is left to deliver.
        """
        own = 1 if self.include_this_thread else 0

        def is_idle() -> bool:
            return len(self._unserved) <= own

        wait_for(self._served, self._served_lock, lambda: is_idle() or unless(), deadline)
        return is_idle()

    def waiting_since(self) -> list[float]:
        """Return moments, by `clocks.elapsed`: of the callbacks that run and the queues that wait; see `Mailbox`."""
        queues = [subscription.mailbox.waiting_since() for subscription in list(self._unserved)]
        return [*list(self._turns.values()), *(moment for moment in queues if moment is not None)]

    def forget_in_child(self) -> None:
        """End this thread, if it is one of them. Called in the child after a fork."""
        self.interrupted = True
        self._turns.clear()

    def end_if_idle(self) -> bool:
        """End the threads if nothing is left to deliver; return whether they end. For the thread that reads."""
        if self._unserved:
            return False
        return self.close(drain=False, deadline=None)

    def notify(self) -> None:
        """Have a thread that waits until they are idle check again."""
        with self._served_lock:
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
        self.interrupted = True
        self._dismiss()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(seconds_until(deadline))
        return not any(thread.is_alive() for thread in self._threads)

    def _dismiss(self) -> None:
        for _ in self._threads:
            self._ready.put(None)

    def work(self, subscription: Subscription) -> None:
        """Deliver some of the notifications that wait for a callback, in one of the threads."""
        try:
            self._serve(subscription)
        except BaseException as error:  # of a callback; SystemExit, too, which would end the worker in silence
            self.fail(error)
        if self._is_done_with(subscription):
            self.notify()
            self.served()
        else:
            self._ready.put(subscription)

    def _serve(self, subscription: Subscription) -> None:
        """Deliver some of the notifications that wait."""
        mailbox = subscription.mailbox
        left = TURN
        while left > 0 and mailbox and not self.interrupted:
            before = len(mailbox.items)
            if before:
                self._turns[subscription] = clocks.elapsed()
                try:
                    self._serve_some(subscription, mailbox.items, min(left, before), self)
                finally:
                    self._turns.pop(subscription, None)
                left -= before - len(mailbox.items)
            elif (overflow := mailbox.overflow()) is not None:
                if not self._is_told(subscription, overflow):
                    return  # and come back to it
                mailbox.pass_by(overflow)
                left -= 1
        if self.interrupted or not mailbox:
            mailbox.put_down()

    def _is_told(self, subscription: Subscription, overflow: Overflow) -> bool:
        """Wait until the user knows of an overflow; return False if another subscription could be served meanwhile."""
        with self._lock:
            self._held_up.add(subscription)
            self._waiting += 1
        told = False
        try:
            told = self._announce(overflow, self._another_can_be_served)
        finally:
            with self._lock:
                self._waiting -= 1
                if told:
                    self._held_up.discard(subscription)
        return told

    def _another_can_be_served(self) -> bool:
        """Return whether a subscription waits for a worker, and not only for the user to know of an overflow."""
        return not self.interrupted and self._ready.qsize() > len(self._held_up) - self._waiting

    def _is_done_with(self, subscription: Subscription) -> bool:
        with self._lock:
            if subscription.mailbox and not self.interrupted:
                return False
            self._unserved.discard(subscription)
            return True


def _work(workers: weakref.ref[Workers], ready: queue.SimpleQueue[Subscription | None]) -> None:
    """Serve one subscription after the other, until there is None."""
    here: Workers | None = None
    try:
        while (subscription := ready.get()) is not None and (here := workers()) is not None:
            here.work(subscription)
            del subscription
            here = None
    except BaseException as error:  # raised in this thread from outside
        here = here or workers()
        if here is not None:
            here.fail(error)
