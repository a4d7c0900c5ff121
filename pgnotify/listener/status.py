"""The state and the counters of a Listener: for operators, and for metrics and tracing libraries."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Protocol

from pgnotify.listener.gap import Gap, utc
from pgnotify.notification import Plain
from pgnotify.program.state import ListenerState, follow

log = logging.getLogger("pgnotify.listener")

_payload_of = itemgetter(1)


@dataclass(frozen=True, slots=True)
class Status:
    """What `Listener.status` returns: a picture of one moment."""

    name: str
    """As in the logs, and in the server's pg_stat_activity."""
    state: ListenerState
    """One of "idle" (not started), "connecting", "backing off", "listening", "lost" (for good), "closed"."""
    since: datetime
    """When it entered that state; aware, in UTC."""
    channels: tuple[str, ...]
    """The channels whose LISTEN is in force."""
    notifications: int
    """How many have arrived, including those that were dropped."""
    bytes: int
    """The size of their payloads, in UTF-8."""
    dropped: int
    """How many were dropped by full queues."""
    queued: int
    """How many have arrived and wait for a callback, or for the iteration."""
    gaps: int
    """How many gaps were announced."""
    reconnects: int
    """How many times it has come back."""
    attempts: int
    """How many attempts to connect have failed in a row, since it has listened."""
    delivering: bool
    """Whether a notification that is sent now should arrive. False behind a pooler, until one has arrived by itself."""
    server_pid: int | None
    """The process of the server that has answered last; None if none has."""
    behind_pooler: bool
    """Whether another process answers than the one that was connected to."""
    last_error: str | None
    """Why the latest connection, or attempt to connect, failed, in words; None if none did."""
    round_trip: float | None
    """Seconds that the latest heartbeat took; None before the first."""
    queue_usage: float | None
    """How full the server's notification queue was then, from 0 to 1."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON: the state as a plain string, the moment in ISO 8601, the channels as a list."""
        channels = list(self.channels)
        return {**asdict(self), "state": str(self.state), "since": self.since.isoformat(), "channels": channels}


class Observer(Protocol):
    """Feeds a metrics or tracing library; all methods are called in the reading thread.

    Make a subclass and override the methods of use. An exception of a method is logged, and changes nothing. The
    methods are called for each batch of notifications: keep them quick.
    """

    def state_changed(self, name: str, state: ListenerState) -> None:
        """The listener of that name entered a state; see `Status.state`."""

    def received(self, name: str, notifications: int, size: int) -> None:
        """A batch arrived: the number of notifications, and the size of their payloads in bytes."""

    def gap_announced(self, name: str, gap: Gap) -> None:
        """The user was told of a gap."""

    def checked(self, name: str, round_trip: float, queue_usage: float | None) -> None:
        """The server has answered a heartbeat after `round_trip` seconds; the usage is None if it did not tell it."""


def check_observer(observer: object) -> None:
    """Refuse an object that lacks one of an observer's methods.

    Raises:
        TypeError: it does; the message names the methods.
    """
    lacking = [
        name for name in vars(Observer) if not name.startswith("_") and not callable(getattr(observer, name, None))
    ]
    if observer is not None and lacking:
        raise TypeError(f"observer must be a subclass of pgnotify.Observer: {observer!r} lacks {', '.join(lacking)}")


class Counters:
    """Counts what happens to one listener, and tells its observer.

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
        """As in `Status`, like all others here."""
        self.latest_gap: Gap | None = None
        self.last_error: str | None = None
        self.round_trip: float | None = None
        self.queue_usage: float | None = None

    def enter(self, state: ListenerState) -> bool:
        """Record a state; return whether it is another one than before."""
        if state is self.state:
            return False
        self.state, self.since = follow(self.state, state), _now()
        if self._observer is not None:
            self._observe(self._observer.state_changed, state)
        return True

    def received(self, plains: Sequence[Plain]) -> None:
        """Count notifications that have arrived, or as many of them as were delivered."""
        # Joined first: to look at each by itself would take three times as long.
        payloads = "".join(map(_payload_of, plains))
        size = len(payloads) if payloads.isascii() else len(payloads.encode("utf-8", "surrogateescape"))
        self.notifications += len(plains)
        self.bytes += size
        if self._observer is not None:
            self._observe(self._observer.received, len(plains), size)

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
