"""The state and the counters of a Listener: for operators, and for metrics and tracing libraries."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Protocol

from pgnotify.limits import check_runs
from pgnotify.listener.gap import Gap, utc
from pgnotify.notification import Plain
from pgnotify.program.state import ListenerState, follow

log = logging.getLogger("pgnotify.listener")

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
    """Whether a notification that is sent now should arrive.

    False behind a pooler, until one has arrived by itself; and while there are `ignored` channels.
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

    def as_dict(self) -> dict[str, Any]:
        """Return a dict for JSON: the state is a plain string, `since` is in ISO 8601, channels are lists."""
        lists = {name: list(getattr(self, name)) for name in ("channels", "ignored", "unchecked")}
        return {**asdict(self), "state": str(self.state), "since": self.since.isoformat(), **lists}


class Observer(Protocol):
    """Feeds a metrics or tracing library. All methods are called in the thread that reads.

    Make a subclass, and override the methods that you need. An exception of a method is logged, and changes nothing
    else. The methods are called for each batch of notifications, so keep them quick.
    """

    def state_changed(self, name: str, state: ListenerState) -> None:
        """The listener of this name entered a state; see `Status.state`."""

    def received(self, name: str, notifications: int, size: int) -> None:
        """A batch arrived: the number of notifications, and the size of their payloads in bytes."""

    def gap_announced(self, name: str, gap: Gap) -> None:
        """The user was told of a gap."""

    def checked(self, name: str, round_trip: float, queue_usage: float | None) -> None:
        """The server answered a heartbeat after `round_trip` seconds; `queue_usage` is None if it is unknown.

        Under traffic, this is called up to ten times a second.
        """


def check_observer(observer: object) -> None:
    """Refuse an object that lacks one of an observer's methods.

    Raises:
        TypeError: it lacks at least one, or one is an async function; the message names them.
    """
    lacking = [
        name for name in vars(Observer) if not name.startswith("_") and not callable(getattr(observer, name, None))
    ]
    if observer is not None and lacking:
        raise TypeError(f"observer must be a subclass of pgnotify.Observer: {observer!r} lacks {', '.join(lacking)}")
    for name in vars(Observer):
        if observer is not None and not name.startswith("_"):
            check_runs(f"observer.{name}", getattr(observer, name))


class Counters:
    """The state and the counters of one listener. Changes are reported to its observer.

    Args:
        name: the listener's, for the observer and the log.
        observer: the user's, or None.
    """

    def __init__(self, name: str, observer: Observer | None) -> None:
        self._name = name
        self._observer = observer
        self.state = ListenerState.IDLE
        self.since = _now()
        self.notifications = self.bytes = self.dropped = self.gaps = self.reconnects = 0
        """As in `Status`; so are the other attributes here, except `latest_gap`."""
        self.latest_gap: Gap | None = None
        """The latest gap that the user was told of; None if there was none."""
        self.last_error: str | None = None
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
        if self._observer is not None:
            self._observe(self._observer.state_changed, state)
        return True

    def inherit(self, state: ListenerState) -> None:
        """Record a state in a forked child. The observer is the parent's, and is not told."""
        self.state, self.since = state, _now()

    def received(self, plains: Sequence[Plain]) -> None:
        """Count notifications that have arrived and have left the loop's queue."""
        # Joined first: to look at each payload by itself takes three times as long.
        payloads = "".join(map(_payload_of, plains))
        size = len(payloads) if payloads.isascii() else len(payloads.encode("utf-8", "surrogateescape"))
        self.notifications += len(plains)
        self.bytes += size
        if self._observer is not None:
            self._observe(self._observer.received, len(plains), size)

    def undecodable(self, size: int) -> None:
        """Count a notification that has arrived and could not be decoded; ``size`` is in bytes, 0 if it is unknown."""
        self.notifications += 1
        self.bytes += size
        self.dropped += 1
        if self._observer is not None:
            self._observe(self._observer.received, 1, size)

    def gap_announced(self, gap: Gap) -> None:
        """Count a gap that the user was told of."""
        self.latest_gap = gap
        self.gaps += 1
        if self._observer is not None:
            self._observe(self._observer.gap_announced, gap)

    def checked(self, round_trip: float, queue_usage: float | None) -> None:
        """Record an answered heartbeat."""
        self.round_trip, self.queue_usage = round_trip, queue_usage
        if self._observer is not None:
            self._observe(self._observer.checked, round_trip, queue_usage)

    def _observe(self, method: Callable[..., None], *facts: Any) -> None:
        try:
            method(self._name, *facts)
        except Exception:
            log.exception("%s: the observer failed", self._name)


def _now() -> datetime:
    return utc(time.time())
