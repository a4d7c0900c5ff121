"""A message: a notification that was stored in an outbox."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from operator import itemgetter
from typing import Any

from pgnotify.notification import Notification


class Message(Notification):
    """A notification that was stored in an outbox: ``Message(channel, payload, pid, id, sent_at)``.

    It is a named tuple of five fields, and also a `Notification`: code that takes one of these takes the other.
    """

    __slots__ = ()
    _fields = ("channel", "payload", "pid", "id", "sent_at")  # type: ignore[assignment]  # two more than a Notification
    __match_args__ = ("channel", "payload", "pid", "id", "sent_at")

    id: int = property(itemgetter(3))  # type: ignore[assignment]
    """Its number, at least 1. A later message of the same sender has a larger one; there are holes, and no two messages
    of one outbox have the same."""
    sent_at: datetime = property(itemgetter(4))  # type: ignore[assignment]
    """When it was stored, by the server's clock, before its transaction was committed; aware, in UTC."""

    def __new__(cls, channel: str, payload: str, pid: int, id: int, sent_at: datetime) -> Message:  # noqa: A002
        """Make one; see the fields."""
        made: Message = tuple.__new__(cls, (channel, payload, pid, id, sent_at))
        return made

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Message:  # type: ignore[override]
        return cls(*iterable)

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def _replace(self, **kwds: Any) -> Message:
        return type(self)(**{**self._asdict(), **kwds})

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({values})"
