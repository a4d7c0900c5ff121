"""Reports the events of a Listener's loop to the user: on_listening, on_error, the log, the counters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pgnotify.errors import TransactionError
from pgnotify.listener import events
from pgnotify.listener.gap import Gap, Listening
from pgnotify.listener.log import Log, text_of
from pgnotify.listener.observer import Observed
from pgnotify.listener.options import Options
from pgnotify.listener.status import Counters
from pgnotify.listener.subscriptions import Routes, Subscription
from pgnotify.listener.watch import ListenerWatch
from pgnotify.notification import Notification
from pgnotify.program.interruption import is_interruption
from pgnotify.program.state import ListenerState
from pgnotify.protocol import Backend, Health, connection_of


class Reporter:
    """Tells the user of events. It is called in the reading thread, except where a method says otherwise.

    Args:
        options: the listener's, with the user's callbacks.
        watch: the loop's memory.
        routes: knows which channel is the listener's own, and hidden from the user.
        changed: called after each change that another thread may wait for.
    """

    def __init__(self, options: Options, watch: ListenerWatch, routes: Routes, changed: Callable[[], None]) -> None:
        self._on_listening = options.on_listening
        self._on_error = options.on_error
        self._watch = watch
        self._routes = routes
        self.changed = changed
        """Called after each change that another thread may wait for."""
        self.observed = Observed(options.title, options.observer, routes.internal_channel)
        """Calls the user's observer."""
        self.counters = Counters(self.observed)
        self.log = Log(options.title)
        self.raised: Exception | None = None
        """The error that was raised to end the listener, because on_error is ``"raise"``."""
        self.has_failed = False
        """Whether any attempt to connect has ever failed."""
        self._is_new = False
        """Whether nothing was listened to on this connection yet."""
        self._has_listened = False

    def report(self, error: Exception, notification: Notification | None = None) -> None:
        """Tell the user of an error, in any thread, as on_error says. Raise the error if on_error is ``"raise"``.

        Args:
            error: the error.
            notification: the one whose callback has raised it; None if it was not a callback.
        """
        if notification is not None:
            self.counters.callback_failed()
        if self._on_error == "raise":
            self.raised = error
            raise error
        if self._on_error is None:
            self.log.user_error(error, notification)
            return
        try:
            self._on_error(error, notification)
        except Exception as raised:
            if is_interruption(raised):
                raise
            self.log.on_error_failed(raised, error, notification)

    def dropped(
        self, count: int, channels: Sequence[str], slow: str, subscription: Subscription | None, was_empty: bool
    ) -> None:
        """Count notifications that a full queue has dropped, and log that this has begun; see `Log.dropped`.

        Args:
            count: how many; 0 if it has dropped none.
            channels: the channel of each of them.
            slow: says which code of the user's is too slow.
            subscription: the one whose queue it is; None if it is the iteration's.
            was_empty: whether the consumer of that queue had taken everything before.
        """
        self.log.dropped(count, channels, slow, subscription or self, was_empty)
        if count:
            self.counters.dropped += count
            self.observed.dropped(channels, subscription and (subscription.known_as or subscription))

    def tell(self, event: tuple[Any, ...]) -> object:
        """Log and count an event of the loop, and call on_listening and on_error; return the event's outcome."""
        match event:
            case events.Connecting():
                self.enter(ListenerState.CONNECTING)
            case events.Connected(health, told_pid, behind_pooler):
                self._is_new = True
                self.log.connected(behind_pooler, told_pid, None if health is None else health.server_pid)
                self._unchecked(health)
            case events.ListenInForce() as in_force:
                return self.call_on_listening(self.listen_in_force(in_force))
            case events.Lost() as lost:
                self._lost(lost)
            case events.Failed() as failed:
                self._failed(failed)
            case events.FailedForGood(error, attempt):
                self.counters.failed(text_of(error))
                self.observed.tell("connect_failed", error, attempt, None)
            case events.ListenIgnored(channels):
                self.log.listen_ignored(self._shown(channels))
                self.changed()
            case events.Refused(channel, error):
                self.log.refused(channel, error)
                self._report_if_wanted(error)
                self.changed()
            case events.StandsBy(name, stands_by):
                self.log.stands_by(name, stands_by)
                self.changed()
            case events.NotAcknowledged(name, error):
                self.log.not_acknowledged(name, error)
            case events.Checked() as checked:
                self._checked(checked)
            case events.Applied():
                self.changed()
            case events.Undecodable(error, size):
                self.log.undecodable(error)
                self.counters.undecodable(getattr(error, "channel", None), size)
                self.changed()
        return None

    def tell_of_overflow(self, gap: Gap, backend: Backend | None) -> None:
        """Call on_listening for a gap of our own queues when the loop is over. Any thread may call this.

        Args:
            gap: the gap.
            backend: of the connection; None if that has ended.
        """
        self.call_on_listening(self.overflow(gap, backend))

    def overflow(self, gap: Gap, backend: Backend | None) -> Listening:
        """Return the event that on_listening is called with for the gap of one of our own queues."""
        return Listening(gap.channels, None if backend is None else connection_of(backend), gap)

    def ended_by(self, error: BaseException) -> None:
        """Log the error that has ended the listener. Any thread may call this."""
        self.log.ended_by(error)

    def enter(self, state: ListenerState) -> None:
        """Record a state; see `Status.state`."""
        if self.counters.enter(state) and state is ListenerState.CLOSED:
            self.log.stopped()
        self.changed()

    def listen_in_force(self, event: events.ListenInForce) -> Listening | None:
        """Log and count a LISTEN; return the event for on_listening, None if the user is not to hear of it."""
        channels, gap = self._shown(event.channels), event.gap
        if gap is not None:
            gap = replace(gap, channels=self._shown(gap.channels))
        if channels or not event.channels:
            self.log.listening(event.channels, gap, self._watch.link.server_pid)
        self.counters.reconnects += self._is_new and self._has_listened
        self._is_new, self._has_listened = False, True
        self.enter(ListenerState.LISTENING)
        connection = None if event.backend is None else connection_of(event.backend)
        return Listening(channels, connection, gap) if channels else None

    def _shown(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(channel for channel in channels if channel != self._routes.internal_channel)

    def call_on_listening(self, event: Listening | None) -> bool:
        """Call on_listening, if there is an event for it; return False if it has failed."""
        if self._on_listening is not None and event is not None:
            try:
                self._on_listening(event)
            except Exception as error:
                if is_interruption(error):
                    raise
                self.report(error)
                return False
        self.listening_told(event)
        return True

    def listening_told(self, event: Listening | None) -> None:
        """Count the gap that the user was told of by now, if the event has one."""
        if event is not None:
            if event.gap is not None:
                self.counters.gap_announced(event.gap)
            self.changed()

    def _lost(self, event: events.Lost) -> None:
        if self._watch.stop_requested:
            return
        self.counters.failed(text_of(event.error))
        self.log.lost(event.error, event.reason, event.delay)
        self.has_failed = self.has_failed or bool(event.delay)
        if isinstance(event.error, TransactionError):
            self._report_if_wanted(event.error)
        if event.delay is None:
            self.enter(ListenerState.LOST)
        elif event.delay:
            self.enter(ListenerState.BACKING_OFF)

    def _failed(self, event: events.Failed) -> None:
        if self._watch.stop_requested:
            return
        self.counters.failed(text_of(event.error))
        self.log.failed(event.error, event.attempt, event.delay, event.permanent)
        self.observed.tell("connect_failed", event.error, event.attempt, event.delay)
        self.has_failed = True
        self.enter(ListenerState.BACKING_OFF)
        if event.permanent:
            self._report_if_wanted(event.error)

    def _checked(self, event: events.Checked) -> None:
        health = event.health
        if health is not None:
            if event.changed_from is not None:
                self.log.process_changed(event.changed_from, health.server_pid)
            if health.queue_usage is not None:
                self.log.queue_usage(health.queue_usage)
        self._unchecked(health)
        self.counters.checked(event.seconds, None if health is None else health.queue_usage, event.lag)
        self.changed()  # a thread may wait for `delivering` to change

    def _unchecked(self, health: Health | None) -> None:
        """Record and log the values that the server's answer does not have, because the role may not ask for them."""
        reasons = {} if health is None else dict(health.unchecked)
        self.log.unchecked(reasons)
        self.counters.unchecked = tuple(reasons)

    def _report_if_wanted(self, error: Exception) -> None:
        """Pass an error that is already logged to on_error, if the user has one."""
        if self._on_error is not None:
            self.report(error)
