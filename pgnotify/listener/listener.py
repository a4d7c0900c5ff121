"""The Listener: it listens to many channels, reconnects after every loss, and reports every gap.

This module is its public face. `pgnotify.listener.loop` decides the order of events, `pgnotify.listener.lifecycle`
which thread runs the loop, and `pgnotify.listener.delivery` where notifications go.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, repeat
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from pgnotify.atomic import pops
from pgnotify.connecting.backoff import Backoff
from pgnotify.connecting.source import Source
from pgnotify.limits import check_count, check_seconds, check_timeout
from pgnotify.listener.face import ListenerFace, check_callback
from pgnotify.listener.gap import Gap
from pgnotify.listener.lifecycle import Lifecycle
from pgnotify.listener.observer import Observer
from pgnotify.listener.options import OnError, OnListening, Options
from pgnotify.listener.probe import Probe, probe
from pgnotify.listener.runner import ReconnectingRunner
from pgnotify.listener.stored import Store, Stored
from pgnotify.listener.stream import SLOW, Stream
from pgnotify.listener.subscriptions import Queued, Subscription
from pgnotify.notification import Notification, new
from pgnotify.program.ownership import Ownership

if TYPE_CHECKING:
    from pgnotify.message import Batch, Message


class Listener(ListenerFace):
    """Listens to channels on a connection of its own, and reconnects when that is lost.

    There are three ways to use it, one at a time. Iterate over it. Or call `run`, which calls callbacks in this thread.
    Or call `start`, which reads in a thread of its own, and iterate or let it call callbacks. While your code is busy,
    the listener keeps reading only if `workers` run the callbacks, or if you iterate after `start`.

    Args:
        source: a connection string, as `pgnotify.connect` takes it; or a function that takes nothing and returns a new
            connection of any supported driver; or a connection. A connection cannot be replaced when it is lost, and it
            is not closed.
        channels: the channels to listen to, as written, at most 63 bytes each. Notifications of a channel go to the
            iteration, unless the channel has a subscription.
        on_listening: called with a `Listening` event each time LISTEN has come into force, before any newer
            notification, in the thread that reads. If it raises, the listener gives up the connection and reconnects
            after a pause.
        on_error: called with (exception, notification) if a callback raises. Called with (exception, None) if
            on_listening raises, if the server refuses a channel, if a transaction was left open on the connection, or
            if connecting fails with an error that no further attempt mends. It is called in the thread where the error
            happened. An exception that it raises itself is logged. None logs the error with its traceback, and the
            listener continues; ``"raise"`` ends the listener with the error, and drops what a `stop` would drop.
        workers: how many threads run callbacks; 0 runs them in the thread that reads.
        queue_size: how many notifications may wait, for each subscription with workers, and for an iteration after
            `start`. Further notifications are dropped, and a `Gap` takes their place.
        heartbeat: seconds between two questions to the server whether everything is in order, while nothing arrives;
            0.1 s after something has arrived, it is asked as well. None never asks, and gaps are longer.
        answer_timeout: seconds of silence to wait for each answer of the server; and seconds to wait for each host to
            connect to.
        backoff: how long to wait between attempts to connect.
        name: for the logs, and for the server's pg_stat_activity unless the connection has an application_name. None
            stands for "pgnotify", and on the server for "pgnotify: <program> <process ID>".
        driver: only with a connection string; None takes the one that its URI names, or the first of
            `pgnotify.registry.DRIVERS` that is installed.
        observer: told of states, batches, drops, gaps, callbacks and heartbeats; see `Observer`.
        outbox: a `pgnotify.Outbox`. Then messages that are stored in it are delivered, each a `Message`, in place of
            notifications, which only tell that there are some. A reconnect loses none, and none is dropped: it is read
            on only when callbacks, streams and the iteration have room.
        durable: the name of a subscription, whose position is kept in the outbox, at most 63 bytes. A listener with the
            same name continues there after a restart. One process at a time is active for a name; others stand by.
        start: where a subscription begins whose name is not known yet, and each listener without a name: ``"new"`` at
            the present, ``"all"`` at the oldest message that is kept.

    Raises:
        ChannelError, ValueError, TypeError: an argument is not possible. Nothing was opened.
        UnknownBackend: no backend fits, or the driver is not installed.

    `stop`, `subscribe`, `status` and `Subscription.cancel` may be called from any thread and from callbacks. `stop` may
    be called from signal handlers, too.
    """

    _source: Source

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
            outbox=outbox,
            durable=durable,
            start=start,
        )
        ownership = Ownership()
        where_from = Source(source, driver, options.name, options.answer_timeout)
        super().__init__(options, channels, where_from, ownership.notify)
        self._runner = ReconnectingRunner(where_from, options)
        self._lifecycle = Lifecycle(options, self._policy, self._runner, self._delivery, ownership)
        self._delivery.asked = self._runner.wake

    # Reading.

    def run(self) -> None:
        """Connect, and call the callbacks until `stop`, in this thread or in workers.

        Raises:
            RuntimeError: another thread already reads.
            ListenerClosed: it was stopped before, or it belongs to the process that this one was forked from.
            ConnectionLost: the connection is lost, and is itself the source; every notification that had arrived was
                delivered. `run` waits for the workers, however long that takes; `stop` ends the wait.
            SourceError: the source has returned the lost connection again, or at first a dead one.

        It also raises the error of the first attempt to connect, if another attempt does not help, and the errors of
        callbacks, if on_error is ``"raise"``.
        """
        self._delivery.mailbox.size = self._options.queue_size  # perhaps no thread iterates
        self._lifecycle.run()

    def start(self) -> None:
        """Read in a thread of its own. Return when it listens, or when the first attempt to connect has failed.

        A failed attempt is repeated if that may help. Otherwise its error is raised here, and `start` may be called
        again. If a signal handler raises during the wait, the listener is stopped.

        Raises:
            RuntimeError: it was started before, or another thread already reads.
            ListenerClosed: it was stopped before, or it belongs to the process that this one was forked from.
        """
        self._delivery.mailbox.size = self._options.queue_size
        self._lifecycle.start()

    def stop(self, timeout: float | None = 5.0, drain: bool = False) -> bool:
        """End the listener for good: disconnect, or UNLISTEN if the connection is yours.

        Any thread may call this. In a callback, and in a signal handler of the thread that reads, it only makes the
        request: the listener ends as soon as the callback or the signal handler has returned. The same is true of a
        signal handler that interrupts pgnotify or a log while that holds a lock, and of the event loop of gevent or
        eventlet. A second call waits again.

        Args:
            timeout: seconds to wait for the end; None waits for ever. A call that waits for the server is cut off.
            drain: whether to deliver first the notifications that have arrived, also those that are unread at the
                socket; otherwise they are dropped, and so are the gaps whose place was not reached.

        Returns:
            Whether the listener has ended. If not, a callback or on_listening is still running, or only the request was
            made. In a forked child there is nothing to end, and the parent's listener continues.

        Raises:
            ValueError, TypeError: the timeout is not possible.
        """
        return self._lifecycle.stop(check_timeout(timeout), drain)

    # Receiving.

    def __iter__(self) -> Iterator[Notification]:
        """Yield notifications until `stop`."""
        return self.notifications()

    def notifications(self, timeout: float | None = None, stop_after: int | None = None) -> Iterator[Notification]:
        """Yield notifications as they arrive. You may stop iterating at any time without losing any.

        Args:
            timeout: seconds after which the iteration ends, counted from its first step, however long connecting
                takes. None never ends it. 0 yields the notifications that have arrived; if the listener is not
                connected, it continues to connect, without waiting for that.
            stop_after: the largest number of notifications to yield; None for any number.

        Raises:
            ListenerClosed: it was stopped before, or it belongs to the process that this one was forked from.
            ValueError, TypeError: an argument is not possible.

        The iteration raises the errors that end `run`, and a RuntimeError in the thread that reads, which cannot wait
        for itself.
        """
        timeout = check_timeout(timeout)
        if stop_after is not None:
            stop_after = check_count("stop_after", stop_after, 0)
        self._lifecycle.check_process()
        if not self._has_mail() and self._lifecycle.shutdown.failure is None:  # otherwise these come first
            self._lifecycle.check_open()
        notifications, stored = self._notifications(timeout, stop_after), self._watch.stored
        return notifications if stored is None else self._messages(stored, notifications)

    def _notifications(self, timeout: float | None, stop_after: int | None) -> Iterator[Notification]:
        deadline = None if timeout is None else time.monotonic() + timeout
        if stop_after == 0:
            return
        taken = map(new, repeat(self._delivery.kind), pops(self._delivery.mailbox.items))
        while True:
            # One turn takes a notification and yields it; no signal handler runs in between.
            try:
                for notification in taken:
                    yield notification
                    if stop_after is not None:
                        stop_after -= 1
                        if not stop_after:
                            self._delivery.mailbox.put_down()
                            return
            except IndexError as error:  # there are no more
                if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                    raise  # of a signal handler
            if not (self._has_passed(deadline) and self._lifecycle.wait_first(self._has_mail, deadline)):
                return

    def _messages(self, stored: Stored, notifications: Iterator[Notification]) -> Iterator[Notification]:
        """Yield messages, and have it stored now and then how far the consumer is."""
        mailbox = self._delivery.mailbox
        for message in notifications:
            yield message
            if self._watch.is_settled and stored.done_with(mailbox.put_down, time.monotonic()):
                self._runner.wake()
                self._lifecycle.wait_until(lambda: stored.progress is None, None)

    def _has_passed(self, deadline: float | None) -> bool:
        """Pass an overflow that was reached, as soon as the user knows of its gap; return False at the deadline."""
        mailbox = self._delivery.mailbox
        overflow = mailbox.overflow()
        if overflow is not None:
            if not self._lifecycle.overflows.announce(overflow, deadline):
                return False
            mailbox.pass_by(overflow)
        return True

    def batches(self, size: int = 500, timeout: float | None = None) -> Iterator[Batch]:
        """Yield the messages of a durable subscription in batches, which you acknowledge in a transaction of yours.

        Acknowledge each one before you ask for the next one. A batch that is not acknowledged, such as after a
        rollback, comes again as the next one. Then each message has its effect exactly once::

            for batch in listener.batches():
                with connection.transaction():
                    ...  # the effects of its messages
                    batch.acknowledge(connection)

        Args:
            size: how many messages a batch has at most; about 8 MB end one, too.
            timeout: seconds after which the iteration ends, counted from its first step; None never ends it.

        Raises:
            TypeError: the listener has no outbox, or no durable name.
            RuntimeError: it has callbacks or streams, which would take messages, too.
            ListenerClosed: it was stopped before, or it belongs to the process that this one was forked from.
            ValueError: an argument is not possible.

        The iteration raises the errors that end `run`.
        """
        timeout, stored = check_timeout(timeout), self._reading_in_batches(size)
        self._lifecycle.check_process()
        self._lifecycle.check_open()
        return self._batches(stored, timeout)

    def _batches(self, stored: Stored, timeout: float | None) -> Iterator[Batch]:
        deadline = None if timeout is None else time.monotonic() + timeout
        mailbox, kind = self._delivery.mailbox, cast("type[Message]", self._delivery.kind)
        while True:
            mailbox.overflow()  # whatever was taken before is done with
            if not self._lifecycle.wait_first(lambda: stored.has_batch(len(mailbox.items)), deadline):
                return
            count = len(mailbox.items)
            yield stored.batch(list(map(new, repeat(kind), islice(pops(mailbox.items), count))))

    def wait_or_poll(self, healthy: float = 30.0, deaf: float = 1.0) -> Notification | Gap | None:
        """Wait for a hint that there is work. For code that looks for its work itself, and uses NOTIFY to look at once.

        Args:
            healthy: the longest wait, in seconds, while notifications should arrive.
            deaf: the longest wait, in seconds, while they do not: the listener is disconnected, or behind a pooler from
                which nothing has arrived yet, or the server ignores LISTEN.

        Returns:
            The latest notification, in which case earlier ones count as seen; or the latest `Gap` since the last call;
            or None if the interval has passed. In each case it is time to look. ``isinstance(hint, pgnotify.Gap)``
            tells them apart, for type checkers, too.

        Raises:
            ListenerClosed: it was stopped before or during the call, or it belongs to the process that this one was
                forked from.
            ValueError, TypeError: an interval is not possible.

        It also raises the errors that end `run`, and a RuntimeError in the thread that reads, which cannot wait for
        itself.
        """
        started = time.monotonic()
        healthy = check_seconds("healthy", healthy, may_be_zero=True)
        deaf = check_seconds("deaf", deaf, may_be_zero=True)
        self._lifecycle.check_process()
        if not self._has_mail():  # otherwise this comes first
            self._lifecycle.check_open()
        self._delivery.mailbox.put_down()
        expired = False
        while True:
            was = self._watch.delivering
            deadline = started + (healthy if was else deaf)
            self._look_for_hint(deadline)
            hint, self._hints.found = self._hints.found, None  # no call follows, so no signal handler takes it away
            if hint is not None or expired:
                return hint
            self._lifecycle.shutdown.raise_failure()
            self._lifecycle.check_open()
            self._lifecycle.wait_first(partial(self._has_hint_or_changed, was), deadline)
            expired = time.monotonic() >= deadline

    def subscribe(self, channel: str, callback: Callable[[Notification], object]) -> Subscription:
        """Call a callback with each notification of a channel. Any thread may subscribe, before or while one reads.

        If the channel is new, a connected listener listens to it at once; `Subscription.wait_listening` waits until
        that is in force. Several subscriptions of one channel share one LISTEN. Their callbacks are called in the
        order in which the subscriptions were made.

        Args:
            channel: as written, at most 63 bytes.
            callback: called with each `Notification`; its result is ignored.

        Raises:
            ChannelError: PostgreSQL would refuse or cut the name.
            TypeError: the channel is not a str, or the callback cannot be called, or a call of it runs nothing, as that
                of an async function.
            ListenerClosed: it was stopped, or it belongs to the process that this one was forked from.
            RuntimeError: it has a durable name, reads already, and the channel is another one than those.
        """
        channel = self._checked_channel(channel)
        check_callback(callback)
        return self._subscribe(channel, callback)

    def subscription(self, channel: str, queue_size: int | None = None) -> Stream:
        """Return a stream: an iterator over the notifications of a channel, and its gaps, with a queue of its own.

        Any number of streams may share a channel. Each gets every notification, and none of them goes to the iteration
        of the listener. If no thread reads, the one that iterates over a stream does.

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
        return Stream(_Streaming(self), channel, size)

    def _subscribe(
        self, channel: str, callback: Callable[[Notification], object], internal: bool = False
    ) -> Subscription:
        self._lifecycle.check_open()
        mailbox = self._delivery.new_mailbox(self._options.queue_size)
        subscription = Subscription(
            channel, callback, self._wait_listening, self._cancel, mailbox, internal, self._server
        )
        self._routes.add(subscription)
        self._delivery.adopt(subscription)
        self._lifecycle.wake()
        return subscription

    def _cancel(self, subscription: Subscription) -> None:
        self._routes.remove(subscription)
        self._lifecycle.wake()

    def _wait_listening(self, subscription: Subscription, timeout: float | None) -> bool:
        timeout = check_timeout(timeout)
        self._lifecycle.check_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        channel, refused = subscription.channel, self._routes.wanted.refused
        self._lifecycle.wait_until(
            lambda: subscription.cancelled or channel in refused or self._is_applied(channel), deadline
        )
        error = refused.get(channel)
        if error is not None and not subscription.cancelled:
            raise error
        return not subscription.cancelled and self._is_applied(channel)

    # Its state.

    def probe(self, timeout: float | None = None) -> Probe:
        """Send a notification from a second session, and see whether it arrives. Nothing else proves that any does.

        Args:
            timeout: seconds to wait for the notification; None takes the listener's `answer_timeout`.

        Raises:
            ListenerClosed: it belongs to the process that this one was forked from.
            ValueError, TypeError: the timeout is not possible.
        """
        self._lifecycle.check_process()
        timeout = check_timeout(timeout)
        if self._lifecycle.shutdown.is_over:
            return Probe("no", f"the listener is {self._reporter.counters.state}", None)
        if self._lifecycle.reads_here:
            return Probe("unknown", "asked in the thread that reads, which cannot wait for itself", None)
        seconds = self._options.answer_timeout if timeout is None else timeout
        self._lifecycle.connect(time.monotonic() + seconds)
        return probe(_Probed(self), self._source, seconds)

    def __enter__(self) -> Listener:
        """Connect and listen, however many attempts that takes.

        Every notification that is sent from then on arrives, or lies in a gap. It raises the same errors as `start`.
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

    def _peer(self) -> str:
        return self._runner.peer

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        """Release a connection that can no longer be reached, with a ResourceWarning."""
        # At the end of a frozen application, names such as `sys` may be gone before this object is.
        lifecycle = getattr(self, "_lifecycle", None)  # there is none if __init__ raised
        if lifecycle is None or is_finalizing() or lifecycle.is_read():
            return  # a thread still reads, and keeps the connection
        if lifecycle.is_abandoned():
            warnings.warn(f"{self!r} was deleted without stop()", ResourceWarning, source=self, stacklevel=2)
        self._runner.abandon()

    def _look_for_hint(self, deadline: float) -> None:
        while self._has_mail():
            if not (self._hints.find_notification() or self._has_passed(deadline)):
                break
        self._hints.find_gap()


class _Streaming:
    """The part of a listener that `pgnotify.listener.stream` uses."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.wait_first = listener._lifecycle.wait_first

    def add(self, channel: str, queue_size: int) -> Queued:
        listener = self._listener
        listener._lifecycle.check_open()
        stream = Queued(
            channel,
            _nothing,
            listener._wait_listening,
            listener._cancel,
            listener._delivery.new_mailbox(queue_size),
            listener._reporter.changed,
            True,
            SLOW,
            listener._server,
        )
        listener._routes.add(stream)
        listener._delivery.adopt(stream)
        listener._lifecycle.wake()
        return stream


def _nothing(notification: Notification) -> None:
    """Stand in for the callback of a stream."""


class _Probed:
    """The part of a listener that `pgnotify.listener.probe` uses."""

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
