"""Where an AsyncListener's notifications go: to functions, to coroutine functions, to streams and to the iteration.

A function is called where the listener reads. The notifications of a coroutine function wait in a mailbox, and a task
awaits one call after the other. So the listener never stops reading for it.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from pgnotify.aio.changes import Changes
from pgnotify.aio.loop import as_failure, start_task
from pgnotify.listener import clocks, timed
from pgnotify.listener.delivery import Delivery
from pgnotify.listener.events import ListenInForce
from pgnotify.listener.gap import Listening
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.options import Options
from pgnotify.listener.report import Reporter
from pgnotify.listener.stored import Stored
from pgnotify.listener.subscriptions import Queued
from pgnotify.listener.watch import DroppedGap, ListenerWatch
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.program.interruption import is_interruption

# How many notifications are put into the queues of streams and of coroutine functions before the tasks that take them
# have their turn, and how many calls of one coroutine function are awaited in a turn, if none of them waits. So a queue
# of this size does not overflow because a thousand have arrived at once.
TURN = 100

SLOW = "its callback is too slow"


class Tasks:
    """The tasks of one listener. The event loop itself refers to a task weakly."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cancelled: set[asyncio.Task[Any]] = set()
        self.reading: asyncio.Task[Any] | None = None
        """The one that reads. The others await coroutine functions."""

    def start(self, coroutine: Coroutine[Any, Any, object], name: str) -> asyncio.Task[Any]:
        """Run a coroutine as a task."""
        task = start_task(coroutine, name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._cancelled.discard)
        task.add_done_callback(_look_at)
        return task

    def callbacks(self) -> set[asyncio.Task[Any]]:
        """Return those that await coroutine functions, without the current one."""
        return self.others() - {self.reading}

    def cancel(self, tasks: set[asyncio.Task[Any]]) -> None:
        """Cancel some of them, each only once: after that, it may take the time that it needs."""
        for task in tasks - self._cancelled:
            self._cancelled.add(task)
            task.cancel()

    def include(self, task: asyncio.Task[Any] | None) -> bool:
        """Return whether a task is one of them."""
        return task in self._tasks

    def others(self) -> set[asyncio.Task[Any]]:
        """Return those that run, without the current one."""
        return self._tasks - {asyncio.current_task()}


class AsyncDelivery:
    """The front of an AsyncListener's programs. It adds to a `Delivery` what is awaited.

    Args:
        delivery: distributes notifications.
        options: the listener's.
        changes: notified when something was delivered.
    """

    def __init__(self, delivery: Delivery, options: Options, changes: Changes) -> None:
        self.inner = delivery
        self.watch: ListenerWatch = delivery.watch
        self.reporter: Reporter = delivery.reporter
        self._on_listening = options.on_listening
        self._title = options.title
        self._changes = changes
        self.tasks = Tasks()
        self._limit: AbstractAsyncContextManager[object] = (
            asyncio.Semaphore(options.workers) if options.workers else nullcontext()
        )
        self.is_over = False
        """Whether no notification is to be delivered any more."""
        self.fail: Callable[[BaseException], object] = _nothing
        """Called with an error that ends the listener. The lifecycle sets it."""
        self.wake: Callable[[], object] = _nothing
        """Wakes the task that reads. The lifecycle sets it."""
        self._times_callbacks = self.reporter.observed.times_callbacks

    def deliver(self, at_most: int) -> bool:
        """Distribute notifications from the head of the queue; see `Delivery.deliver`."""
        inner = self.inner
        if not inner.may_drop:  # and a batch must be whole
            return inner.deliver(at_most) or bool(inner.mailbox)
        if inner.has_streams:
            at_most = min(at_most, TURN)
        elif inner.mailbox.size is not None:
            at_most = min(at_most, max(TURN, inner.mailbox.size // 2))
        return inner.deliver(at_most) or bool(inner.mailbox)

    def tell(self, action: p.ReportTimeout | p.Tell) -> object:
        """Pass an event on; return an awaitable if on_listening is to be called."""
        assert isinstance(action, p.Tell), "a listener has no time-outs to report"
        if isinstance(action.event, ListenInForce) and self._on_listening is not None:
            return self._announce(action.event)
        return self.inner.tell(action)

    async def _announce(self, event: ListenInForce) -> bool:
        """Call on_listening, and await it if it is a coroutine function; return False if it has failed."""
        listening = self.reporter.listen_in_force(event)
        told = await self.call_on_listening(listening)
        if told:
            self.inner.share_gap(event.gap)
        return told

    async def call_on_listening(self, event: Listening | None) -> bool:
        """Do the same as `Reporter.call_on_listening`, and await the result."""
        if self._on_listening is not None and event is not None:
            try:
                result = self._on_listening(event)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:
                if is_interruption(error):
                    raise
                self.reporter.report(error)
                return False
            except asyncio.CancelledError as error:
                self.reporter.report(as_failure(error, "on_listening"))
                return False
        self.reporter.listening_told(event)
        return True

    # Coroutine functions.

    def serve(self, subscription: Queued) -> None:
        """Have a task await the calls of a coroutine function, unless one does."""
        if not subscription.is_served and not self.is_over:
            subscription.is_served = True
            self.tasks.start(self._serve(subscription), f"{self._title} {subscription.channel}")

    async def _serve(self, subscription: Queued) -> None:
        try:
            while not (subscription.cancelled or self.is_over):
                if subscription.mailbox.items:
                    async with self._limit:
                        await self._serve_some(subscription)
                    if subscription.mailbox.items:
                        await asyncio.sleep(0)
                elif not await self.pass_overflow(subscription.mailbox):
                    return
        except BaseException as error:  # SystemExit, too, which would end the task in silence
            self.fail(error)
            if not isinstance(error, Exception):
                raise
        finally:
            subscription.is_served = False
            self._changes.notify()

    async def _serve_some(self, subscription: Queued) -> None:
        """Await the calls for the first notifications that wait, up to the next gap."""
        items, callback, stored = subscription.mailbox.items, subscription.callback, self.watch.stored
        try:
            for _ in range(min(TURN, len(items))):
                if subscription.cancelled or self.is_over:
                    break
                subscription.busy_since = clocks.elapsed()
                await self._call(callback, items.popleft())
                if stored is not None:
                    self.done_with(stored, subscription.mailbox)
            if self.is_over:
                subscription.mailbox.put_down()
        finally:
            subscription.busy_since = None

    async def _call(self, callback: Callable[[Notification], Any], notification: Notification) -> None:
        started = timed.clock() if self._times_callbacks else 0.0
        failure: Exception | None = None
        try:
            await callback(notification)
        except Exception as error:
            failure = error
        except asyncio.CancelledError as error:
            failure = as_failure(error, "a callback")
        if self._times_callbacks:
            seconds = timed.clock() - started
            self.reporter.observed.callback_finished(notification.channel, seconds, failure)
        if failure is not None:
            self.reporter.report(failure, notification)

    def done_with(self, stored: Stored, mailbox: Mailbox) -> None:
        """Have it stored now and then how far a consumer is, which is done with what it has taken from its mailbox."""
        if self.watch.is_settled and stored.done_with(mailbox.put_down, time.monotonic()):
            self.inner.asked()

    # Overflows.

    async def pass_overflow(self, mailbox: Mailbox, deadline: float | None = None) -> bool:
        """Have the user told of the gap of an overflow that the consumer has reached, and then pass it.

        Args:
            mailbox: the consumer's.
            deadline: of the monotonic clock; None for none.

        Returns:
            False if there is none, or if the deadline passed first.
        """
        overflow = mailbox.overflow()
        if overflow is None:
            return False
        if overflow.announced is None:
            overflow.announced = DroppedGap(overflow.gap(), self._changes.notify)
            self.watch.announce(overflow.announced)
            self.wake()
        dropped = overflow.announced
        if not await self._changes.wait(lambda: dropped.is_told or self.is_over, deadline):
            return False
        if dropped in self.watch.dropped_gaps and not dropped.begun:  # the listener has ended: no loop tells of it
            await self.tell_of(dropped)
        mailbox.pass_by(overflow)
        return True

    async def tell_of(self, dropped: DroppedGap) -> None:
        """Tell the user of the gap of a full queue when no loop will."""
        self.watch.dropped_gaps.remove(dropped)
        backend = self.watch.link.backend if self.watch.is_settled else None
        try:
            await self.call_on_listening(self.reporter.overflow(dropped.gap, backend))
        finally:
            dropped.told()


def _look_at(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from complaining that nobody has looked at an error. The listener knows it."""
    if not task.cancelled():
        task.exception()


def _nothing(*_: object) -> None:
    """Stand in for what the lifecycle sets."""
