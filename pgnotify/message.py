"""A message: a notification that was stored in an outbox; and batches, which are acknowledged together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, overload

from pgnotify.errors import Superseded
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


class Messages(Sequence[Message]):
    """Messages of a durable subscription, in order.

    They are acknowledged as a whole, before the next ones are asked for. If not, the next ones are the same.

    Args:
        messages: at least one.
        name: the subscription's.
        acknowledge: acknowledges them on a connection. The result, or what is awaited, is false if that is too late.
    """

    def __init__(self, messages: list[Message], name: str, acknowledge: Callable[[Any], Any]) -> None:
        self._messages = messages
        self._name = name
        self._acknowledge = acknowledge

    def _superseded(self) -> Superseded:
        return Superseded(
            f"this batch of {len(self)} messages of {self._name!r} can no longer be acknowledged: "
            "another process has taken over the subscription, or it was acknowledged before"
        )

    @overload
    def __getitem__(self, index: int) -> Message: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message]: ...
    def __getitem__(self, index: int | slice) -> Message | Sequence[Message]:
        """Return a message, or several."""
        return self._messages[index]

    def __len__(self) -> int:
        """Return how many messages it has, at least one."""
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        """Yield the messages in order."""
        return iter(self._messages)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} messages of {self._name!r}>"


class Batch(Messages):
    """Messages of a durable subscription, in order. `Listener.batches` yields it.

    It is acknowledged as a whole, before the next one is asked for. If it is not, the next one has the same messages.
    """

    def acknowledge(self, connection: Any) -> None:
        """Record that the batch is done with, in the transaction of a connection to the outbox's database.

        Its effects are applied exactly once if they are committed in the same transaction.

        Args:
            connection: of any supported driver, not necessarily the listener's.

        Raises:
            Superseded: another process has taken over the subscription, or it was acknowledged before. Roll back.
            ConnectionLost: the server is gone.
        """
        if not self._acknowledge(connection):
            raise self._superseded()


class AsyncBatch(Messages):
    """Messages of a durable subscription, in order. `AsyncListener.batches` yields it.

    It is acknowledged as a whole, before the next one is asked for. If it is not, the next one has the same messages.
    """

    async def acknowledge(self, connection: Any) -> None:
        """Do the same as `Batch.acknowledge`, without holding up the event loop.

        Args:
            connection: of any supported driver, asynchronous or not. One that blocks is used in a thread.

        Raises:
            Superseded, ConnectionLost: as for `Batch.acknowledge`.
        """
        if not await self._acknowledge(connection):
            raise self._superseded()
