"""The asynchronous iterators of an AsyncListener: over its own notifications, and over one channel's.

They are classes with ``__anext__``, and not asynchronous generators. So an iteration may be cancelled at any step, and
continued: an item leaves its queue in the step that returns it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from pgnotify.aio.lifecycle import AsyncLifecycle
from pgnotify.aio.loop import Future
from pgnotify.listener.delivery import Delivery
from pgnotify.listener.gap import Gap
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.stored import Stored
from pgnotify.listener.subscriptions import Queued
from pgnotify.notification import Notification, new
from pgnotify.uncopyable import Uncopyable

if TYPE_CHECKING:
    from pgnotify.message import AsyncBatch


class AsyncNotifications:
    """The notifications of the channels without a subscription; see `AsyncListener.notifications`.

    Args:
        listener: the iteration keeps it alive, as in ``async for … in AsyncListener(…)``.
        lifecycle: begins to read, and waits.
        mailbox: that of the iteration.
        pass_overflow: has the user told of an overflow, and passes it; see `AsyncDelivery.pass_overflow`.
        timeout: seconds after which the iteration ends; None never ends it.
        stop_after: the largest number of notifications; None for any number.
        kind: the class of what is yielded.
    """

    def __init__(
        self,
        listener: object,
        lifecycle: AsyncLifecycle,
        mailbox: Mailbox,
        pass_overflow: Callable[..., object],
        timeout: float | None,
        stop_after: int | None,
        kind: type[Notification] = Notification,
    ) -> None:
        self._listener = listener
        self._lifecycle = lifecycle
        self._mailbox = mailbox
        self._items = mailbox.items
        self._pass_overflow = pass_overflow
        self._timeout = timeout
        self._deadline: float | None = None
        self._left = stop_after
        self._kind = kind

    def __aiter__(self) -> AsyncNotifications:
        """Return itself."""
        return self

    async def __anext__(self) -> Notification:
        """Return the next notification; wait for it if necessary."""
        if self._left is not None or self._timeout is not None:
            self._check_limits()
        while not self._items:
            if self._mailbox.has_overflow:
                if not await self._pass_overflow(self._mailbox, self._deadline):  # type: ignore[misc]
                    raise StopAsyncIteration
            elif not await self._lifecycle.wait_first(self._mailbox.__bool__, self._deadline):
                raise StopAsyncIteration
        if self._left is not None:
            self._left -= 1  # only now: a step that is cancelled is none
        return new(self._kind, self._items.popleft())

    def _check_limits(self) -> None:
        if self._timeout is not None and self._deadline is None:
            self._deadline = time.monotonic() + self._timeout  # from the first step
        if self._left is not None and not self._left:
            self._mailbox.put_down()
            raise StopAsyncIteration


class AsyncMessages(AsyncNotifications):
    """The messages of an outbox, in place of notifications. It is stored now and then how far the consumer is.

    Args:
        done_with: called when the consumer is done with what it has taken.
        arguments: as for `AsyncNotifications`.
    """

    def __init__(self, done_with: Callable[[], object], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._done_with = done_with
        self._has_taken = False

    async def __anext__(self) -> Notification:
        """Return the next message; wait for it if necessary."""
        if self._has_taken:
            self._done_with()
        message = await super().__anext__()
        self._has_taken = True
        return message


class AsyncBatches:
    """The messages of a durable subscription in batches; see `AsyncListener.batches`.

    Args:
        listener: the iteration keeps it alive.
        lifecycle: begins to read, and waits.
        delivery: has the mailbox, and knows the class of messages.
        stored: reads them.
        timeout: seconds after which the iteration ends; None never ends it.
    """

    def __init__(
        self, listener: object, lifecycle: AsyncLifecycle, delivery: Delivery, stored: Stored, timeout: float | None
    ) -> None:
        self._listener = listener
        self._lifecycle = lifecycle
        self._mailbox = delivery.mailbox
        self._kind = delivery.kind
        self._stored = stored
        self._timeout = timeout
        self._deadline: float | None = None

    def __aiter__(self) -> AsyncBatches:
        """Return itself."""
        return self

    async def __anext__(self) -> AsyncBatch:
        """Return the next batch; wait for it if necessary. A step that is cancelled loses nothing."""
        if self._timeout is not None and self._deadline is None:
            self._deadline = time.monotonic() + self._timeout  # from the first step
        mailbox, stored = self._mailbox, self._stored
        mailbox.overflow()  # whatever was taken before is done with
        if not await self._lifecycle.wait_first(lambda: stored.has_batch(len(mailbox.items)), self._deadline):
            raise StopAsyncIteration
        items = list(mailbox.items)
        mailbox.items.clear()
        return stored.async_batch([new(self._kind, plain) for plain in items])  # type: ignore[misc]


class Streaming(Protocol):
    """The part of an AsyncListener that a stream uses."""

    def add(self, channel: str, queue_size: int, arrived: Callable[[], object]) -> Queued:
        """Subscribe to a channel, with a mailbox of this size."""

    async def wait_listening(self, subscription: Queued) -> bool:
        """Wait until the LISTEN of a subscription is in force."""

    @property
    def lifecycle(self) -> AsyncLifecycle:
        """Knows whether anything more arrives."""


class AsyncStream(Uncopyable):
    """The notifications of one channel, and its gaps, in order, for one consumer, such as a web client.

    `AsyncListener.subscription` returns it. Use it with ``async with``: at the end of the block the subscription is
    cancelled. When the block begins, LISTEN is in force, so no later notification is missed without a `Gap`.

    Attributes:
        channel: its channel.
        queue_size: how many notifications may wait. Further ones are dropped, and a `Gap` takes their place.
    """

    def __init__(self, listener: Streaming, channel: str, queue_size: int) -> None:
        self.channel = channel
        self.queue_size = queue_size
        self._listener = listener
        self._lifecycle = listener.lifecycle
        self._subscription: Queued | None = None
        self._items: deque[Notification | Gap] = deque()
        self._waiters: list[Future[None]] = []

    async def __aenter__(self) -> AsyncStream:
        """Subscribe, and wait until LISTEN is in force, however long that takes.

        Raises:
            RuntimeError: it is open already, or the listener belongs to another event loop.
            ListenerClosed: the listener was stopped.

        It also raises the errors that end `AsyncListener.run`, and the driver's if the server refuses the channel.
        """
        if self._subscription is not None and not self._subscription.cancelled:
            raise RuntimeError(f"the stream of {self.channel!r} is open already")
        subscription = self._subscription = self._listener.add(self.channel, self.queue_size, self._arrived)
        self._items = subscription.mailbox.items
        self._create_future = asyncio.get_running_loop().create_future
        subscription.known_as = self
        try:
            await self._listener.wait_listening(subscription)
        except BaseException:
            self.close()
            raise
        subscription.is_live = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> AsyncStream:
        """Return itself."""
        return self

    async def __anext__(self) -> Notification | Gap:
        """Return the next notification or gap; wait for it if necessary. It ends when the listener does.

        Raises:
            RuntimeError: the stream was never open.

        It also raises the errors that end `AsyncListener.run`, after everything that had arrived.
        """
        items = self._items
        while not items:
            waiter = self._waiter()
            if waiter is None:
                continue
            try:
                await waiter
            except BaseException:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                raise
        return items.popleft()

    def close(self) -> None:
        """Cancel the subscription; the iteration ends. What waits is dropped. A second call does nothing."""
        subscription = self._subscription
        if subscription is not None and not subscription.cancelled:
            subscription.cancel()
            subscription.mailbox.clear()
            self._arrived()

    def __repr__(self) -> str:
        if self._subscription is None:
            state = "not open"
        else:
            state = "closed" if self._subscription.cancelled else f"{len(self._subscription.mailbox)} waiting"
        return f"<{type(self).__name__} of {self.channel!r}, {state}>"

    def _arrived(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _waiter(self) -> Future[None] | None:
        """Return what to wait for when there are no items; None if there are some now.

        Raises:
            StopAsyncIteration: the stream or its listener has ended.
            RuntimeError: the stream was never open.
        """
        subscription = self._subscription
        if subscription is None:
            raise RuntimeError(f"the stream of {self.channel!r} is not open: use it in an async with statement")
        if subscription.mailbox.has_overflow:
            subscription.mailbox.show_gap()
            return None
        if subscription.cancelled:
            raise StopAsyncIteration
        if self._lifecycle.is_over:
            self._lifecycle.raise_failure()
            raise StopAsyncIteration
        waiter = self._create_future()
        self._waiters.append(waiter)
        return waiter
