"""A stream: the notifications of one channel for one consumer, with its gaps in their places."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol

from pgnotify.atomic import pops
from pgnotify.limits import check_count, check_timeout
from pgnotify.listener.gap import Gap
from pgnotify.listener.subscriptions import Queued
from pgnotify.notification import Notification
from pgnotify.uncopyable import Uncopyable

SLOW = "the consumer of its stream is too slow"


class Streaming(Protocol):
    """The part of a blocking listener that a stream uses."""

    def add(self, channel: str, queue_size: int) -> Queued:
        """Subscribe to a channel, with a mailbox of this size."""

    def wait_first(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until a predicate is true; see `pgnotify.listener.lifecycle.Lifecycle.wait_first`."""


class Stream(Uncopyable):
    """The notifications of one channel, and its gaps, in order, for one consumer. `Listener.subscription` returns it.

    Use it as a context manager: at its end the subscription is cancelled. When the ``with`` block begins, LISTEN is in
    force, so no later notification is missed without a `Gap`.

    Attributes:
        channel: its channel.
        queue_size: how many notifications may wait. Further ones are dropped, and a `Gap` takes their place.
    """

    def __init__(self, listener: Streaming, channel: str, queue_size: int) -> None:
        self.channel = channel
        self.queue_size = queue_size
        self._listener = listener
        self._subscription: Queued | None = None

    def __enter__(self) -> Stream:
        """Subscribe, and wait until LISTEN is in force, however long that takes.

        Raises:
            RuntimeError: it is open already, or this is the thread that reads, which cannot wait for itself.
            ListenerClosed: the listener was stopped.

        It also raises the errors that end `Listener.run`, and the driver's error if the server refuses the channel.
        """
        if self._subscription is not None:
            raise RuntimeError(f"the stream of {self.channel!r} is open already")
        subscription = self._subscription = self._listener.add(self.channel, self.queue_size)
        subscription.known_as = self
        try:
            subscription.wait_listening()
        except BaseException:
            self.close()
            raise
        subscription.is_live = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Notification | Gap]:
        """Yield notifications and gaps until the listener is stopped. You may stop iterating at any time."""
        return self.items()

    def items(self, timeout: float | None = None, stop_after: int | None = None) -> Iterator[Notification | Gap]:
        """Yield notifications and gaps as they arrive. You may stop iterating at any time without losing any.

        Args:
            timeout: seconds after which the iteration ends, counted from its first step; None never ends it, 0 yields
                what has arrived.
            stop_after: the largest number of items to yield; None for any number.

        Raises:
            RuntimeError: the stream is not open.
            ValueError, TypeError: an argument is not possible.

        The iteration raises the errors that end `Listener.run`.
        """
        timeout = check_timeout(timeout)
        if stop_after is not None:
            stop_after = check_count("stop_after", stop_after, 0)
        if self._subscription is None:
            raise RuntimeError(f"the stream of {self.channel!r} is not open: use it in a with statement")
        return self._items(self._subscription, timeout, stop_after)

    def close(self) -> None:
        """Cancel the subscription. What waits is dropped. A second call does nothing."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.cancel()
            subscription.mailbox.clear()

    def __repr__(self) -> str:
        state = "closed" if self._subscription is None else f"{len(self._subscription.mailbox)} waiting"
        return f"<{type(self).__name__} of {self.channel!r}, {state}>"

    def _items(
        self, subscription: Queued, timeout: float | None, stop_after: int | None
    ) -> Iterator[Notification | Gap]:
        deadline = None if timeout is None else time.monotonic() + timeout
        mailbox = subscription.mailbox
        taken = pops(mailbox.items)
        while stop_after != 0 and not subscription.cancelled:
            # One turn takes an item and yields it; no signal handler runs in between.
            try:
                for item in taken:
                    yield item
                    if stop_after is not None:
                        stop_after -= 1
                        if not stop_after:
                            mailbox.put_down()
                            return
            except IndexError as error:  # there are no more
                if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                    raise  # of a signal handler
            if mailbox.show_gap():
                continue
            if not self._listener.wait_first(lambda: bool(mailbox) or subscription.cancelled, deadline):
                return
