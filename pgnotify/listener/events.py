"""Events of the Listener's loop: everything that it reports, except notifications."""

from __future__ import annotations

from typing import NamedTuple

from pgnotify.errors import PayloadError
from pgnotify.listener.gap import Gap, Reason
from pgnotify.protocol import Backend, Health


class Connecting(NamedTuple):
    """An attempt to connect begins."""


class Connected(NamedTuple):
    """There is a new connection, and its server has answered. Reported before any LISTEN."""

    health: Health | None
    """The server's answer; None if the backend cannot ask for its state."""
    server_pid: int | None
    """The server process that was reported to the driver; None if that is not known."""
    behind_pooler: bool
    """Whether a pooler is in between: another process has answered."""


class ListenInForce(NamedTuple):
    """LISTEN has come into force. The outcome is whether on_listening returned without an error."""

    channels: tuple[str, ...]
    """The channels whose LISTEN came into force; after a queue overflow, those whose notifications were dropped."""
    gap: Gap | None
    """The gap to tell the user of; None if there is none."""
    backend: Backend | None = None
    """The backend of the connection. None if that has ended, which only happens with the gap of a queue overflow."""


class Lost(NamedTuple):
    """The connection that was listened on is gone."""

    error: Exception
    reason: Reason
    delay: float | None
    """Seconds until the next attempt; None if there is none."""


class Failed(NamedTuple):
    """An attempt to connect, or to listen on the new connection, has failed."""

    error: Exception
    attempt: int
    """How many attempts have failed in a row, counted from 1."""
    delay: float
    """Seconds until the next attempt."""
    permanent: bool
    """Whether something must be changed before another attempt can succeed."""


class FailedForGood(NamedTuple):
    """An attempt has failed, and no other one follows: its error is raised."""

    error: Exception
    attempt: int
    """As in `Failed`."""


class Checked(NamedTuple):
    """The server has answered the heartbeat."""

    health: Health | None
    """The server's answer; None if the backend cannot ask for its state."""
    seconds: float
    """How long the answer took."""
    changed_from: int | None
    """The server process that answered before, if that was another one; otherwise None."""
    lag: float = 0.0
    """How many seconds after it was due it was sent."""


class Undecodable(NamedTuple):
    """The driver could not decode a notification. Its gap is told next."""

    error: PayloadError
    size: int
    """How many bytes are known of its payload; 0 if none."""


class ListenIgnored(NamedTuple):
    """The channels have changed that the server does not listen to, although it has accepted LISTEN again and again."""

    channels: tuple[str, ...]
    """All of them; none if it listens to all again."""


class Applied(NamedTuple):
    """The server listens to the wanted channels, and to no others; the user knows."""


class StandsBy(NamedTuple):
    """This process has become the one that reads for a durable subscription, or has found that another one does."""

    name: str
    """The subscription's."""
    stands_by: bool
    """Whether another process reads for it."""


class NotAcknowledged(NamedTuple):
    """What was delivered last for a durable subscription could not be acknowledged, and comes again."""

    name: str
    """The subscription's."""
    error: Exception | None
    """Why; None if another process has taken over."""


class Refused(NamedTuple):
    """The server refuses a channel. Its LISTEN is not tried again."""

    channel: str
    error: Exception
