"""The state and the counters of a Listener, for operators."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from operator import itemgetter
from threading import get_ident
from typing import Any

from pgnotify.listener.gap import Gap, utc
from pgnotify.listener.observer import Observed, size_of
from pgnotify.notification import Plain
from pgnotify.program.state import ListenerState, follow

_payload_of = itemgetter(1)


@dataclass(frozen=True, slots=True)
class Status:
    """The result of `Listener.status`: a snapshot of one moment."""

    name: str
    """The name in the logs, and the listener's name in the server's pg_stat_activity; "pgnotify" if it has none."""
    state: ListenerState
    """One of "idle" (not started), "connecting", "backing off", "listening", "lost" (for good), "closed".

    In a forked child, a listener of the parent that was in use is "lost"."""
    since: datetime
    """When the listener entered that state; aware, in UTC."""
    channels: tuple[str, ...]
    """The channels whose LISTEN is in force."""
    notifications: int
    """How many notifications have arrived, including those that were dropped."""
    bytes: int
    """The size of their payloads, in bytes of UTF-8."""
    dropped: int
    """How many notifications were dropped by full queues, or because the driver could not decode them."""
    queued: int
    """How many notifications have arrived and wait for a callback, or for the iteration."""
    gaps: int
    """How many gaps were announced."""
    reconnects: int
    """How many times the listener has reconnected."""
    attempts: int
    """How many attempts to connect have failed in a row; 0 while it listens."""
    delivering: bool
    """Whether a notification that is sent now should arrive, and reach your code soon.

    False behind a pooler, until one has arrived by itself; while there are `ignored` channels; and if nobody has read
    for longer than a heartbeat, which `unread` shows. Without a heartbeat, that is 30 s.
    """
    server_pid: int | None
    """The ID of the server process that answered last; None if none has answered."""
    behind_pooler: bool
    """Whether the server process that answers is not the one that the driver connected to."""
    ignored: tuple[str, ...]
    """The channels that the server accepts LISTEN for without an error, and does not listen to: the latest two
    heartbeats have found that, and no notification has arrived since."""
    last_error: str | None
    """Why a connection, or an attempt to connect, failed last, in words; None if none has failed."""
    round_trip: float | None
    """Seconds that the latest heartbeat took; None before the first."""
    queue_usage: float | None
    """How full the server's notification queue was at that heartbeat, from 0 to 1; None if unknown."""
    unchecked: tuple[str, ...] = ()
    """What the heartbeat does not find out, because the role may not call a function; see `pgnotify.protocol.Health`.

    Without "in_recovery", a server that becomes a standby is not noticed; without "server_pid", a pooler is not;
    without "channels", a lost subscription is not, and `ignored` stays empty."""
    unread: float = 0.0
    """For how many seconds nobody has read, in whichever place that is longest; 0 if all is read.

    It counts from the latest look at the connection, if no thread waits there now: a callback or on_listening keeps the
    reading thread busy, or no thread iterates. It also counts from the arrival of the oldest notification that is in a
    queue of the listener's, or in a callback that a worker runs.
    """
    known_good_at: datetime | None = None
    """The last moment at which everything was known to be in order; aware, in UTC. None before the first LISTEN.

    It is `lost_at` of the gap that is open; otherwise, of the gap that a loss at this moment would open. While the
    listener is idle, each heartbeat moves it forward.
    """
    last_error_at: datetime | None = None
    """When `last_error` happened; aware, in UTC. None if there is none."""
    callback_errors: int = 0
    """How many times a callback has raised an exception."""
    durable: str | None = None
    """The name of the durable subscription; None if there is none."""
    standing_by: bool = False
    """Whether another process reads for the durable subscription, and this one waits to take over."""
    held_up: bool = False
    """Whether no more is read from the outbox, because a consumer is busy with what it has, or nobody iterates.

    With a durable subscription this is so while a piece is worked on: it is acknowledged before the next one is read.
    """

    def as_dict(self) -> dict[str, Any]:
        """Return a dict for JSON: the state is a plain string, moments are in ISO 8601, channels are lists."""
        plain = {name: _plain(value) for name, value in asdict(self).items()}
        return {**plain, "state": str(self.state)}


class Counters:
    """The state and the counters of one listener. Changes are reported to its observer.

    Args:
        observed: calls the user's observer.
    """

    def __init__(self, observed: Observed) -> None:
        self._observed = observed
        self._is_observed = observed.is_present
        self._callback_errors: dict[int, int] = {}
        """By thread, so that no lock is needed."""
        self.state = ListenerState.IDLE
        self.since = _now()
        self.notifications = self.bytes = self.dropped = self.gaps = self.reconnects = 0
        """As in `Status`; so are the other attributes here, except `latest_gap`."""
        self.latest_gap: Gap | None = None
        """The latest gap that the user was told of; None if there was none."""
        self.last_error: str | None = None
        self.last_error_at: datetime | None = None
        self.round_trip: float | None = None
        self.queue_usage: float | None = None
        self.unchecked: tuple[str, ...] = ()

    def enter(self, state: ListenerState) -> bool:
        """Record a state; return whether it is a new one.

        Raises:
            RuntimeError: it cannot follow on the current one, which is a bug of pgnotify.
        """
        if state is self.state:
            return False
        self.state, self.since = follow(self.state, state), _now()
        self._observed.tell("state_changed", state)
        return True

    def inherit(self, state: ListenerState) -> None:
        """Record a state in a forked child. The observer is the parent's, and is not told."""
        self.state, self.since = state, _now()

    def failed(self, error: str) -> None:
        """Record why a connection, or an attempt to connect, has failed."""
        self.last_error, self.last_error_at = error, _now()

    def received(self, plains: Sequence[Plain]) -> None:
        """Count notifications that have arrived and have left the loop's queue."""
        # Joined first: to look at each payload by itself takes three times as long.
        payloads = "".join(map(_payload_of, plains))
        size = len(payloads) if payloads.isascii() else size_of(payloads)
        self.notifications += len(plains)
        self.bytes += size
        if self._is_observed:
            self._observed.received(plains, size)

    def undecodable(self, channel: str | None, size: int) -> None:
        """Count a notification that has arrived and could not be decoded; ``size`` is in bytes, 0 if it is unknown."""
        self.notifications += 1
        self.bytes += size
        self.dropped += 1
        self._observed.undecodable(channel, size)

    def callback_failed(self) -> None:
        """Count an exception that a callback has raised. Any thread may call this."""
        thread = get_ident()
        self._callback_errors[thread] = self._callback_errors.get(thread, 0) + 1

    @property
    def callback_errors(self) -> int:
        """As in `Status`."""
        return sum(self._callback_errors.copy().values())

    def gap_announced(self, gap: Gap) -> None:
        """Count a gap that the user was told of."""
        self.latest_gap = gap
        self.gaps += 1
        self._observed.tell("gap_announced", gap)

    def checked(self, round_trip: float, queue_usage: float | None, lag: float) -> None:
        """Record an answered heartbeat, which was sent ``lag`` seconds after it was due."""
        self.round_trip, self.queue_usage = round_trip, queue_usage
        self._observed.tell("checked", round_trip, queue_usage)
        self._observed.tell("heartbeat_lagged", lag)


def _now() -> datetime:
    return utc(time.time())


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value
