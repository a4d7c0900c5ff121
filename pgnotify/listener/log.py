"""The log of a Listener: one line for each change of state, and one warning for each thing that must be mended.

A warning that something may repeat without end, such as a callback or a server, goes through `repeats`.

The logger is ``pgnotify.listener``, also for an `AsyncListener`. Each of its records has four fields besides those of
`logging`, for filters and for formatters that write JSON. A field that the line is not about is None.

- ``listener`` (str): the name of the listener, with which the line begins.
- ``channel`` (str): the channel that the line is about, if it is about one only.
- ``attempt`` (int): how many attempts to connect have failed in a row, for a line about such an attempt.
- ``gap`` (`Gap`): the gap that ends with this line, with its channels.

No line and no field has a payload or a secret. Only errors of your own code are shown as they are. The page on the log,
in the reference, has all messages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from itertools import islice
from typing import Any

from pgnotify.atomic import WeakSet
from pgnotify.errors import Unanswered, UndecodablePayload
from pgnotify.listener.failure import OnListeningFailed
from pgnotify.listener.gap import Gap, Reason
from pgnotify.listener.repeats import Repeats, log, write
from pgnotify.notification import Notification
from pgnotify.program.ownership import is_held_here

# Parts of the server's notification queue. At half it is urgent: when the queue is full, every NOTIFY fails at commit.
QUEUE_USAGES_TO_WARN_OF = (0.5, 0.1)

SHOWN_CHANNELS = 10  # in one line; there may be tens of thousands

# By the fields of `pgnotify.protocol.Health`.
_FOUND_OUT = {
    "in_recovery": "whether the server has become a standby",
    "queue_usage": "how full its notification queue is",
    "server_pid": "whether a pooler is in between",
    "channels": "whether it still listens to the channels",
}


class Log:
    """Writes the log of one listener. Each line begins with its name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lost_since: float | None = None
        self._behind_pooler = False
        self._process_changed = False
        """Whether two different server processes have answered on this connection."""
        self._undecodable = False
        """Whether a notification on this connection could not be decoded."""
        self._listen_ignored = False
        """Whether the server has ignored a LISTEN on this connection."""
        self._unchecked: Set[str] = frozenset()
        """The values that the heartbeat does without."""
        self._dropping: WeakSet[object] = WeakSet()
        """The queues that have dropped notifications since they were last empty."""
        self._repeats = Repeats(name)
        self._usage_warned_of = 0.0

    def _write(self, level: int, message: str, *arguments: object, **about: Any) -> None:
        write(level, self._name, message, *arguments, **about)

    def connected(self, behind_pooler: bool, told: int | None, answering: int | None) -> None:
        """Warn of a pooler, unless the previous connection had one, too.

        Args:
            behind_pooler: whether there is one.
            told: the server process that was reported to the driver; None if that is not known.
            answering: the server process that has answered; None if that is not known.
        """
        self._process_changed = self._undecodable = self._listen_ignored = False
        if behind_pooler and not self._behind_pooler:
            self._write(
                logging.WARNING,
                "a pooler is in between: server process %s answers, but the driver connected to process %s. If the "
                "pooler is in transaction mode, nothing arrives, without any error; Listener.probe() finds out",
                answering,
                told,
            )
        self._behind_pooler = behind_pooler

    def listening(self, channels: tuple[str, ...], gap: Gap | None, server_pid: int | None) -> None:
        """Say that LISTEN is in force, and from which period notifications may be missing."""
        about: dict[str, Any] = {"channel": _only(channels), "gap": gap}
        what = repr(channels[0]) if len(channels) == 1 else f"{len(channels)} channels"
        if gap is None:
            self._write(logging.INFO, "listening to %s, server process %s", what, server_pid, **about)
        elif gap.reason is Reason.UNDECODABLE:
            self._write(logging.INFO, "one notification of %s could not be decoded, and is lost", what, **about)
        elif gap.reason is Reason.QUEUE_OVERFLOW:
            message = "%d notifications of %s were dropped: a queue was full"
            self._repeats.log(logging.WARNING, ("dropped", what), message, gap.dropped, what, **about)
        else:
            self._repeats.log(
                logging.WARNING,
                ("listening again", gap.reason),
                "listening again to %s after %.2f s, server process %s; "
                "notifications sent from %s to %s may be missing: %s",
                what,
                time.monotonic() - self._lost_since if self._lost_since else 0.0,
                server_pid,
                gap.lost_at.isoformat(),
                gap.restored_at.isoformat(),
                gap.reason,
                **about,
            )

    def lost(self, error: Exception, reason: Reason, delay: float | None) -> None:
        """Say that a connection is lost, and when the next attempt follows: in ``delay`` seconds, never if None."""
        self._lost_since = time.monotonic()
        what = "on_listening has failed" if isinstance(error, OnListeningFailed) else f"{reason}: {text_of(error)}"
        self._repeats.log(logging.WARNING, ("lost", reason), "%s; connecting again %s", what, _in(delay))

    def failed(self, error: Exception, attempt: int, delay: float, permanent: bool) -> None:
        """Say that an attempt to connect has failed. It is logged as an error if something must be changed."""
        level = logging.ERROR if permanent else logging.WARNING
        message = "attempt %d to connect failed: %s; next attempt %s"
        kind = ("failed", type(error))
        self._repeats.log(level, kind, message, attempt, text_of(error), _in(delay), attempt=attempt)

    def refused(self, channel: str, error: Exception) -> None:
        """Say that the server refuses a channel."""
        self._write(logging.ERROR, "the server refuses to listen to %r: %s", channel, text_of(error), channel=channel)

    def unchecked(self, reasons: Mapping[str, str]) -> None:
        """Warn of the values that the heartbeat does without, unless that is known already.

        Args:
            reasons: the server's reason for each of them, by the name of the field of `pgnotify.protocol.Health`.
        """
        if reasons and reasons.keys() != self._unchecked:
            self._write(
                logging.WARNING,
                "the heartbeat does without some answers, because the role may not call a function. It no longer "
                "finds out %s",
                "; ".join(f"{_FOUND_OUT[name]} ({reason})" for name, reason in reasons.items()),
            )
        self._unchecked = frozenset(reasons)

    def process_changed(self, before: int | None, now: int | None) -> None:
        """Warn, once for each connection, that first one server process answered and now another one does."""
        if self._process_changed:
            return
        self._process_changed = True
        self._write(
            logging.WARNING,
            "server process %s answers, and before it process %s did: a pooler lends server connections for one "
            "transaction at a time, so no notification arrives. Listen through its session mode, or connect to the "
            "server itself",
            now,
            before,
        )

    def listen_ignored(self, channels: tuple[str, ...]) -> None:
        """Warn, once for each connection, that the server does not listen to channels although it has accepted LISTEN.

        Args:
            channels: the channels; none if it listens to all again.
        """
        if not channels or self._listen_ignored:
            return
        self._listen_ignored = True
        self._write(
            logging.WARNING,
            "the server accepts LISTEN for %s without an error, and does not listen: nothing arrives. Two "
            "heartbeats in a row have found that. Something in between answers for the server, or somebody unlistens "
            "on this connection. Connect to the server itself",
            _names(channels),
            channel=_only(channels),
        )

    def stands_by(self, subscription: str, stands_by: bool) -> None:
        """Say whether this process reads for a durable subscription, or another one does."""
        if stands_by:
            self._write(logging.INFO, "another process reads the subscription %r; standing by", subscription)
        else:
            self._write(logging.INFO, "reading the subscription %r", subscription)

    def not_acknowledged(self, subscription: str, error: Exception | None) -> None:
        """Warn that the messages that were delivered last come again; see `events.NotAcknowledged`."""
        why = "another process has taken over" if error is None else text_of(error)
        message = "messages of the subscription %r are not acknowledged, and come again: %s"
        self._repeats.log(logging.WARNING, "not acknowledged", message, subscription, why)

    def queue_usage(self, usage: float) -> None:
        """Warn once when the usage, from 0 to 1, passes a mark; again only if it has fallen below that mark."""
        passed = next((mark for mark in QUEUE_USAGES_TO_WARN_OF if usage >= mark), 0.0)
        if passed > self._usage_warned_of:
            self._repeats.log(
                logging.WARNING,
                "usage",
                "the server's notification queue is %.0f %% full; once it is full, no transaction that notifies "
                "can commit. A session that listens but does not read, or is idle in a transaction, keeps it from "
                "shrinking",
                usage * 100,
            )
        self._usage_warned_of = passed

    def undecodable(self, error: Exception) -> None:
        """Warn, once for each connection, that notifications are lost because the driver cannot decode them."""
        if not self._undecodable:
            # Its message does not show the payload. Another error's may.
            why = error if isinstance(error, UndecodablePayload) else type(error).__name__
            self._write(
                logging.WARNING, "a notification could not be decoded: %s", why, channel=getattr(error, "channel", None)
            )
        self._undecodable = True

    def dropped(self, dropped: int, channels: Iterable[str], slow: str, queue: object, was_empty: bool) -> None:
        """Warn that a full queue has begun to drop, once until it has been empty.

        Args:
            dropped: how many notifications; 0 if none.
            channels: the channels of these notifications.
            slow: says which code of the user's is too slow.
            queue: the queue.
            was_empty: whether its consumer had taken everything before.
        """
        if was_empty:
            self._dropping.discard(queue)
        if dropped and queue not in self._dropping:
            self._dropping.add(queue)
            message = "a queue is full, and notifications of %s are dropped: %s"
            dropped_of = tuple(dict.fromkeys(channels))
            names = _names(dropped_of)
            self._repeats.log(logging.WARNING, ("full", names), message, names, slow, channel=_only(dropped_of))

    def user_error(self, error: Exception, notification: Notification | None) -> None:
        """Log an error of the user's code with its traceback."""
        code = _code_of(notification)
        kind = (notification is None, *_origin_of(error))  # not the channel: one callback may have thousands of them
        channel = notification and notification.channel
        self._repeats.log(logging.ERROR, kind, "%s failed", code, exc_info=error, channel=channel)

    def on_error_failed(self, raised: Exception, error: Exception, notification: Notification | None) -> None:
        """Log the error that on_error has raised, and the error that on_error was called with."""
        # Not its repr(): that of a UnicodeError shows the whole payload.
        code, text = _code_of(notification), text_of(error)
        kind = ("on_error", *_origin_of(raised))
        message, channel = "on_error failed on an error of %s: %s", notification and notification.channel
        self._repeats.log(logging.ERROR, kind, message, code, text, exc_info=raised, channel=channel)

    def lock_is_held_here(self) -> bool:
        """Return whether this thread is about to write a line. If so, it is in a signal handler."""
        return self._repeats.lock_is_held_here()

    def forget_in_child(self) -> None:
        """Forget the lines that were left out. Called in the child after a fork."""
        self._repeats.forget_in_child()

    def inherited(self, refusal: BaseException) -> None:
        """Warn in a forked child that it does not have what its parent has."""
        self._write(logging.WARNING, "no notification arrives in this process: %s", refusal)

    def stopped(self) -> None:
        """Say that the listener was stopped."""
        self._repeats.close()
        self._write(logging.INFO, "stopped")

    def ended_by(self, error: BaseException) -> None:
        """Log the error that has ended the listener, because its own thread has no caller to raise it to."""
        self._write(logging.ERROR, "the listener has ended", exc_info=error)


def is_writing_here() -> bool:
    """Return whether this thread is writing a log, ours or another one with the same handlers.

    If so, it is in a signal handler, and all other threads that log wait for it.
    """
    logger: logging.Logger | None = log
    while logger is not None:
        if any(is_held_here(handler.lock) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _origin_of(error: BaseException) -> tuple[object, ...]:
    """Return what the errors of one place have in common: their class, and the place."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return (type(error),)
    return type(error), traceback.tb_frame.f_code.co_filename, traceback.tb_lineno


def _names(channels: Collection[str]) -> str:
    """Return the names of channels in one short line."""
    shown = ", ".join(map(repr, islice(channels, SHOWN_CHANNELS)))
    return shown if len(channels) <= SHOWN_CHANNELS else f"{shown} and {len(channels) - SHOWN_CHANNELS} more"


def _only(channels: Sequence[str]) -> str | None:
    return channels[0] if len(channels) == 1 else None


def text_of(error: BaseException) -> str:
    """Return an error and its cause in one line."""
    text = f"{type(error).__name__}: {_message_of(error)}"
    cause = error.__cause__
    # After we have shut down the socket ourselves, the driver's error would be misleading.
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
