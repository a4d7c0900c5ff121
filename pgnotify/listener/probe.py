"""Find out whether notifications arrive, by sending one from a second session."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from pgnotify.connecting.socket_handle import SocketHandle
from pgnotify.connecting.source import AnySource, Source
from pgnotify.listener.status import Status
from pgnotify.listener.subscriptions import Subscription
from pgnotify.notification import Notification
from pgnotify.program.state import ListenerState
from pgnotify.protocol import Backend, HasDescriptor
from pgnotify.threads import background


class Probe(NamedTuple):
    """The result of `Listener.probe`."""

    delivering: Literal["yes", "no", "unknown"]
    """Whether a notification from another session arrives."""
    reason: str
    """Why, in words."""
    seconds: float | None
    """How many seconds it took to arrive; None if it did not arrive."""


class Probed(Protocol):
    """The part of a listener that is used here."""

    @property
    def delivering(self) -> bool:
        """See `Status.delivering`."""

    def status(self) -> Status:
        """See `Listener.status`."""

    def subscribe_internally(self, callback: Callable[[Notification], object]) -> Subscription:
        """Subscribe to a channel that nobody else uses, without telling the user."""

    def changed(self) -> None:
        """Have all waiting threads check again."""

    def wait_until(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until the predicate is true; read while waiting if no other thread does."""


def probe(listener: Probed, source: Source, timeout: float) -> Probe:
    """Listen to a channel of our own, and notify it from a second session.

    Only a second session proves anything, and only while the listener does nothing else. Behind a pooler, notifications
    that a session sends to itself may arrive although no others do.

    Args:
        listener: the listener.
        source: where its connections come from.
        timeout: seconds for the LISTEN, and for the notification.
    """
    if (early := refusal(source, listener.status())) is not None:
        return early
    attempt = ProbeAttempt(listener.changed)
    with listener.subscribe_internally(attempt.take) as subscription:
        if not subscription.wait_listening(timeout):
            return no_answer(timeout)
        return _send_and_see(listener, source, subscription.channel, attempt, timeout)


def refusal(source: AnySource, status: Status) -> Probe | None:
    """Return the result of a probe that cannot be made; None if it can."""
    if not source.can_reconnect:
        return Probe("unknown", "the listener was given a connection, so no second session can be opened", None)
    if not status.delivering and status.state is not ListenerState.LISTENING:
        return Probe("no", "the listener is not connected at the moment", None)
    return None


def no_answer(timeout: float) -> Probe:
    """Return the result of a probe whose LISTEN the server has not answered."""
    return Probe("no", f"the server has not answered a LISTEN within {timeout:g} s", None)


class ProbeAttempt:
    """The notification of one probe, and whether it has arrived. Its payload is random.

    So it cannot be mistaken for that of another probe at the same time.

    Args:
        changed: called after each change of the attributes.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.payload = secrets.token_hex(8)
        self.sent = self.arrived = False
        self.error: Exception | None = None
        self.changed = changed

    def send(self, source: Source, channel: str, timeout: float) -> None:
        """Open the second session and send. Called in a thread of its own."""
        try:
            second = source.open_another()
            try:
                _notify(second, channel, self.payload, timeout)
                self.sent = True
            finally:
                source.discard(second)
        except Exception as error:
            self.error = error
        self.changed()

    def is_over(self) -> bool:
        """Return whether it has arrived, or could not be sent."""
        return self.arrived or self.error is not None

    def take(self, notification: Notification) -> None:
        """Check whether a notification is the one that was sent."""
        if notification.payload == self.payload:
            self.arrived = True
            self.changed()


def _send_and_see(listener: Probed, source: Source, channel: str, attempt: ProbeAttempt, timeout: float) -> Probe:
    started = time.monotonic()
    # In a thread of its own: no driver can cancel an attempt to connect that is under way.
    background(attempt.send, "pgnotify probing", source, channel, timeout).start()
    listener.wait_until(attempt.is_over, started + timeout)
    return verdict(attempt, listener.status(), started, timeout)


def verdict(attempt: ProbeAttempt, status: Status, started: float, timeout: float) -> Probe:
    """Return the result of a probe.

    Args:
        attempt: its notification.
        status: of the listener.
        started: when it began, of the monotonic clock.
        timeout: how many seconds were waited for it.
    """
    if attempt.arrived:
        return Probe("yes", "a notification from a second session has arrived", time.monotonic() - started)
    if attempt.error is not None:
        return Probe("unknown", f"the second session failed: {type(attempt.error).__name__}: {attempt.error}", None)
    if not attempt.sent:
        return Probe("unknown", f"the second session has not sent anything within {timeout:g} s", None)
    if status.behind_pooler:
        reason = (
            "a pooler is in between, and nothing arrives: it lends server connections for one transaction at a time. "
            "Listen through its session mode, or connect to the server itself"
        )
        return Probe("no", reason, None)
    if status.ignored:
        return Probe("no", "the server accepts LISTEN without an error, and does not listen", None)
    return Probe("no", f"nothing has arrived within {timeout:g} s of a NOTIFY from a second session", None)


def _notify(second: Backend, channel: str, payload: str, timeout: float) -> None:
    if not isinstance(second, HasDescriptor):
        second.notify(channel, payload)
        return
    with SocketHandle(second.fileno()) as socket_handle, socket_handle.deadline(timeout):
        second.notify(channel, payload)
