"""Subscriptions: which callbacks are called for which channel."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from types import TracebackType
from typing import Generic, TypeVar

from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.wanted import Wanted
from pgnotify.notification import Notification
from pgnotify.program.ownership import is_held_here
from pgnotify.uncopyable import Uncopyable

# A repr() shows this many channels of a listener.
CHANNELS_SHOWN = 3


class Subscription(Uncopyable):
    """A callback for a channel, until `cancel`. `Listener.subscribe` returns it.

    It is also a context manager, which cancels it at the end.

    Attributes:
        channel: its channel.
        callback: called with each `Notification`.
        cancelled: whether `cancel` was called.
    """

    def __init__(
        self,
        channel: str,
        callback: Callable[[Notification], object],
        wait_listening: Callable[[Subscription, float | None], bool],
        cancel: Callable[[Subscription], None],
        mailbox: Mailbox,
        internal: bool = False,
        server: Callable[[], str] = lambda: "",
    ) -> None:
        self.channel = channel
        self.callback = callback
        self.cancelled = False
        """Whether `cancel` was called. If so, the callback is no longer called."""
        self.internal = internal
        """Whether it belongs to the listener itself, and is hidden from the user."""
        self.mailbox = mailbox
        """Notifications that wait for a worker."""
        self.known_as: object = None
        """The object of the user's that it is a part of; None if the user has it itself."""
        self.place = 0
        """Its index among the subscriptions of its channel, for `Routes`."""
        self._server = server
        self._wait_listening = wait_listening
        self._cancel = cancel

    def wait_listening(self, timeout: float | None = None) -> bool:
        """Wait until LISTEN is in force.

        If no thread reads, this one connects and reads while it waits.

        Args:
            timeout: seconds; None waits for ever.

        Returns:
            False if the timeout passed first, or the subscription was cancelled.

        Raises:
            ListenerClosed: the listener was stopped.
            RuntimeError: called in the thread that reads, which cannot wait for itself.

        It also raises the driver's error if the server refuses the channel, such as a name for which its encoding has
        no letters.
        """
        return not self.cancelled and self._wait_listening(self, timeout)

    def cancel(self) -> None:
        """Stop calling the callback. UNLISTEN follows if nothing else needs the channel. A second call does nothing.

        The callback itself, or any thread, may call this. It does not wait for a call that is under way.
        """
        self._cancel(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        if "_cancel" not in vars(self):
            return f"<{type(self).__name__}, not initialized>"
        server = self._server()
        where = f" on {server}" if server else ""
        return f"<{'cancelled ' if self.cancelled else ''}{type(self).__name__} to {self.channel!r}{where}>"


class Queued(Subscription):
    """A subscription without a callback in the reading thread: its notifications, and its gaps, wait in its mailbox.

    Its consumer takes them from there in order. It is a `Stream`, or a task that awaits a coroutine function.

    Args:
        arrived: called in the reading thread after something was put into the mailbox.
        takes_gaps: whether the gaps of the connection are put into the mailbox, too.
        consumer: describes the consumer in the log.
    """

    def __init__(
        self,
        channel: str,
        callback: Callable[[Notification], object],
        wait_listening: Callable[[Subscription, float | None], bool],
        cancel: Callable[[Subscription], None],
        mailbox: Mailbox,
        arrived: Callable[[], object],
        takes_gaps: bool,
        consumer: str,
        server: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__(channel, callback, wait_listening, cancel, mailbox, server=server)
        self.arrived = arrived
        self.takes_gaps = takes_gaps
        self.consumer = consumer
        self.is_live = False
        """Whether its LISTEN has been in force, so that the gaps of the connection are its own, too."""
        self.is_served = False
        """Whether a task takes its notifications."""
        self.is_dropping = False
        """Whether it has dropped notifications since it was last empty."""
        self.busy_since: float | None = None
        """When the coroutine function was called that has not returned, by `Moment.elapsed`; None if there is none."""

    def waiting_since(self) -> float | None:
        """Return a moment, by `Moment.elapsed`, since which its consumer has taken nothing; None if nothing waits."""
        return self.mailbox.waiting_since() if self.busy_since is None else self.busy_since


T = TypeVar("T", bound=Subscription)


class Table(Generic[T]):
    """The subscriptions of each channel. Each change takes the same time, however many there are.

    Args:
        placeholder: takes the place of a subscription that was cancelled, so that its callback is not kept.
    """

    def __init__(self, placeholder: T) -> None:
        self._placeholder = placeholder
        self._removed: dict[str, int] = {}
        """How many times a subscription of a channel was removed and stays in `of`, if that is not never."""
        self.of: dict[str, list[T]] = {}
        """The subscriptions of each channel that has any, in the order in which they were made. Fewer than half of them
        are cancelled, and are only a placeholder. Others are added at the end at any time."""

    def add(self, subscription: T) -> None:
        """Add a subscription at the end of those of its channel."""
        subscriptions = self.of.setdefault(subscription.channel, [])
        subscription.place = len(subscriptions)
        subscriptions.append(subscription)

    def remove(self, subscription: T) -> None:
        """Remove a subscription, which is cancelled, or do nothing if that is done."""
        channel = subscription.channel
        subscriptions = self.of.get(channel, [])
        removed = self._removed[channel] = self._removed.get(channel, 0) + 1
        if 2 * removed < len(subscriptions):  # to go through them each time would take too long for thousands
            place = subscription.place
            if subscriptions[place : place + 1] == [subscription]:  # otherwise that is done
                subscriptions[place] = self._placeholder
            return
        del self._removed[channel]
        left = [each for each in subscriptions if not each.cancelled]
        for place, each in enumerate(left):
            each.place = place
        if left:
            self.of[channel] = left
        else:
            self.of.pop(channel, None)

    def all(self) -> list[T]:
        """Return all that are not cancelled."""
        return [each for those in self.of.values() for each in those if not each.cancelled]


class Routes:
    """Which subscriptions each channel has, and so which channels to listen to.

    Any thread adds and removes, under a lock. The threads that deliver only look up one channel at a time, and take no
    lock.

    Args:
        channels: the channels to listen to without any subscription, too.
    """

    def __init__(self, channels: tuple[str, ...]) -> None:
        self._own = frozenset(channels)
        self._lock = threading.RLock()  # for signal handlers
        self._called = Table(_REMOVED)
        self._queued = Table(_REMOVED_QUEUED)
        self.of: dict[str, list[Subscription]] = self._called.of
        """Those of each channel whose callbacks are called where it is read, or in workers; see `Table.of`."""
        self.queued: dict[str, list[Queued]] = self._queued.of
        """Those of each channel whose notifications wait in their own mailboxes."""
        self.wanted = Wanted(*channels)
        """The channels to listen to."""
        self.internal_channel = f"pgnotify_probe_{secrets.token_hex(8)}"
        """A channel of the listener itself, which users never see."""

    def add(self, subscription: Subscription) -> None:
        """Call the callback of a subscription from now on."""
        channel = subscription.channel
        with self._lock:
            if isinstance(subscription, Queued):
                self._queued.add(subscription)
            else:
                self._called.add(subscription)
            if channel not in self.wanted.channels:
                self.wanted.add(channel)

    def remove(self, subscription: Subscription) -> None:
        """Stop calling the callback of a subscription, and listening to its channel if nothing else needs that."""
        with self._lock:
            subscription.cancelled = True
            if isinstance(subscription, Queued):
                self._queued.remove(subscription)
            else:
                self._called.remove(subscription)
            self._remove_channel(subscription.channel)

    def _remove_channel(self, channel: str) -> None:
        """Stop listening to a channel if nothing needs it any more."""
        is_needed = channel in self._own or channel in self.of or channel in self.queued
        if not is_needed and channel in self.wanted.channels:
            self.wanted.remove(channel)

    def described(self) -> str:
        """Return the first channels, and how many more there are, for a repr(). It takes no lock."""
        hidden, channels = self.internal_channel, self.wanted.channels
        try:
            first = [*islice(channels, CHANNELS_SHOWN + 1)]
        except RuntimeError:  # another thread has added one just now
            first = list(channels)
        shown = [channel for channel in first if channel != hidden][:CHANNELS_SHOWN]
        more = len(channels) - (hidden in channels) - len(shown)
        return ", ".join(map(repr, shown)) + (f" … and {more:,} more" if more > 0 else "") or "no channel"

    def subscriptions(self) -> list[Subscription]:
        """Return all subscriptions at this moment."""
        with self._lock:
            return [*self._called.all(), *self._queued.all()]

    def lock_is_held_here(self) -> bool:
        """Return whether this thread holds the lock. If so, it is in a signal handler."""
        return is_held_here(self._lock)

    def forget_in_child(self) -> None:
        """Call no callback any more, and drop what waits for one. Called in the child after a fork."""
        self._lock = threading.RLock()
        self.wanted.forget_in_child()
        for subscription in self.subscriptions():
            subscription.mailbox.forget_in_child()
            subscription.callback = _call_nothing


def _call_nothing(notification: Notification) -> None:
    """Take the place of a callback in a forked child: the notification is the parent's."""


# In the places of subscriptions that were cancelled. What is put into the mailbox of a stream's placeholder is dropped.
_REMOVED = Subscription("", _call_nothing, lambda *_: False, lambda _: None, Mailbox())
_REMOVED_QUEUED = Queued(
    "", _call_nothing, lambda *_: False, lambda _: None, Mailbox(), arrived=lambda: None, takes_gaps=False, consumer=""
)
_REMOVED_QUEUED.mailbox.items = deque(maxlen=0)
_REMOVED.cancelled = _REMOVED_QUEUED.cancelled = True
