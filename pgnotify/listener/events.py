"""Events of the Listener's loop: everything that it reports, except notifications."""

from __future__ import annotations

from typing import NamedTuple

from pgnotify.listener.gap import Gap, Reason
from pgnotify.protocol import Backend, Health


class Connecting(NamedTuple):
    """An attempt to connect begins."""


class Connected(NamedTuple):
    """There is a new connection, and its server has answered; reported before any LISTEN."""

    health: Health | None
    server_pid: int | None
    """The server process that the driver was told it is connected to; None if the backend does not say."""
    behind_pooler: bool
    """Whether a pooler is in between: another process has answered."""


class ListenInForce(NamedTuple):
    """LISTEN has come into force; the outcome is whether on_listening returned without an error."""

    channels: tuple[str, ...]
    gap: Gap | None
    backend: Backend | None = None
    """Of the connection; None if that has ended, which only happens to the gap of a queue overflow."""


class Lost(NamedTuple):
    """The connection that was listened on is gone."""

    error: Exception
    reason: Reason
    delay: float | None
    """Seconds until the next attempt; None if there is none."""


class Failed(NamedTuple):
    """An attempt to come back has failed."""

    error: Exception
    attempt: int
    delay: float
    """Seconds until the next attempt."""
    permanent: bool
    """Whether something must be changed before another attempt can succeed."""


class Checked(NamedTuple):
    """The server has answered the heartbeat."""

    health: Health | None
    seconds: float
    """How long the answer took."""
    changed_from: int | None
    """The server process that answered before, if it was another one; None if it was not."""


class Refused(NamedTuple):
    """The server refuses a channel; its LISTEN is not tried again."""

    channel: str
    error: Exception
