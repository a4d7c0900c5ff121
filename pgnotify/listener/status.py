"""How a Listener stands: for operators, and for metrics and tracing libraries."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from pgnotify.listener.gap import Gap


@dataclass(frozen=True, slots=True)
class Status:
    """What `Listener.status` returns: a picture of one moment."""

    name: str
    """As in the logs, and in the server's pg_stat_activity."""
    state: str
    """One of "idle" (not started), "connecting", "backing off", "listening", "lost" (for good), "closed"."""
    since: datetime
    """When it came into that state; aware, in UTC."""
    channels: tuple[str, ...]
    """Those whose LISTEN is in force."""
    notifications: int
    """How many have come in, those that were dropped included."""
    bytes: int
    """The size of their payloads, in UTF-8."""
    dropped: int
    """How many full queues have dropped."""
    queued: int
    """How many have come in and wait for a callback, or for the iteration."""
    gaps: int
    """How many gaps were announced."""
    reconnects: int
    """How many times it has come back."""
    attempts: int
    """How many attempts to connect have failed in a row, since it has listened."""
    delivering: bool
    """Whether what is sent now should arrive. False behind a pooler, as long as nothing has come in by itself."""
    server_pid: int | None
    """The process of the server that has answered last; None if none has."""
    behind_pooler: bool
    """Whether another process answers than the one that was connected to."""
    last_error: str | None
    """Why the latest connection, or attempt to connect, has failed, in words; None if none has."""
    round_trip: float | None
    """Seconds that the latest heartbeat took; None before the first."""
    queue_usage: float | None
    """How full the server's notification queue was then, from 0 to 1."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON: the moment as a string of ISO 8601, the channels as a list."""
        return {**asdict(self), "since": self.since.isoformat(), "channels": list(self.channels)}


class Observer(Protocol):
    """What a metrics or tracing library is fed through; all methods are called in the reading thread.

    Make a subclass and override what is of use. What a method raises is logged, and changes nothing. They are part of
    the way of each batch: let them be quick.
    """

    def state_changed(self, name: str, state: str) -> None:
        """The listener of that name came into a state; see `Status.state`."""

    def received(self, name: str, notifications: int, size: int) -> None:
        """A batch came in: so many notifications, with so many bytes of payload."""

    def gap_announced(self, name: str, gap: Gap) -> None:
        """The user was told of a gap."""

    def checked(self, name: str, round_trip: float, queue_usage: float | None) -> None:
        """The server has answered a heartbeat after so many seconds; None if it does not tell how full its queue is."""


def check_observer(observer: object) -> None:
    """Refuse what lacks one of an observer's methods.

    Raises:
        TypeError: it does.
    """
    lacking = [
        name for name in vars(Observer) if not name.startswith("_") and not callable(getattr(observer, name, None))
    ]
    if observer is not None and lacking:
        raise TypeError(f"observer must be a subclass of pgnotify.Observer: {observer!r} lacks {', '.join(lacking)}")
