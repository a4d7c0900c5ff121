"""The Listener on an event loop: it listens to many channels, reconnects after every loss, and reports every gap.

This module is its public face. `pgnotify.listener.loop` decides the order of events, as for the blocking Listener,
`pgnotify.aio.lifecycle` which task runs the loop, and `pgnotify.aio.delivery` where notifications go.
"""

from __future__ import annotations

import asyncio
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, ClassVar

from pgnotify.aio.changes import Changes
from pgnotify.aio.delivery import SLOW as SLOW_CALLBACK
from pgnotify.aio.delivery import AsyncDelivery
from pgnotify.aio.lifecycle import AsyncLifecycle, Stopping
from pgnotify.aio.loop import as_failure
from pgnotify.aio.probe import probe
from pgnotify.aio.source import AsyncSource
from pgnotify.aio.stream import AsyncBatches, AsyncMessages, AsyncNotifications, AsyncStream
from pgnotify.connecting.backoff import Backoff
from pgnotify.limits import check_count, check_seconds, check_timeout, is_async
from pgnotify.listener.face import ListenerFace, check_callback
from pgnotify.listener.gap import Gap
from pgnotify.listener.observer import Observer
from pgnotify.listener.options import OnError, OnListening, Options
from pgnotify.listener.probe import Probe
from pgnotify.listener.stored import Store
from pgnotify.listener.stream import SLOW as SLOW_STREAM
from pgnotify.listener.subscriptions import Queued, Subscription
from pgnotify.notification import Notification
from pgnotify.uncopyable import Uncopyable


class AsyncOptions(Options):
    """The options of an AsyncListener: on_listening and on_error may be coroutine functions."""

    may_be_async: ClassVar[bool] = True


class AsyncListener(ListenerFace):
    """Listens to channels on a connection of its own, and reconnects when that is lost, on an event loop.

    It does the same as `pgnotify.Listener`, which describes the options. It reads in a task of its own, which begins
    with ``async with``, `start`, `run` or the first step of an iteration. It never stops reading while your code is
    busy, unless a function that you passed does not return.

    Args:
        source: a connection string, for a driver of any kind; or a function or a coroutine function that takes nothing
            and returns a new connection of any driver, asynchronous or not; or a pool of asynchronous connections; or a
            connection, which cannot be replaced when it is lost, and is not closed. Functions that are not coroutine
            functions are called in threads.
        channels: the channels to listen to, as written, at most 63 bytes each. Notifications of a channel go to the
            iteration, unless the channel has a subscription.
        on_listening: a function or a coroutine function. It is awaited before any newer notification is delivered.
        on_error: a function or a coroutine function, whose calls run in tasks of their own; or ``"raise"``.
        workers: how many coroutine functions of subscriptions may run at the same time; 0 for any number. The calls of
            one subscription always follow one another.
        queue_size: how many notifications may wait, for the iteration, for each stream, and for each subscription with
            a coroutine function. Further notifications are dropped, and a `Gap` takes their place.
        heartbeat: see `pgnotify.Listener`, as for all others. An `outbox`, too, is the same one for both.

    Raises:
        ChannelError, ValueError, TypeError: an argument is not possible. Nothing was opened.
        UnknownBackend: no backend fits, or the driver is not installed.

    All methods belong to the event loop that first uses the listener. Only `stop` may be called from any thread, and
    from a signal handler.
    """

    _source: AsyncSource

    def __init__(
        self,
        source: Any,
        *channels: str,
        on_listening: OnListening | None = None,
        on_error: OnError | None = None,
        workers: int = 0,
        queue_size: int = 1000,
        heartbeat: float | None = 30.0,
        answer_timeout: float = 5.0,
        backoff: Backoff = Backoff(),  # noqa: B008  # immutable
        name: str | None = None,
        driver: str | None = None,
        observer: Observer | None = None,
        outbox: Store | None = None,
        durable: str | None = None,
        start: str = "new",
    ) -> None:
        options = AsyncOptions(
            on_listening=on_listening,
            on_error=self._in_task(on_error) if is_async(on_error) else on_error,
            workers=workers,
            queue_size=queue_size,
            heartbeat=heartbeat,
            answer_timeout=answer_timeout,
            backoff=backoff,
            name=name,
            driver=driver,
            observer=observer,
            outbox=outbox,
            durable=durable,
            start=start,
        )
        changes = Changes()
        where_from = AsyncSource(source, driver, options.name, options.answer_timeout)
        super().__init__(options, channels, where_from, changes.notify)
        self._mailbox = self._delivery.mailbox
        self._mailbox.size = options.queue_size
        self._front = AsyncDelivery(self._delivery, options, changes)
        self._lifecycle = AsyncLifecycle(options, self._policy, where_from, self._front, changes)

    # Reading.

    async def run(self) -> None:
        """Connect, and call the callbacks until `stop`. If it reads already, wait until it ends.

        If this is cancelled, and has begun to read itself, the listener is stopped. It raises the same errors as
        `pgnotify.Listener.run`, and a RuntimeError if the listener belongs to another event loop.
        """
        await self._lifecycle.run()

    async def start(self) -> None:
        """Begin to read. Return when it listens, or when the first attempt to connect has failed.

        A failed attempt is repeated if that may help. Otherwise its error is raised here, and `start` may be called
        again. If this is cancelled, the listener is stopped.

        Raises:
            ListenerClosed: it was stopped before, or it belongs to the process that this one was forked from.
            RuntimeError: it belongs to another event loop.
        """
        await self._lifecycle.start()

    def stop(self, timeout: float | None = 5.0, drain: bool = False) -> Stopping:
        """End the listener for good: disconnect, or UNLISTEN if the connection is yours.

        This only makes the request, and may be called anywhere: in any thread, in a callback, in a signal handler. To
        wait for the end, await the result: ``await listener.stop()``. It tells whether the listener has ended. In a
        callback it does not wait, and tells False.

        Args:
            timeout: seconds to wait for the end, and for coroutine functions that run; after that they are cancelled,
                and a call that waits for the server is cut off. None waits for ever.
            drain: whether to deliver first the notifications that have arrived, also those that are unread at the
                socket; otherwise they are dropped, and so are the gaps whose place was not reached.

        Raises:
            ValueError, TypeError: the timeout is not possible.
        """
        return self._lifecycle.stop(check_timeout(timeout), drain)

    # Receiving.

    def __aiter__(self) -> AsyncNotifications:
        """Return an iterator over notifications until `stop`."""
        return self.notifications()

    def notifications(self, timeout: float | None = None, stop_after: int | None = None) -> AsyncNotifications:
        """Return an asynchronous iterator over notifications. You may stop iterating at any time without losing any.

        A step of it that is cancelled loses none either. The arguments and the errors are those of
        `pgnotify.Listener.notifications`.
        """
        timeout = check_timeout(timeout)
        if stop_after is not None:
            stop_after = check_count("stop_after", stop_after, 0)
        self._lifecycle.check_process()
        if not self._mailbox and self._lifecycle.failure is None:  # otherwise these come first
            self._lifecycle.check_open()
        return self._iteration(timeout, stop_after)

    def _iteration(self, timeout: float | None, stop_after: int | None) -> AsyncNotifications:
        front, mailbox, stored, kind = self._front, self._mailbox, self._watch.stored, self._delivery.kind
        arguments = self, self._lifecycle, mailbox, front.pass_overflow, timeout, stop_after, kind
        if stored is None:
            return AsyncNotifications(*arguments)
        return AsyncMessages(partial(front.done_with, stored, mailbox), *arguments)

    def batches(self, size: int = 500, timeout: float | None = None) -> AsyncBatches:
        """Return an asynchronous iterator over the messages of a durable subscription in batches.

        You acknowledge each one in a transaction of yours, before you ask for the next one. See
        `pgnotify.Listener.batches`, whose arguments and errors it has::

            async for batch in listener.batches():
                async with connection.transaction():
                    ...  # the effects of its messages
                    await batch.acknowledge(connection)
        """
        timeout, stored = check_timeout(timeout), self._reading_in_batches(size)
        self._lifecycle.check_process()
        self._lifecycle.check_open()
        return AsyncBatches(self, self._lifecycle, self._delivery, stored, timeout)

    async def wait_or_poll(self, healthy: float = 30.0, deaf: float = 1.0) -> Notification | Gap | None:
        """Wait for a hint that there is work. For code that looks for its work itself, and uses NOTIFY to look at once.

        See `pgnotify.Listener.wait_or_poll`, whose arguments, result and errors it has.
        """
        started = time.monotonic()
        healthy = check_seconds("healthy", healthy, may_be_zero=True)
        deaf = check_seconds("deaf", deaf, may_be_zero=True)
        self._lifecycle.check_process()
        if not self._mailbox:  # otherwise this comes first
            self._lifecycle.check_open()
        self._delivery.mailbox.put_down()
        expired = False
        while True:
            was = self._watch.delivering
            deadline = started + (healthy if was else deaf)
            await self._look_for_hint(deadline)
            hint, self._hints.found = self._hints.found, None
            if hint is not None or expired:
                return hint
            self._lifecycle.raise_failure()
            self._lifecycle.check_open()
            await self._lifecycle.wait_first(partial(self._has_hint_or_changed, was), deadline)
            expired = time.monotonic() >= deadline

    def subscribe(self, channel: str, callback: Callable[[Notification], object]) -> AsyncSubscription:
        """Call a callback with each notification of a channel, at any time before or while the listener reads.

        A function is called where the listener reads, and so must not wait for anything. The calls of a coroutine
        function are awaited in a task, one after the other, and up to ``queue_size`` notifications wait for them.

        Args:
            channel: as written, at most 63 bytes.
            callback: called with each `Notification`; its result is ignored.

        Raises:
            ChannelError: PostgreSQL would refuse or cut the name.
            TypeError: the channel is not a str, or the callback cannot be called, or is a generator function.
            ListenerClosed: it was stopped, or it belongs to the process that this one was forked from.
            RuntimeError: it has a durable name, reads already, and the channel is another one than those.
        """
        channel = self._checked_channel(channel)
        check_callback(callback, may_be_async=True)
        self._lifecycle.check_open()
        if is_async(callback):
            return AsyncSubscription(self, self._add_queued(channel, callback, self._options.queue_size, None))
        return AsyncSubscription(self, self._add(channel, callback))

    def subscription(self, channel: str, queue_size: int | None = None) -> AsyncStream:
        """Return a stream: an asynchronous iterator over the notifications of a channel, and its gaps.

        Any number of streams may share a channel. Each gets every notification, and none of them goes to the iteration
        of the listener.

        Args:
            channel: as written, at most 63 bytes.
            queue_size: how many notifications may wait in the stream; None takes the listener's.

        Raises:
            ChannelError, ValueError, TypeError: an argument is not possible.
            ListenerClosed: it was stopped, or it belongs to the process that this one was forked from.
            RuntimeError: it has a durable name, reads already, and the channel is another one than those.
        """
        channel = self._checked_channel(channel)
        size = self._options.queue_size if queue_size is None else check_count("queue_size", queue_size, 1)
        self._lifecycle.check_open()
        return AsyncStream(_Streaming(self), channel, size)

    # Its state.

    async def probe(self, timeout: float | None = None) -> Probe:
        """Send a notification from a second session, and see whether it arrives; see `pgnotify.Listener.probe`."""
        self._lifecycle.check_process()
        timeout = check_timeout(timeout)
        if self._lifecycle.is_over:
            return Probe("no", f"the listener is {self._reporter.counters.state}", None)
        if self._front.tasks.include(asyncio.current_task()) and not self._watch.is_settled:
            return Probe("unknown", "asked in on_listening, before the listener reads on", None)
        seconds = self._options.answer_timeout if timeout is None else timeout
        await self._lifecycle.wait_first(
            lambda: self._watch.is_settled or self._reporter.has_failed, time.monotonic() + seconds
        )
        return await probe(_Probed(self), self._source, seconds)

    async def __aenter__(self) -> AsyncListener:
        """Connect and listen, however many attempts that takes.

        Every notification that is sent from then on arrives, or lies in a gap. It raises the same errors as `start`.
        """
        await self._lifecycle.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        """Release a connection that can no longer be reached, with a ResourceWarning."""
        lifecycle = getattr(self, "_lifecycle", None)  # there is none if __init__ raised
        if lifecycle is None or is_finalizing() or not lifecycle.is_abandoned():
            return
        warnings.warn(f"{self!r} was deleted without stop()", ResourceWarning, source=self, stacklevel=2)
        lifecycle.abandon()

    def _peer(self) -> str:
        runner = self._lifecycle.runner
        return "" if runner is None else runner.peer

    def _in_task(self, on_error: Any) -> Callable[[Exception, Notification | None], None]:
        """Return a function that has a coroutine function run as a task."""

        async def run(error: Exception, notification: Notification | None) -> None:
            try:
                await on_error(error, notification)
            except Exception as raised:
                self._reporter.log.on_error_failed(raised, error, notification)
            except asyncio.CancelledError as raised:
                self._reporter.log.on_error_failed(as_failure(raised, "on_error"), error, notification)

        def start(error: Exception, notification: Notification | None) -> None:
            self._front.tasks.start(run(error, notification), f"{self._options.title} on_error")

        return start

    # Subscriptions.

    def _add(self, channel: str, callback: Callable[[Notification], object], internal: bool = False) -> Subscription:
        subscription = Subscription(
            channel, callback, _cannot_wait, self._cancel, self._delivery.new_mailbox(None), internal, self._server
        )
        self._routes.add(subscription)
        self._delivery.adopt(subscription)
        self._lifecycle.wake()
        return subscription

    def _add_queued(
        self,
        channel: str,
        callback: Callable[[Notification], object],
        queue_size: int,
        arrived: Callable[[], object] | None,
    ) -> Queued:
        """Add a stream, whose consumer is told of arrivals; or a coroutine function, which a task awaits."""
        is_stream = arrived is not None
        queued = Queued(
            channel,
            callback,
            _cannot_wait,
            self._cancel,
            self._delivery.new_mailbox(queue_size),
            arrived or (lambda: self._front.serve(queued)),
            is_stream,
            SLOW_STREAM if is_stream else SLOW_CALLBACK,
            self._server,
        )
        self._routes.add(queued)
        self._delivery.adopt(queued)
        self._lifecycle.wake()
        return queued

    def _cancel(self, subscription: Subscription) -> None:
        self._routes.remove(subscription)
        self._lifecycle.wake()

    async def _wait_listening(self, subscription: Subscription, timeout: float | None = None) -> bool:
        """Wait until the LISTEN of a subscription is in force; see `AsyncSubscription.wait_listening`."""
        self._lifecycle.check_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        channel, refused = subscription.channel, self._routes.wanted.refused
        await self._lifecycle.wait_first(
            lambda: subscription.cancelled or channel in refused or self._is_applied(channel), deadline
        )
        error = refused.get(channel)
        if error is not None and not subscription.cancelled:
            raise error
        return not subscription.cancelled and self._is_applied(channel)

    # Hints.

    async def _look_for_hint(self, deadline: float) -> None:
        while self._mailbox:
            if not (self._hints.find_notification() or await self._front.pass_overflow(self._mailbox, deadline)):
                break
        self._hints.find_gap()


class AsyncSubscription(Uncopyable):
    """A callback for a channel, until `cancel`. `AsyncListener.subscribe` returns it.

    It is also a context manager, which cancels it at the end.

    Attributes:
        channel: its channel.
        callback: called with each `Notification`.
    """

    def __init__(self, listener: AsyncListener, subscription: Subscription) -> None:
        self.channel = subscription.channel
        self.callback = subscription.callback
        self._listener = listener
        self._subscription = subscription
        subscription.known_as = self

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called. If so, the callback is no longer called."""
        return self._subscription.cancelled

    async def wait_listening(self, timeout: float | None = None) -> bool:
        """Wait until LISTEN is in force. The listener begins to read if it does not.

        Args:
            timeout: seconds; None waits for ever.

        Returns:
            False if the timeout passed first, or the subscription was cancelled.

        Raises:
            ListenerClosed: the listener was stopped.

        It also raises the driver's error if the server refuses the channel, such as a name for which its encoding has
        no letters.
        """
        if self.cancelled:
            return False
        return await self._listener._wait_listening(self._subscription, check_timeout(timeout))

    def cancel(self) -> None:
        """Stop calling the callback. UNLISTEN follows if nothing else needs the channel. A second call does nothing.

        The callback itself may call this. A call of it that is under way goes on.
        """
        self._subscription.cancel()

    def __enter__(self) -> AsyncSubscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return repr(self._subscription).replace("Subscription", type(self).__name__, 1)


def _cannot_wait(subscription: Subscription, timeout: float | None) -> bool:
    """Stand in for the wait of a subscription of the blocking listener."""
    raise NotImplementedError("a task waits with AsyncSubscription.wait_listening()")


def _nothing(notification: Notification) -> None:
    """Stand in for the callback of a stream."""


class _Streaming:
    """The part of a listener that `pgnotify.aio.stream` uses."""

    def __init__(self, listener: AsyncListener) -> None:
        self._listener = listener
        self.lifecycle = listener._lifecycle

    def add(self, channel: str, queue_size: int, arrived: Callable[[], object]) -> Queued:
        self._listener._lifecycle.check_open()
        self._listener._lifecycle.check_loop()
        return self._listener._add_queued(channel, _nothing, queue_size, arrived)

    async def wait_listening(self, subscription: Queued) -> bool:
        return await self._listener._wait_listening(subscription)


class _Probed:
    """The part of a listener that `pgnotify.aio.probe` uses."""

    def __init__(self, listener: AsyncListener) -> None:
        self._listener = listener
        self.status = listener.status
        self.notify = listener._lifecycle.changes.notify
        self.wait = listener._lifecycle.wait_first
        self.wait_listening = listener._wait_listening

    def subscribe_internally(self, callback: Callable[[Notification], object]) -> Subscription:
        return self._listener._add(self._listener._routes.internal_channel, callback, internal=True)
