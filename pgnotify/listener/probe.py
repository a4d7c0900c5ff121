"""Whether notifications arrive, found out: one is sent from a second session."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Literal, NamedTuple, Protocol

from pgnotify.connecting.socket_handle import SocketHandle
from pgnotify.connecting.source import Source
from pgnotify.listener.status import Status
from pgnotify.listener.subscriptions import Subscription
from pgnotify.notification import Notification
from pgnotify.protocol import Backend, HasDescriptor


class Probe(NamedTuple):
    """What `Listener.probe` returns."""

    delivering: Literal["yes", "no", "unknown"]
    """Whether a notification from another session arrives."""
    reason: str
    """Why, in words."""
    seconds: float | None
    """How long it took to arrive; None if it did not."""


class Probed(Protocol):
    """What is asked of a listener here."""

    @property
    def delivering(self) -> bool:
        """See `Status.delivering`."""

    def status(self) -> Status:
        """See `Listener.status`."""

    def subscribe_internally(self, callback: Callable[[Notification], object]) -> Subscription:
        """Subscribe to a channel that is nobody else's, without telling the user."""

    def changed(self) -> None:
        """Have all that wait look again."""

    def wait_until(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        """Return as soon as the predicate is true; read meanwhile if nobody does."""


def probe(listener: Probed, source: Source, timeout: float) -> Probe:
    """Listen to a channel of our own, and notify it from a second session.

    Only a second session, and a listener that does nothing else, prove anything: behind a pooler what a session sends
    to itself may arrive though nothing else does.
    """
    if not source.can_reconnect:
        return Probe("unknown", "the listener was given a connection, so that no second session can be opened", None)
    if not listener.delivering and not listener.status().behind_pooler:
        return Probe("no", "the listener is not connected at the moment", None)
    attempt = _Attempt(listener.changed)
    with listener.subscribe_internally(attempt.take) as subscription:
        if not subscription.wait_listening(timeout):
            return Probe("no", f"the server has not answered a LISTEN within {timeout:g} s", None)
        return _send_and_see(listener, source, subscription.channel, attempt, timeout)


class _Attempt:
    """What is sent, so that it is not taken for that of another probe at the same time, and what becomes of it.

    Args:
        changed: called when something has.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.payload = secrets.token_hex(8)
        self.sent = self.arrived = False
        self.error: Exception | None = None
        self._changed = changed

    def send(self, source: Source, channel: str, timeout: float) -> None:
        """Open the second session and send; in a thread of its own."""
        try:
            with closing(source.open_another()) as second:
                _notify(second, channel, self.payload, timeout)
                self.sent = True
        except Exception as error:
            self.error = error
        self._changed()

    def take(self, notification: Notification) -> None:
        """Look whether it is what was sent."""
        if notification.payload == self.payload:
            self.arrived = True
            self._changed()


def _send_and_see(listener: Probed, source: Source, channel: str, attempt: _Attempt, timeout: float) -> Probe:
    started = time.monotonic()
    # In a thread of its own: no driver lets go of an attempt to connect that is under way.
    threading.Thread(target=attempt.send, args=(source, channel, timeout), name="pgnotify probing", daemon=True).start()
    listener.wait_until(lambda: attempt.arrived or attempt.error is not None, started + timeout)
    if attempt.arrived:
        return Probe("yes", "a notification from a second session has arrived", time.monotonic() - started)
    if attempt.error is not None:
        return Probe("unknown", f"the second session failed: {type(attempt.error).__name__}: {attempt.error}", None)
    if not attempt.sent:
        return Probe("unknown", f"the second session has not sent anything within {timeout:g} s", None)
    if listener.status().behind_pooler:
        reason = (
            "a pooler is in between, and nothing arrives: it lends server connections for a transaction at a time. "
            "Listen through its session mode, or connect to the server itself"
        )
        return Probe("no", reason, None)
    return Probe("no", f"nothing has arrived within {timeout:g} s of a NOTIFY from a second session", None)


def _notify(second: Backend, channel: str, payload: str, timeout: float) -> None:
    if not isinstance(second, HasDescriptor):
        second.notify(channel, payload)
        return
    with SocketHandle(second.fileno()) as socket_handle, socket_handle.deadline(timeout):
        second.notify(channel, payload)
