"""What the log says of a Listener: one line for each change of state, once for each thing to mend."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from pgnotify.errors import Unanswered
from pgnotify.listener.failure import OnListeningFailed
from pgnotify.listener.gap import Gap, Reason
from pgnotify.notification import Notification

log = logging.getLogger("pgnotify.listener")

# Of the server's notification queue. From the second on it is urgent: when the queue is full, every NOTIFY fails at
# commit.
QUEUE_USAGES_TO_WARN_OF = (0.5, 0.1)


class Log:
    """Writes the lines of one listener, each of which begins with its name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lost_since: float | None = None
        self._behind_pooler = False
        self._process_changed = False
        """Whether another process has answered on this connection than before."""
        self._is_dropping = False
        self._usage_warned_of = 0.0

    def connected(self, behind_pooler: bool, told: int | None, answering: int | None) -> None:
        """Warn of a pooler, unless the connection before had one too.

        Args:
            behind_pooler: whether there is one.
            told: the server process that the driver was told it is connected to.
            answering: the server process that has answered.
        """
        self._process_changed = False
        if behind_pooler and not self._behind_pooler:
            log.warning(
                "%s: a pooler is in between: process %s answers, and %s was connected to. In its transaction mode no "
                "notification arrives, without an error; Listener.probe() finds out",
                self._name,
                answering,
                told,
            )
        self._behind_pooler = behind_pooler

    def listening(self, channels: tuple[str, ...], gap: Gap | None, server_pid: int | None) -> None:
        """Say that LISTEN is in force, and what may be missing."""
        what = repr(channels[0]) if len(channels) == 1 else f"{len(channels)} channels"
        if gap is None:
            log.info("%s: listening to %s, server process %s", self._name, what, server_pid)
        elif gap.reason is Reason.QUEUE_OVERFLOW:
            log.warning("%s: %d notifications of %s were dropped, a queue was full", self._name, gap.dropped, what)
        else:
            log.warning(
                "%s: listening again to %s after %.2f s, server process %s; "
                "notifications sent from %s to %s may be missing: %s",
                self._name,
                what,
                time.monotonic() - self._lost_since if self._lost_since else 0.0,
                server_pid,
                gap.lost_at.isoformat(),
                gap.restored_at.isoformat(),
                gap.reason,
            )

    def lost(self, error: Exception, reason: Reason, delay: float | None) -> None:
        """Say that a connection is lost, and when the next attempt follows."""
        self._lost_since = time.monotonic()
        what = "on_listening has failed" if isinstance(error, OnListeningFailed) else f"{reason}: {text_of(error)}"
        log.warning("%s: %s; connecting again %s", self._name, what, _in(delay))

    def failed(self, error: Exception, attempt: int, delay: float, permanent: bool) -> None:
        """Say that an attempt to connect has failed, as an error if something must be changed."""
        level = logging.ERROR if permanent else logging.WARNING
        message = "%s: attempt %d to connect failed: %s; the next %s"
        log.log(level, message, self._name, attempt, text_of(error), _in(delay))

    def refused(self, channel: str, error: Exception) -> None:
        """Say that the server refuses a channel."""
        log.error("%s: the server refuses to listen to %r: %s", self._name, channel, text_of(error))

    def process_changed(self, before: int, now: int) -> None:
        """Warn, once for each connection, that one server process answers and then another."""
        if self._process_changed:
            return
        self._process_changed = True
        log.warning(
            "%s: process %s answers, and before it %s did: a pooler lends server connections for a transaction at "
            "a time, and no notification arrives. Listen in its session mode, or past it",
            self._name,
            now,
            before,
        )

    def queue_usage(self, usage: float) -> None:
        """Warn once that a mark was passed, and again when it was passed again."""
        passed = next((mark for mark in QUEUE_USAGES_TO_WARN_OF if usage >= mark), 0.0)
        if passed > self._usage_warned_of:
            log.warning(
                "%s: the server's notification queue is %.0f %% full; once it is full, no transaction that notifies "
                "commits. A session that listens and does not read, or is idle in a transaction, holds it back",
                self._name,
                usage * 100,
            )
        self._usage_warned_of = passed

    def dropped(self, dropped: int, channels: Iterable[str], slow: str) -> None:
        """Warn once that a full queue has begun to drop.

        Args:
            dropped: how many; 0 ends it.
            channels: of the notifications.
            slow: what should have been quicker.
        """
        if dropped and not self._is_dropping:
            names = ", ".join(map(repr, dict.fromkeys(channels)))
            log.warning("%s: a queue is full, and notifications of %s are dropped: %s", self._name, names, slow)
        self._is_dropping = bool(dropped)

    def user_error(self, error: Exception, notification: Notification | None) -> None:
        """Log an error of the user's code with its traceback."""
        log.error("%s: %s failed", self._name, _code_of(notification), exc_info=error)

    def on_error_failed(self, error: Exception, notification: Notification | None) -> None:
        """Log, while it is handled, an error that on_error raised when it was told of another one."""
        log.exception("%s: on_error failed, with what %s had raised: %r", self._name, _code_of(notification), error)

    def stopped(self) -> None:
        """Say that the listener was stopped."""
        log.info("%s: stopped", self._name)

    def ended_by(self, error: BaseException) -> None:
        """Say what has ended the listener, since its own thread can raise it nowhere."""
        log.error("%s: the listener has ended", self._name, exc_info=error)


def text_of(error: BaseException) -> str:
    """Return an error and its cause in one line."""
    text = f"{type(error).__name__}: {_message_of(error)}"
    cause = error.__cause__
    # The driver's error after we have shut down the socket ourselves would mislead.
    if cause is not None and not isinstance(error, Unanswered) and _message_of(cause) not in text:
        text += f" ({_message_of(cause)})"
    return " ".join(text.split())


def _message_of(error: BaseException) -> str:
    fields = error.args[0] if error.args else None
    if isinstance(fields, dict) and "M" in fields:  # the fields of the server's message, as one driver raises them
        return f"{fields['M']} ({fields.get('C')})"
    return str(error)


def _code_of(notification: Notification | None) -> str:
    return "on_listening" if notification is None else f"the callback for {notification.channel!r}"


def _in(delay: float | None) -> str:
    if delay is None:
        return "is not possible"
    return f"in {delay:.2f} s" if delay else "at once"
