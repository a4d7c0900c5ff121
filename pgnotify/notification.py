"""What arrives: one notification."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Plain: TypeAlias = tuple[str, str, int]
"""A notification without the names: channel, payload, pid. A `Notification` is one, too."""


class Notification(NamedTuple):
    """A notification as PostgreSQL sent it."""

    channel: str
    """The channel, as it was written in LISTEN."""
    payload: str
    """The payload, ``""`` if none was given; undecodable bytes as surrogate escapes."""
    pid: int
    """The process ID of the server backend that sent it."""


# Notification(…) is a Python function around this: 0.58 µs against 0.11 µs, for each.
new = tuple.__new__
