"""A batch: messages that are acknowledged together, in a transaction of the user's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from pgnotify.connection import wrap
from pgnotify.errors import Superseded
from pgnotify.outbox.statements import Statements
from pgnotify.protocol import query

if TYPE_CHECKING:
    from pgnotify.message import Message
    from pgnotify.outbox.durable import Piece


class Messages(Sequence["Message"]):
    """Messages of a durable subscription, in order.

    They are acknowledged as a whole, before the next ones are asked for. If not, the next ones are the same.

    Args:
        messages: at least one.
        statements: the outbox's.
        name: the subscription's.
        piece: what they were read as.
    """

    def __init__(self, messages: list[Message], statements: Statements, name: str, piece: Piece) -> None:
        self._messages = messages
        self._statements = statements
        self._name = name
        self._piece = piece

    @property
    def _acknowledgement(self) -> tuple[str, tuple[str | None, ...]]:
        """The statement that acknowledges them, and its parameters."""
        return self._statements.acknowledge, self._piece.parameters(self._name)

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
        if not query(wrap(connection).backend, *self._acknowledgement, joins=True):
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
        from pgnotify.outbox import asynchronous

        if not await asynchronous.run(connection, *self._acknowledgement):
            raise self._superseded()
