"""Subscriptions: which callbacks are called for which channel."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from types import TracebackType

from pgnotify.listener.mailbox import Mailbox
from pgnotify.notification import Notification


class Subscription:
    """A callback for a channel, until `cancel`; `Listener.subscribe` makes it. Also a context manager.

    Attributes:
        channel: its channel.
        callback: called with each `Notification`.
    """

    def __init__(
        self,
        channel: str,
        callback: Callable[[Notification], object],
        wait_listening: Callable[[Subscription, float | None], bool],
        cancel: Callable[[Subscription], None],
        size: int,
        internal: bool = False,
    ) -> None:
        self.channel = channel
        self.callback = callback
        self.cancelled = False
        """Whether `cancel` was called: then the callback is not called any more."""
        self.internal = internal
        """Whether it is the listener's own, and none of the user's business."""
        self.mailbox = Mailbox(size)
        """What waits for a worker."""
        self.scheduled = False
        """Whether a worker has it, or will; guarded by `lock`."""
        self.lock = threading.Lock()
        self._wait_listening = wait_listening
        self._cancel = cancel

    def wait_listening(self, timeout: float | None = None) -> bool:
        """Wait until LISTEN is in force.

        If no thread reads, this one connects and reads meanwhile.

        Args:
            timeout: seconds; None waits for ever.

        Returns:
            False if the timeout passed first, or the subscription was cancelled.

        Raises:
            ListenerClosed: the listener was stopped.

        And the driver's error, if the server refuses the channel: such as a name that its encoding has no letters for.
        """
        return not self.cancelled and self._wait_listening(self, timeout)

    def cancel(self) -> None:
        """Call the callback no more; UNLISTEN follows if nobody else wants the channel. A second call does nothing.

        From the callback's own thread, or another one; a call that is under way is not waited for.
        """
        self._cancel(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"<{'cancelled ' if self.cancelled else ''}{type(self).__name__} to {self.channel!r}>"


class Routes:
    """Which subscriptions each channel has, and so which channels to listen to.

    Any thread adds and removes, under a lock; the threads that deliver only look up, one channel at a time, and take
    no lock. Each change takes the same time, however many channels there are.

    Args:
        channels: to be listened to whatever subscriptions there are.
    """

    def __init__(self, channels: tuple[str, ...]) -> None:
        self._own = frozenset(channels)
        self._lock = threading.RLock()  # for signal handlers
        self._tuple: tuple[str, ...] | None = None
        """The value of `wanted()`; None if it must be made again."""
        self.of: dict[str, tuple[Subscription, ...]] = {}
        """The subscriptions of each channel that has any."""
        self.channels: dict[str, None] = dict.fromkeys(channels)
        """All channels to listen to, in the order in which they were added."""
        self.internal_channel = f"pgnotify_probe_{secrets.token_hex(8)}"
        """A channel of the listener's own, which users never see."""

    def wanted(self) -> tuple[str, ...]:
        """Return all channels to listen to, each once; the same object as long as they are the same."""
        with self._lock:
            if self._tuple is None:
                self._tuple = tuple(self.channels)
            return self._tuple

    def add(self, subscription: Subscription) -> None:
        """Have the callback of a subscription called from now on."""
        channel = subscription.channel
        with self._lock:
            self.of[channel] = (*self.of.get(channel, ()), subscription)
            if channel not in self.channels:
                self.channels[channel] = None
                self._tuple = None

    def remove(self, subscription: Subscription) -> bool:
        """Have it called no more; return whether nobody wants its channel any longer."""
        channel = subscription.channel
        with self._lock:
            subscription.cancelled = True
            left = tuple(each for each in self.of.get(channel, ()) if each is not subscription)
            if left:
                self.of[channel] = left
                return False
            self.of.pop(channel, None)
            if channel in self._own or channel not in self.channels:
                return False
            del self.channels[channel]
            self._tuple = None
            return True

    def subscriptions(self) -> list[Subscription]:
        """Return all subscriptions at this moment."""
        with self._lock:
            return [subscription for those in self.of.values() for subscription in those]
