"""What a listener reads that is stored at the server, so that notifications are only hints to look: the interfaces.

The loop calls these. `pgnotify.outbox` implements them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

from pgnotify.errors import OutboxError
from pgnotify.limits import check_channel
from pgnotify.notification import Notification
from pgnotify.program.actions import Program
from pgnotify.protocol import cannot_query

if TYPE_CHECKING:
    from pgnotify.listener.policy import Policy
    from pgnotify.listener.watch import ListenerWatch
    from pgnotify.message import AsyncBatch, Batch, Message


class Consumers(Protocol):
    """Those that messages are delivered to: callbacks, workers, streams, and the iteration."""

    def is_done(self) -> bool:
        """Return whether all are done with everything that was delivered, and ask for more."""

    def has_room(self) -> bool:
        """Return whether all have room for more."""

    def take_back(self) -> bool:
        """Return messages to the queue that other consumers are to have; return whether there were any."""

    def discard(self) -> None:
        """Drop what was delivered to the iteration and is still there, and what is about to be delivered."""

    def undone(self) -> Collection[int] | None:
        """Return the ids of delivered messages that they are not done with; None if that is not known."""


class Stored(Protocol):
    """Reads the messages of one listener, and knows how far it has read. Its programs do no I/O."""

    kind: type[Notification]
    """The class of the messages."""
    is_held_up: bool
    """Whether it waits for the consumers."""
    progress: int | None
    """The id of a message up to which the consumers are done, if that is to be stored before they are done with all."""
    stands_by: bool
    """Whether another process reads, and this one waits to take over."""
    own_channel: str
    """The listener's own channel, whose notifications are delivered as they are."""
    keeps_position: bool
    """Whether the position is kept at the server, so that `leave` has something to store."""

    def consumers(self, consumers: Consumers) -> None:
        """Deliver to these."""

    def check_channel(self, channel: str) -> None:
        """Refuse a channel that can no longer be added.

        Raises:
            RuntimeError: messages on it may have been passed over.
        """

    def in_batches_of(self, size: int) -> None:
        """Read pieces of this size at most, and leave their acknowledgement to the user.

        Raises:
            TypeError: the position is kept in memory, so there is nothing to acknowledge.
        """

    def has_batch(self, waiting: int) -> bool:
        """Return whether so many messages that wait for the consumer are a whole batch: it is acknowledged as one."""

    def batch(self, messages: list[Message]) -> Batch:
        """Return all messages of the piece that was read last."""

    def async_batch(self, messages: list[Message]) -> AsyncBatch:
        """Return the same for an event loop."""

    def begin(self, watch: ListenerWatch, policy: Policy) -> Program[None]:
        """Begin a session, on a connection that has answered. LISTEN follows."""

    def before_listen(self) -> Program[None]:
        """Make sure that messages which are stored after the next LISTEN will be read."""

    def hinted(self) -> None:
        """Look for messages at the next opportunity."""

    def portion(self, waiting: int) -> int:
        """Return how many of the waiting messages to deliver next."""

    def delivered(self, begun_at: float, ended_at: float) -> None:
        """Take into account how long a delivery took, by the monotonic clock."""

    def done_with(self, put_down: Callable[[], object], now: float) -> bool:
        """Take into account that a consumer is done with what it has taken; return whether to store that now.

        Args:
            put_down: called if it is time to store that, to say so to the consumer's mailbox.
            now: the present moment, by the monotonic clock.
        """

    def store_progress(self) -> Program[None]:
        """Store how far the consumers are; then `progress` is None."""

    def step(self, watch: ListenerWatch, policy: Policy) -> Program[bool]:
        """Read some messages into the queue, which is empty, or do what has to be done before that.

        Returns:
            False if there is nothing to do now.
        """

    @property
    def next_step_at(self) -> float:
        """When to call `step` without a hint, by the monotonic clock; infinite if never."""

    def session_lost(self) -> None:
        """Go back to what is certain, because the session has ended."""

    def leave(self, watch: ListenerWatch) -> Program[None]:
        """Store how far the consumers are, and leave the rest to the next reader. The listener ends."""


class Store(Protocol):
    """What is passed as ``outbox``."""

    def reading(self, watch: ListenerWatch, durable: str | None, start: str, own_channel: str) -> Stored:
        """Return what reads for one listener.

        Args:
            watch: the listener's, with the wanted channels.
            durable: the name of the subscription; None keeps the position in memory.
            start: ``"new"`` or ``"all"``, for a name that is not known yet.
            own_channel: the listener's own channel, whose notifications are delivered as they are.
        """


def needs_query(backend_or_error: object) -> OutboxError:
    """Return the error for a backend without `query`, given that, or the error that says so."""
    error = backend_or_error if isinstance(backend_or_error, Exception) else cannot_query(backend_or_error)
    return OutboxError(f"{error}, which an outbox needs: use another driver, or a newer version of it")


def check_store(outbox: object, durable: object, start: object) -> None:
    """Check the options of a listener that are about an outbox.

    Raises:
        ValueError, TypeError: one is not possible.
    """
    if start not in ("new", "all"):
        raise ValueError(f"start must be 'new' or 'all', not {start!r}")
    if durable is not None:
        check_channel(durable, "durable")  # type: ignore[arg-type]  # it checks the type, too; the limits are the same
    if outbox is None:
        if durable is not None or start != "new":
            option = "start" if durable is None else "durable"
            raise TypeError(f"{option} needs an outbox: pass outbox=pgnotify.Outbox(), too")
    elif isinstance(outbox, type) or not hasattr(outbox, "reading"):
        what = f"the class {outbox.__name__}" if isinstance(outbox, type) else type(outbox).__name__
        raise TypeError(f"outbox must be a pgnotify.Outbox, not {what}")
