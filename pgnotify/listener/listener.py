"""The Listener: many channels, always back, nothing lost in silence.

This module keeps the face. What happens in which order is decided in `pgnotify.listener.loop`, which thread does it in
`pgnotify.listener.lifecycle`, and where it goes in `pgnotify.listener.delivery`.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from operator import length_hint
from types import TracebackType
from typing import Any

from pgnotify.connecting.backoff import Backoff
from pgnotify.connecting.source import Source
from pgnotify.limits import check_channel, check_count, check_seconds, check_timeout
from pgnotify.listener.delivery import Delivery
from pgnotify.listener.gap import Gap
from pgnotify.listener.lifecycle import Lifecycle
from pgnotify.listener.mailbox import Overflow
from pgnotify.listener.options import OnError, OnListening, Options
from pgnotify.listener.policy import Policy
from pgnotify.listener.probe import Probe, probe
from pgnotify.listener.report import Reporter
from pgnotify.listener.runner import ReconnectingRunner
from pgnotify.listener.status import Observer, Status
from pgnotify.listener.subscriptions import Routes, Subscription
from pgnotify.listener.watch import ListenerWatch
from pgnotify.notification import Notification, new
from pgnotify.program.ownership import Ownership
from pgnotify.program.state import State


class Listener:
    """Listens to channels on a connection of its own, and comes back when that is lost.

    Three ways to use it, one at a time: iterate over it; `run` it, with callbacks in this thread; or `start` a thread
    that reads, and iterate or have callbacks called beside it. Only the last keeps reading while your code is busy.

    Args:
        source: a connection string; or a function that takes nothing and returns a new connection of any supported
            driver; or a connection, which then cannot come back, and which is not closed.
        channels: to listen to, as written, at most 63 bytes each. What comes in on one of them goes to the iteration,
            unless it has a subscription.
        on_listening: called with a `Listening` event after every LISTEN that came into force, before any newer
            notification, in the thread that reads. If it raises, the connection is given up and all begins anew.
        on_error: called with (exception, notification) if a callback raises, and with (exception, None) if
            on_listening does, or if connecting fails in a way that trying again does not help; in the thread where it
            happened. What it raises itself is logged. None logs the error with its traceback and goes on; ``"raise"``
            ends the listener with it.
        workers: how many threads run callbacks; 0 runs them in the thread that reads.
        queue_size: how many notifications wait at most, for each subscription with workers, and for an iteration
            beside `start`. What comes in addition is dropped, and is a `Gap` in its place.
        heartbeat: seconds after which the server is asked whether all is in order; None never asks.
        answer_timeout: seconds for each answer of the server, and for each host to connect to.
        backoff: how long to wait between attempts to connect.
        name: for the logs and for the server's pg_stat_activity; "pgnotify" if None.
        driver: with a connection string only; None takes the first of `pgnotify.registry.DRIVERS` that is installed.
        observer: told what goes on; see `Observer`.

    Raises:
        ChannelError, ValueError, TypeError: a value is not possible; nothing was opened.
        UnknownBackend: no backend fits, or the driver is not installed.

    `stop`, `subscribe`, `status` and `Subscription.cancel` may be called from any thread and from callbacks, `stop`
    from signal handlers too.
    """

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
    ) -> None:
        options = Options(
            on_listening=on_listening,
            on_error=on_error,
            workers=workers,
            queue_size=queue_size,
            heartbeat=heartbeat,
            answer_timeout=answer_timeout,
            backoff=backoff,
            name=name,
            driver=driver,
            observer=observer,
        )
        self._options = options
        self._routes = Routes(tuple(check_channel(channel) for channel in channels))
        self._source = Source(source, driver, name, answer_timeout)
        self._watch = ListenerWatch(self._routes.wanted)
        self._runner = ReconnectingRunner(self._source, options)
        ownership = Ownership()
        self._reporter = Reporter(options, self._watch, self._routes, ownership.notify)
        self._delivery = Delivery(self._watch, self._routes, self._reporter)
        policy = Policy(
            heartbeat,
            backoff,
            can_reconnect=self._source.can_reconnect,
            new_is_fresh=self._source.from_dsn or not self._source.can_reconnect,
            clock=time.monotonic,
            now=time.time,
        )
        self._lifecycle = Lifecycle(options, policy, self._runner, self._delivery, ownership)
        self._seen_gap: Gap | None = None
        """The latest gap that `wait_or_poll` has returned."""

    # Reading.

    def run(self) -> None:
        """Connect, and call the callbacks until `stop`, in this thread or in workers.

        Raises:
            RuntimeError: another thread reads already.
            ListenerClosed: it was stopped before.
            ConnectionLost: it was lost, and it is the source itself; all that had arrived was delivered.

        And what the first attempt to connect raises, if trying again does not help, and what callbacks raise with
        ``on_error="raise"``.
        """
        self._delivery.mailbox.size = self._options.queue_size  # there may be nobody who iterates
        self._lifecycle.run()

    def start(self) -> None:
        """Have a thread of its own read; return when it listens, or when the first attempt to connect has failed.

        Such an attempt is repeated if that may help; else its error is raised here, and `start` may be called again.

        Raises:
            RuntimeError: it was started before, or another thread reads already.
            ListenerClosed: it was stopped before.
        """
        self._delivery.mailbox.size = self._options.queue_size
        self._lifecycle.start()

    def stop(self, timeout: float | None = 5.0, drain: bool = False) -> bool:
        """End it for good: disconnect, or UNLISTEN if the connection is yours.

        From any thread. In a callback, or in a signal handler of the thread that reads, it only asks, and the loop
        ends as soon as that has returned. A second call waits again.

        Args:
            timeout: seconds to wait for the end, None for ever; a call that waits for the server is cut off.
            drain: deliver first what has come in and is queued; else that is dropped.

        Returns:
            Whether it has ended. If not, a callback is still running, or an on_listening.
        """
        check_timeout(timeout)
        return self._lifecycle.stop(timeout, drain)

    # Receiving.

    def __iter__(self) -> Iterator[Notification]:
        """Yield notifications until `stop`."""
        return self.notifications()

    def notifications(self, timeout: float | None = None, stop_after: int | None = None) -> Iterator[Notification]:
        """Yield notifications as they come in; leave it at any time, nothing is lost by that.

        Args:
            timeout: seconds after which it ends, counted from the first step, however long it takes to connect; None
                for never; 0 yields what is there, and goes on with connecting if it is not connected.
            stop_after: how many to yield at most.

        Raises:
            ListenerClosed: it was stopped before.
        """
        check_timeout(timeout)
        if stop_after is not None:
            check_count("stop_after", stop_after, 0)
        self._lifecycle.check_process()
        if not self._has_mail() and self._lifecycle.shutdown.failure is None:  # else that comes first
            self._lifecycle.check_open()
        return self._notifications(timeout, stop_after)

    def _notifications(self, timeout: float | None, stop_after: int | None) -> Iterator[Notification]:
        deadline = None if timeout is None else time.monotonic() + timeout
        mailbox = self._delivery.mailbox
        pop = mailbox.pop
        # One turn of this for each notification; it costs less than to count.
        left = repeat(None) if stop_after is None else repeat(None, stop_after)
        while True:
            overflow = None
            for _ in left:
                try:
                    item = pop()
                except IndexError:
                    break
                if type(item) is Overflow:
                    overflow = item
                    break
                yield new(Notification, item)
            else:
                return
            if stop_after is not None:
                left = repeat(None, length_hint(left) + 1)  # that turn has yielded none
            if overflow is not None:
                mailbox.mark_taken(overflow)
                if not self._lifecycle.announce_overflow(overflow, deadline):
                    return
            elif not self._lifecycle.wait_until(self._has_mail, deadline):
                return

    def wait_or_poll(self, healthy: float = 30.0, deaf: float = 1.0) -> Notification | Gap | None:
        """Wait for a hint that there is work: for those who look for it themselves, and use NOTIFY to look at once.

        Args:
            healthy: seconds to wait at most while notifications should arrive.
            deaf: the same while they do not: disconnected, or behind a pooler and nothing has come in yet.

        Returns:
            The latest notification, and those before it are taken as seen; or the latest `Gap` since the last call;
            or None: the interval has passed. In each case it is time to look.

        Raises:
            ListenerClosed: it was stopped, before or meanwhile.
        """
        started = time.monotonic()
        for what, seconds in (("healthy", healthy), ("deaf", deaf)):
            check_seconds(what, seconds, may_be_zero=True)
        self._lifecycle.check_open()
        while True:
            hint = self._latest_hint()
            if hint is not None:
                return hint
            self._lifecycle.check_open()
            was = self.delivering
            deadline = started + (healthy if was else deaf)
            self._lifecycle.wait_until(partial(self._has_hint_or_changed, was), deadline)
            if time.monotonic() >= deadline:
                return self._latest_hint()

    def subscribe(self, channel: str, callback: Callable[[Notification], object]) -> Subscription:
        """Have a callback called with each notification of a channel; from any thread, before or while it is read.

        A channel that is not listened to yet is so at once, which `Subscription.wait_listening` tells. Several
        subscriptions of one channel share one LISTEN, and are called in the order in which they were made.

        Raises:
            ChannelError: PostgreSQL would refuse or cut the name.
            TypeError: the callback cannot be called.
            ListenerClosed: it was stopped.
        """
        check_channel(channel)
        if not callable(callback):
            raise TypeError(f"callback must take a notification, not be {callback!r}")
        return self._subscribe(channel, callback)

    def _subscribe(
        self, channel: str, callback: Callable[[Notification], object], internal: bool = False
    ) -> Subscription:
        self._lifecycle.check_open()
        size = self._options.queue_size
        subscription = Subscription(channel, callback, self._wait_listening, self._cancel, size, internal)
        self._routes.add(subscription)
        self._lifecycle.wake()
        return subscription

    def _cancel(self, subscription: Subscription) -> None:
        if self._routes.remove(subscription):
            self._watch.refused.pop(subscription.channel, None)  # a later subscription tries again
        self._lifecycle.wake()

    def _wait_listening(self, subscription: Subscription, timeout: float | None) -> bool:
        check_timeout(timeout)
        self._lifecycle.check_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        channel, refused = subscription.channel, self._watch.refused
        self._lifecycle.wait_until(
            lambda: subscription.cancelled or channel in refused or self._has_applied_all(), deadline
        )
        if channel in refused and not subscription.cancelled:
            raise refused[channel]
        return not subscription.cancelled and self._has_applied_all()

    def _has_applied_all(self) -> bool:
        """Whether LISTEN is in force for all channels that are wanted and not refused, and the user knows."""
        return self._watch.is_settled and self._watch.applied is self._routes.wanted()

    # How it stands.

    @property
    def delivering(self) -> bool:
        """Whether what is sent now should arrive; see `Status.delivering`."""
        return self._watch.delivering

    def status(self) -> Status:
        """Return how it stands; from any thread, waits for nothing."""
        counters, watch, link = self._reporter.counters, self._watch, self._watch.link
        waiting = sum(len(subscription.mailbox) for subscription in self._routes.subscriptions())
        return Status(
            name=self._options.title,
            state=counters.state,
            since=counters.since,
            channels=tuple(channel for channel in watch.in_force if channel != self._routes.internal_channel),
            notifications=counters.notifications,
            bytes=counters.bytes,
            dropped=counters.dropped,
            queued=len(watch.queue) + len(self._delivery.mailbox) + waiting,
            gaps=counters.gaps,
            reconnects=counters.reconnects,
            attempts=0 if watch.state is State.LISTENING else watch.attempts,
            delivering=self.delivering,
            server_pid=link.server_pid,
            behind_pooler=link.behind_pooler,
            last_error=counters.last_error,
            round_trip=counters.round_trip,
            queue_usage=counters.queue_usage,
        )

    def probe(self, timeout: float | None = None) -> Probe:
        """Send something from a second session, and see whether it arrives here: the only proof there is.

        Args:
            timeout: seconds to wait for it; its `answer_timeout` if None.

        Raises:
            ListenerClosed: this is a forked child.
        """
        self._lifecycle.check_process()
        check_timeout(timeout)
        if self._lifecycle.shutdown.is_over:
            return Probe("no", f"the listener is {self._reporter.counters.state}", None)
        if self._lifecycle.reads_here:
            return Probe("unknown", "asked in the thread that reads, which cannot wait for itself", None)
        seconds = self._options.answer_timeout if timeout is None else timeout
        self._lifecycle.connect(time.monotonic() + seconds)
        return probe(_Probed(self), self._source, seconds)

    def __enter__(self) -> Listener:
        """Connect and listen, however many attempts that takes: what is sent from then on arrives, or lies in a gap.

        Raises what `start` raises.
        """
        try:
            self._lifecycle.enter()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._options.title!r} {self._reporter.counters.state}>"

    def __del__(self) -> None:
        """Let go of a connection that nobody can reach any more, with a ResourceWarning."""
        lifecycle = getattr(self, "_lifecycle", None)  # an __init__ that raised leaves none
        if lifecycle is None or sys.is_finalizing() or lifecycle.is_read():
            return  # a thread of ours goes on, as threads do
        if lifecycle.is_abandoned():
            warnings.warn(f"{self!r} was deleted without stop()", ResourceWarning, source=self, stacklevel=2)
        self._runner.close()

    def _has_mail(self) -> bool:
        return bool(self._delivery.mailbox)

    def _has_hint_or_changed(self, was_delivering: bool) -> bool:
        return self._has_mail() or self._has_news() or self.delivering is not was_delivering

    def _has_news(self) -> bool:
        return self._reporter.counters.latest_gap is not self._seen_gap

    def _latest_hint(self) -> Notification | Gap | None:
        latest: Notification | None = None
        while (item := self._delivery.mailbox.take()) is not None:
            if isinstance(item, Overflow):
                self._lifecycle.announce_overflow(item)
            else:
                latest = Notification._make(item)
        if self._has_news():
            self._seen_gap = self._reporter.counters.latest_gap
            return self._seen_gap
        return latest


class _Probed:
    """What `pgnotify.listener.probe` may ask of a listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.status = listener.status
        self.wait_until = listener._lifecycle.wait_until
        self.changed = listener._lifecycle.wake

    @property
    def delivering(self) -> bool:
        return self._listener.delivering

    def subscribe_internally(self, callback: Callable[[Notification], object]) -> Subscription:
        return self._listener._subscribe(self._listener._routes.internal_channel, callback, internal=True)
