"""What a Listener has to say besides notifications: on_listening, on_error, the log, the counts, the observer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

from pgnotify.errors import TransactionError, Unanswered
from pgnotify.listener import events as news
from pgnotify.listener.gap import Gap, Listening, Reason, utc
from pgnotify.listener.loop import OnListeningFailed
from pgnotify.listener.runner import ReconnectingRunner
from pgnotify.listener.status import Observer
from pgnotify.listener.subscriptions import Routes
from pgnotify.listener.watch import ListenerWatch
from pgnotify.notification import Notification, Plain
from pgnotify.protocol import Health, server_pid_of

log = logging.getLogger("pgnotify.listener")

OnListening: TypeAlias = Callable[[Listening], object]
OnError: TypeAlias = Callable[[Exception, Notification | None], object] | Literal["raise"]

# Of the server's notification queue. From the second on it is urgent: when it is full, every NOTIFY fails at commit.
QUEUE_USAGES_TO_WARN_OF = (0.5, 0.1)


class Reporter:
    """Tells the user, in the reading thread, but for what is said to be for others too.

    Args:
        name: the listener's, in the logs.
        watch: its memory.
        runner: has the connection.
        routes: knows which channels are none of the user's business.
        on_listening: the user's, or None.
        on_error: the user's; None logs.
        observer: the user's, or None.
        changed: called after whatever somebody may be waiting for.
    """

    def __init__(
        self,
        name: str,
        watch: ListenerWatch,
        runner: ReconnectingRunner,
        routes: Routes,
        on_listening: OnListening | None,
        on_error: OnError | None,
        observer: Observer | None,
        changed: Callable[[], None],
    ) -> None:
        self._name = name
        self._watch = watch
        self._runner = runner
        self._routes = routes
        self._on_listening = on_listening
        self._on_error = on_error
        self._observer = observer
        self.changed = changed
        """Called after whatever somebody may be waiting for."""
        self.notifications = self.bytes = self.dropped = self.gaps = self.reconnects = 0
        """The counts of `Status`."""
        self.latest_gap: Gap | None = None
        self.round_trip: float | None = None
        self.queue_usage: float | None = None
        self.state = "idle"
        self.since = _now()
        self.last_error: str | None = None
        """The latest loss or failed attempt, in words."""
        self.raised: Exception | None = None
        """What was raised because the user wanted that to end the listener."""
        self._lost_since: float | None = None
        self.has_failed = False
        """Whether an attempt to connect has failed, ever."""
        self._is_new = False
        """Whether the connection is one on which nothing was listened to yet."""
        self._has_listened = False
        self._has_changed = False
        """Whether another process has answered on this connection than before."""
        self._is_dropping = False
        self._warned_of = 0.0

    def report(self, error: Exception, notification: Notification | None = None) -> None:
        """Tell the user of an error, as they wanted it; in any thread. Raise it if that is what they wanted."""
        if self._on_error == "raise":
            self.raised = error
            raise error
        what = "on_listening" if notification is None else f"the callback for {notification.channel!r}"
        if self._on_error is None:
            log.error("%s: %s failed", self._name, what, exc_info=error)
            return
        try:
            self._on_error(error, notification)
        except Exception:
            log.exception("%s: on_error failed, with what %s had raised: %r", self._name, what, error)

    def count(self, plains: Sequence[Plain]) -> None:
        """Count what has come in; before it is shared out, or as far as it was delivered."""
        # Joined first: to encode each would take three times as long.
        size = len("".join([plain[1] for plain in plains]).encode("utf-8", "surrogateescape"))
        self.notifications += len(plains)
        self.bytes += size
        if self._observer is not None:
            self._observe(self._observer.received, len(plains), size)

    def count_dropped(self, dropped: int, channels: Iterable[str], slow: str) -> None:
        """Count what a full queue has dropped, and log once that it has begun.

        Args:
            dropped: how many; 0 ends it.
            channels: which were in the queue's way.
            slow: who should have been quicker.
        """
        if dropped and not self._is_dropping:
            names = ", ".join(map(repr, dict.fromkeys(channels)))
            log.warning("%s: a queue is full, and notifications of %s are dropped: %s", self._name, names, slow)
        self._is_dropping = bool(dropped)
        self.dropped += dropped

    def tell(self, what: tuple[Any, ...]) -> object:
        """Log and count what the loop says has happened, and call the user's on_listening and on_error."""
        match what:
            case news.Connecting():
                self.enter("connecting")
            case news.Connected(health):
                return self._connected(health)
            case news.ListenInForce() as in_force:
                return self._listen_in_force(in_force)
            case news.Lost(error, reason, delay):
                self._lost(error, reason, delay)
            case news.Failed(error, attempt, delay, permanent):
                self._failed(error, attempt, delay, permanent)
            case news.Refused(channel, error):
                log.error("%s: the server refuses to listen to %r: %s", self._name, channel, _text(error))
                if self._on_error is not None:
                    self.report(error)
                self.changed()
            case news.Checked(health, seconds):
                self._checked(health, seconds)
        return None

    def ended_by(self, error: BaseException) -> None:
        """Log what has ended the listener, since its own thread can raise it nowhere."""
        log.error("%s: the listener has ended", self._name, exc_info=error)

    def enter(self, state: str) -> None:
        """Take note of a state; see `Status.state`."""
        if state != self.state:
            self.state, self.since = state, _now()
            if state == "closed":
                log.info("%s: stopped", self._name)
            if self._observer is not None:
                self._observe(self._observer.state_changed, state)
        self.changed()

    def _connected(self, health: Health | None) -> bool:
        """Log once if a pooler is in between; return whether it is."""
        self._is_new, self._has_changed = True, False
        told = server_pid_of(self._runner.backend)
        behind_pooler = health is not None and told not in (None, health.server_pid)
        if behind_pooler and not self._watch.behind_pooler:
            log.warning(
                "%s: a pooler is in between: process %s answers, and %s was connected to. In its transaction mode no "
                "notification arrives, without an error; Listener.probe() finds out",
                self._name,
                health and health.server_pid,
                told,
            )
        return behind_pooler

    def _listen_in_force(self, told: news.ListenInForce) -> bool:
        """Call on_listening; return whether it has not failed."""
        internal = self._routes.internal_channel
        channels = tuple(channel for channel in told.channels if channel != internal)
        gap = told.gap and replace(told.gap, channels=tuple(name for name in told.gap.channels if name != internal))
        if channels or not told.channels:
            self._log_listening(told)
        self._count_connection()
        self.enter("listening")
        return not channels or self._call_on_listening(Listening(channels, self._runner.connection, gap))

    def tell_of_overflow(self, gap: Gap, connection: object) -> None:
        """Call on_listening for a gap of our own queues, when there is no connection any more."""
        self._call_on_listening(Listening(gap.channels, connection, gap))

    def _call_on_listening(self, event: Listening) -> bool:
        if self._on_listening is not None:
            try:
                self._on_listening(event)
            except Exception as error:
                self.report(error)
                return False
        if event.gap is not None:
            self._count_gap(event.gap)
        self.changed()
        return True

    def _count_connection(self) -> None:
        self.reconnects += self._is_new and self._has_listened
        self._is_new, self._has_listened = False, True

    def _count_gap(self, gap: Gap) -> None:
        self.latest_gap = gap
        self.gaps += 1
        if self._observer is not None:
            self._observe(self._observer.gap_announced, gap)

    def _log_listening(self, told: news.ListenInForce) -> None:
        what = repr(told.channels[0]) if len(told.channels) == 1 else f"{len(told.channels)} channels"
        gap = told.gap
        if gap is None:
            log.info("%s: listening to %s, server process %s", self._name, what, self._watch.server_pid)
        elif gap.reason is Reason.QUEUE_OVERFLOW:
            log.warning("%s: %d notifications of %s were dropped, a queue was full", self._name, gap.dropped, what)
        else:
            log.warning(
                "%s: listening again to %s after %.2f s, server process %s; "
                "what was sent from %s to %s may be missing: %s",
                self._name,
                what,
                time.monotonic() - self._lost_since if self._lost_since else 0.0,
                self._watch.server_pid,
                gap.lost_at.isoformat(),
                gap.restored_at.isoformat(),
                gap.reason,
            )

    def _lost(self, error: Exception, reason: Reason, delay: float | None) -> None:
        if self._watch.stop_requested:
            return
        self.last_error = _text(error)
        self._lost_since = time.monotonic()
        what = "on_listening has failed" if isinstance(error, OnListeningFailed) else f"{reason}: {self.last_error}"
        log.warning("%s: %s; connecting again %s", self._name, what, _in(delay))
        self.has_failed = self.has_failed or bool(delay)
        if isinstance(error, TransactionError) and self._on_error is not None:
            self.report(error)
        if delay is None:
            self.enter("lost")
        elif delay:
            self.enter("backing off")

    def _failed(self, error: Exception, attempt: int, delay: float, permanent: bool) -> None:
        if self._watch.stop_requested:
            return
        self.last_error = _text(error)
        log.log(
            logging.ERROR if permanent else logging.WARNING,
            "%s: attempt %d to connect failed: %s; the next %s",
            self._name,
            attempt,
            self.last_error,
            _in(delay),
        )
        self.has_failed = True
        self.enter("backing off")
        if permanent and self._on_error is not None:
            self.report(error)

    def _checked(self, health: Health | None, seconds: float) -> None:
        self.round_trip = seconds
        self.queue_usage = None
        if health is not None:
            self.queue_usage = health.queue_usage
            self._warn_of_change(health.server_pid)
            self._warn_of_full_queue(health.queue_usage)
        if self._observer is not None:
            self._observe(self._observer.checked, seconds, self.queue_usage)

    def _warn_of_change(self, server_pid: int) -> None:
        """Log that a connection is answered by one process and then by another: once for each connection."""
        if server_pid != self._watch.server_pid and not self._has_changed:
            self._has_changed = True
            log.warning(
                "%s: process %s answers, and before it %s did: a pooler lends server connections for a transaction at "
                "a time, and no notification arrives. Listen in its session mode, or past it",
                self._name,
                server_pid,
                self._watch.server_pid,
            )

    def _warn_of_full_queue(self, usage: float) -> None:
        """Log once that a mark was passed, and again when it was passed anew."""
        passed = next((mark for mark in QUEUE_USAGES_TO_WARN_OF if usage >= mark), 0.0)
        if passed > self._warned_of:
            log.warning(
                "%s: the server's notification queue is %.0f %% full; once it is full, no transaction that notifies "
                "commits. A session that listens and does not read, or is idle in a transaction, holds it back",
                self._name,
                usage * 100,
            )
        self._warned_of = passed

    def _observe(self, method: Callable[..., None], *facts: Any) -> None:
        try:
            method(self._name, *facts)
        except Exception:
            log.exception("%s: the observer failed", self._name)


def _text(error: BaseException) -> str:
    """Return the error, and what it comes from, in one line."""
    text = f"{type(error).__name__}: {_said(error)}"
    cause = error.__cause__
    # What comes of our own cutting of the connection misleads.
    if cause is not None and not isinstance(error, Unanswered) and _said(cause) not in text:
        text += f" ({_said(cause)})"
    return " ".join(text.split())


def _said(error: BaseException) -> str:
    fields = error.args[0] if error.args else None
    if isinstance(fields, dict) and "M" in fields:  # the fields of the server's message, as a driver hands them over
        return f"{fields['M']} ({fields.get('C')})"
    return str(error)


def _in(delay: float | None) -> str:
    if delay is None:
        return "is not possible"
    return f"in {delay:.2f} s" if delay else "at once"


def _now() -> datetime:
    return utc(time.time())
