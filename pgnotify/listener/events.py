"""What the Listener's loop has to tell, besides notifications."""

from __future__ import annotations

from typing import NamedTuple

from pgnotify.listener.gap import Gap, Reason
from pgnotify.protocol import Health


class Connecting(NamedTuple):
    """An attempt to connect begins."""


class Connected(NamedTuple):
    """There is a new connection, and its server has answered; told before any LISTEN.

    The outcome is whether a pooler is in between.
    """

    health: Health | None


class ListenInForce(NamedTuple):
    """LISTEN has come into force; the outcome is whether the user has taken it in."""

    channels: tuple[str, ...]
    gap: Gap | None


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
    """Whether it would help more to change something than to try again."""


class Checked(NamedTuple):
    """The server has answered the heartbeat."""

    health: Health | None
    seconds: float
    """How long the answer took."""


class Refused(NamedTuple):
    """The server will not have a channel, whose LISTEN is not tried again."""

    channel: str
    error: Exception
