"""`Observer`, which feeds a metrics or tracing library, and `Observed`, which calls its methods."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from pgnotify.limits import check_runs
from pgnotify.listener.gap import Gap
from pgnotify.listener.repeats import write
from pgnotify.listener.subscriptions import Subscription
from pgnotify.notification import Plain
from pgnotify.program.interruption import is_interruption
from pgnotify.program.state import ListenerState

# A method that fails does so each time it is called, up to thousands of times a second.
SECONDS_BETWEEN_LOGGED_FAILURES = 60.0

# An object that is not a subclass may have these only: there were no others at first.
_REQUIRED = ("state_changed", "received", "gap_announced", "checked")

_channel_of = itemgetter(0)


class Observer:
    """Feeds a metrics or tracing library. Make a subclass, and override the methods that you need.

    Each method does nothing here, so `super()` need not be called. Durations are in seconds, of a monotonic clock. The
    first argument of each method, `name`, is the listener's; one observer may serve several listeners.

    The thread that reads calls them, except where a method says otherwise; the thread that ends the listener does so
    after that. No lock of pgnotify is held during a call, so a method may call `Listener.status` or `Listener.stop`. It
    must be quick: the thread does not read during the call. Its exceptions are logged with a traceback, at most once a
    minute for each method, and change nothing else.
    """

    def state_changed(self, name: str, state: ListenerState) -> None:
        """The listener entered a state; see `Status.state`."""

    def connect_failed(self, name: str, error: Exception, attempt: int, delay: float | None) -> None:
        """An attempt to connect, or to listen on a new connection, has failed.

        Args:
            name: the listener's.
            error: the driver's, or one of pgnotify's.
            attempt: how many attempts have failed in a row, from 1.
            delay: seconds until the next attempt; None if there is none, because the error is raised.
        """

    def received(self, name: str, notifications: int, size: int) -> None:
        """A batch arrived: the number of notifications, and the size of their payloads in bytes of UTF-8."""

    def channel_received(self, name: str, channel: str, notifications: int, size: int) -> None:
        """A batch arrived that has notifications of this channel: the same numbers as in `received`, of the channel.

        Called once for each channel of a batch. If it is overridden, each payload is looked at by itself. If the driver
        could not decode a notification, it counts here only if its channel is known.
        """

    def dropped(self, name: str, channel: str | None, notifications: int, subscription: Subscription | None) -> None:
        """Notifications were dropped.

        Args:
            name: the listener's.
            channel: their channel; None if the driver could not decode a notification, and does not know its channel.
            notifications: how many. A notification counts once for each subscription that misses it.
            subscription: the one whose queue was full: a subscription, or a stream. None if it was the iteration's, or
                if it was not a full queue.
        """

    def gap_announced(self, name: str, gap: Gap) -> None:
        """The user was told of a gap: on_listening has returned."""

    def callback_finished(self, name: str, channel: str, seconds: float, error: Exception | None) -> None:
        """The callback of a subscription has returned, or has raised an exception.

        Called in the thread that has called the callback, after each call, so several workers call it at once. If it is
        overridden, a clock is read twice for each notification.

        Args:
            name: the listener's.
            channel: the subscription's.
            seconds: how long the callback took.
            error: the exception; None if there was none. `on_error` is called with it after that.
        """

    def checked(self, name: str, round_trip: float, queue_usage: float | None) -> None:
        """The server answered a heartbeat after `round_trip` seconds. Under traffic, this is up to ten times a second.

        `queue_usage` is how full the server's notification queue is, from 0 to 1; None if it is unknown.
        """

    def heartbeat_lagged(self, name: str, lag: float) -> None:
        """The heartbeat that was answered had been sent `lag` seconds after it was due, at least 0.

        Called after `checked`. The lag shows how long callbacks, or code between two steps of an iteration, keep the
        listener from reading.
        """


def check_observer(observer: object) -> None:
    """Refuse an object that is not a subclass of `Observer` and lacks one of its first four methods.

    Raises:
        TypeError: it lacks at least one, or one of its methods is an async function; the message names them.
    """
    lacking = [name for name in _REQUIRED if not callable(getattr(observer, name, None))]
    if observer is None:
        return
    if lacking:
        raise TypeError(f"observer must be a subclass of pgnotify.Observer: {observer!r} lacks {', '.join(lacking)}")
    for name in vars(Observer):
        if not name.startswith("_") and (method := getattr(observer, name, None)) is not None:
            check_runs(f"observer.{name}", method)


class Observed:
    """Calls the methods of a user's observer. Without one, or for methods that it does not override, it calls nothing.

    Args:
        name: the listener's.
        observer: the user's, or None.
        hidden: the channel of the listener itself, of which the methods with a channel are not told.
    """

    def __init__(self, name: str, observer: Observer | None, hidden: str) -> None:
        self._name = name
        self._hidden = hidden
        self._observer = observer
        self._quiet_until: dict[str, float] = {}
        """When the next failure of a method is logged again, by the monotonic clock."""
        self.by_channel = self._overrides("channel_received")
        """Whether it wants the numbers of each channel."""
        self.times_callbacks = self._overrides("callback_finished")
        """Whether it wants the duration of each callback."""
        self.is_present = observer is not None
        self._wants_drops = self._overrides("dropped")

    def _overrides(self, name: str) -> bool:
        method = getattr(self._observer, name, None)
        return callable(method) and getattr(method, "__func__", method) is not getattr(Observer, name)

    def tell(self, method: str, *facts: Any) -> None:
        """Call a method with the listener's name and these facts. An error of it is logged."""
        if self._observer is None:
            return
        try:
            call = getattr(self._observer, method, None)
            if call is not None:
                call(self._name, *facts)
        except Exception as error:
            if is_interruption(error):
                raise
            now = time.monotonic()
            if now >= self._quiet_until.get(method, now):
                self._quiet_until[method] = now + SECONDS_BETWEEN_LOGGED_FAILURES
                write(logging.ERROR, self._name, "the observer failed", exc_info=error)

    def forget_in_child(self) -> None:
        """Call nothing any more: the observer counts for the parent. Called in the child after a fork."""
        self._observer = None

    def received(self, plains: Sequence[Plain], size: int) -> None:
        """Tell of a batch, whose payloads have this size in bytes."""
        if not plains:
            return
        self.tell("received", len(plains), size)
        if self.by_channel:
            sizes: Counter[str] = Counter()
            for plain in plains:
                sizes[plain[0]] += size_of(plain[1])
            for channel, count in Counter(map(_channel_of, plains)).items():
                if channel != self._hidden:
                    self.tell("channel_received", channel, count, sizes[channel])

    def undecodable(self, channel: str | None, size: int) -> None:
        """Tell of a notification that has arrived and could not be decoded."""
        self.tell("received", 1, size)
        if channel is not None:
            self.tell("channel_received", channel, 1, size)
        self.tell("dropped", channel, 1, None)

    def callback_finished(self, channel: str, seconds: float, error: Exception | None) -> None:
        """Tell of a callback; see `Observer.callback_finished`."""
        if channel != self._hidden:
            self.tell("callback_finished", channel, seconds, error)

    def dropped(self, channels: Iterable[str], subscription: object) -> None:
        """Tell of notifications that a full queue has dropped.

        Args:
            channels: the channel of each of them.
            subscription: the one whose queue it was, as the user knows it; None for the iteration's.
        """
        if self._wants_drops:
            for channel, count in Counter(channels).items():
                self.tell("dropped", channel, count, subscription)


def size_of(text: str) -> int:
    """Return the size of payloads in bytes of UTF-8, with those bytes that could not be decoded."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
