"""A notification, and its plain form."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Plain: TypeAlias = tuple[str, str, int]
"""A notification without field names: channel, payload, pid. A `Notification` is also one."""


class Notification(NamedTuple):
    """A notification as PostgreSQL sent it."""

    channel: str
    """The channel, as written in LISTEN."""
    payload: str
    """The payload, ``""`` if none was given; undecodable bytes are surrogate escapes."""
    pid: int
    """The process ID of the server backend that sent it."""


# Notification(…) is a Python function around this: 0.58 µs each, against 0.11 µs.
new = tuple.__new__
