"""The face of a listener, in blocking code and on an event loop: the parts that need neither, and its state."""

from __future__ import annotations

import time
from collections.abc import Callable

from pgnotify.connecting.source import AnySource
from pgnotify.limits import check_channel, check_count, check_runs
from pgnotify.listener import clocks
from pgnotify.listener.delivery import Delivery
from pgnotify.listener.hints import Hints
from pgnotify.listener.options import Options
from pgnotify.listener.policy import Policy
from pgnotify.listener.report import Reporter
from pgnotify.listener.snapshot import delivers, snapshot
from pgnotify.listener.status import Status
from pgnotify.listener.stored import Stored, needs_query
from pgnotify.listener.subscriptions import Routes
from pgnotify.listener.timed import TimedDelivery
from pgnotify.listener.watch import ListenerWatch
from pgnotify.program.forks import notice_fork
from pgnotify.uncopyable import Uncopyable


class ListenerFace(Uncopyable):
    """The parts and the state of a listener. The subclasses run it.

    Args:
        options: its options.
        channels: the channels to listen to, not checked yet.
        source: where its connections come from.
        changed: called after each change that a thread or a task may wait for.
    """

    def __init__(
        self,
        options: Options,
        channels: tuple[str, ...],
        source: AnySource,
        changed: Callable[[], None],
    ) -> None:
        self._options = options
        self._routes = Routes(tuple(check_channel(channel) for channel in channels))
        self._source = source
        self._watch = ListenerWatch(self._routes.wanted)
        self._reporter = Reporter(options, self._watch, self._routes, changed)
        self._delivery = self._make_delivery()
        self._policy = Policy.of(options, self._source, time.monotonic, clocks.now)
        self._hints = Hints(self._delivery.mailbox, self._reporter.counters, self._delivery.kind)

    def _make_delivery(self) -> Delivery:
        """Return what delivers notifications, or what is stored if there is an outbox."""
        times, options, watch = self._reporter.observed.times_callbacks, self._options, self._watch
        if options.outbox is None:
            return (TimedDelivery if times else Delivery)(watch, self._routes, self._reporter)
        from pgnotify.listener.patient import PatientDelivery, TimedPatientDelivery

        only = self._source.only_backend
        if only is not None and not hasattr(only, "query"):
            raise needs_query(only)
        stored = options.outbox.reading(watch, options.durable, options.start, self._routes.internal_channel)
        watch.read_stored(stored)
        patient = TimedPatientDelivery if times else PatientDelivery
        delivery = patient(watch, self._routes, self._reporter, stored.kind)
        stored.consumers(delivery)
        return delivery

    @property
    def delivering(self) -> bool:
        """Whether a notification that is sent now should arrive; see `Status.delivering`."""
        notice_fork()
        return delivers(self._options, self._delivery, self._delivery.unread_seconds())

    def status(self) -> Status:
        """Return its state and its counters at this moment; it does not wait."""
        notice_fork()
        return snapshot(self._options, self._delivery, self._routes)

    def __repr__(self) -> str:
        kind = type(self).__name__
        if "_hints" not in vars(self):  # it is set last
            return f"<{kind}, not initialized>"
        state, channels = self._reporter.counters.state, self._routes.described()
        return f"<{kind} {self._options.title!r} {state}: {channels}{self._durable()} on {self._server()}>"

    def _durable(self) -> str:
        """Describe the durable subscription, if there is one."""
        name, stored = self._options.durable, self._watch.stored
        stands_by = stored is not None and stored.stands_by
        return "" if name is None else f" as {name!r}{', standing by,' if stands_by else ''}"

    # For the subclasses.

    def _checked_channel(self, channel: str) -> str:
        """Return the name of a channel to subscribe to, checked.

        Raises:
            ChannelError, TypeError: it is not possible.
            RuntimeError: it can no longer be added; see `Stored.check_channel`.
        """
        channel = check_channel(channel)
        if self._watch.stored is not None:
            self._watch.stored.check_channel(channel)
        return channel

    def _reading_in_batches(self, size: int) -> Stored:
        """Have messages read in batches, for an iteration that acknowledges them.

        Raises:
            TypeError: there is no durable subscription.
            RuntimeError: callbacks or streams take messages, too.
        """
        size, stored = check_count("size", size, 1), self._watch.stored
        if stored is None:
            raise TypeError("batches() needs an outbox: pass outbox=pgnotify.Outbox() and durable=, too")
        if self._routes.subscriptions():
            raise RuntimeError("batches() takes the messages of all channels: cancel the subscriptions")
        stored.in_batches_of(size)
        self._delivery.asked()
        return stored

    def _peer(self) -> str:
        """Return where the latest connection leads to; empty before the first."""
        raise NotImplementedError

    def _server(self) -> str:
        peer = "" if self._source.from_dsn else self._peer()
        return f"{peer}, by {self._source.place}" if peer else self._source.place

    def _is_applied(self, channel: str) -> bool:
        """Return whether LISTEN is in force for a wanted channel, and the user knows; or the server refuses it."""
        return self._watch.is_settled and channel not in self._routes.wanted.due

    def _has_mail(self) -> bool:
        return bool(self._delivery.mailbox)

    def _has_hint_or_changed(self, was_delivering: bool) -> bool:
        return self._hints.are_there or self._watch.delivering is not was_delivering


def check_callback(callback: object, may_be_async: bool = False) -> None:
    """Refuse what cannot be called with a notification; see `pgnotify.limits.check_runs`.

    Raises:
        TypeError: it cannot be called, or a call of it runs nothing.
    """
    if not callable(callback):
        raise TypeError(f"callback must take a notification, not be {callback!r}")
    check_runs("callback", callback, may_be_async, "pgnotify.AsyncListener")
