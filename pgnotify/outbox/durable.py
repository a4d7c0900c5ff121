"""A reader with a name, whose position is kept in the outbox: it goes on there after a restart of the process."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Collection
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from pgnotify.atomic import at_once
from pgnotify.connection import wrap
from pgnotify.errors import OutboxError
from pgnotify.listener.events import NotAcknowledged, StandsBy
from pgnotify.message import AsyncBatch, Batch, Message
from pgnotify.outbox.found import Found, not_granted
from pgnotify.outbox.position import BEGINNING
from pgnotify.outbox.reading import POLL_SECONDS, Reading
from pgnotify.outbox.rows import Rows, messages_of
from pgnotify.outbox.statements import Statements, array
from pgnotify.outbox.steps import one_step
from pgnotify.program.actions import Program, Query, Tell
from pgnotify.program.interruption import is_interruption
from pgnotify.protocol import query

if TYPE_CHECKING:
    from pgnotify.listener.policy import Policy
    from pgnotify.listener.watch import ListenerWatch

# How often a slow consumer's progress is stored. After a crash, at most what it was done with since then comes again.
STORED_EACH_SECONDS = 0.5
QUICK_SECONDS = STORED_EACH_SECONDS / 4


END_SECONDS = 0.05
"""After which the lock of a session that the server was asked to end is tried again."""


# As a progress: the messages of before are to be forgotten.
_START_OVER = 0


class Piece:
    """The messages that were delivered last, and not acknowledged yet.

    Args:
        token: what it is acknowledged by.
        ids: those of its messages, in order.
        last: the id up to which its set was read; None if nothing is left of it.
    """

    def __init__(self, token: str, ids: tuple[int, ...], last: int | None) -> None:
        self.token = token
        self.ids = ids
        self.last = last

    def parameters(self, name: str) -> tuple[str | None, ...]:
        """Return the parameters of the statement that acknowledges all of it."""
        return name, self.token, None if self.last is None else str(self.last), None

    def until(self, undone: Collection[int]) -> Piece | None:
        """Return its part before the first of these messages; None if that is nothing."""
        ids = tuple(takewhile(lambda each: each not in undone, self.ids))
        if len(ids) == len(self.ids):
            return self
        return Piece(self.token, ids, ids[-1]) if ids else None


class DurableReading(Reading):
    """Reads for a listener with a durable name.

    Args:
        statements: the outbox's.
        watch: the listener's memory.
        own_channel: the listener's own channel.
        name: the subscription's.
        start: ``"new"`` or ``"all"``, if the name is not known yet.
    """

    keeps_position = True

    def __init__(self, statements: Statements, watch: ListenerWatch, own_channel: str, name: str, start: str) -> None:
        super().__init__(statements, watch, own_channel)
        self.name = name
        self._start = start
        self.is_automatic = True
        """Whether a piece is acknowledged when the consumers ask for more. Otherwise they do that themselves."""
        self._is_ready = True
        """Whether messages are read as the consumers want them: in batches, if they have asked for batches."""
        self.piece: Piece | None = None
        self._stored_channels: tuple[str, ...] | None = None
        """The channels of the subscription, as this session has stored them."""
        self._is_active = False
        """Whether this process is the one that reads for the name."""
        self._holds_lock = False
        self._session: str | None = None
        """The session that has held the lock last."""
        self._portion = 1
        self._stored_at = 0.0
        """When a piece or a part of it was stored or acknowledged, by the monotonic clock."""
        self._read_channels: tuple[str, ...] = ()
        """The channels that were read last; none if nothing was read yet."""

    def check_channel(self, channel: str) -> None:
        """Refuse a channel that was not read so far: messages on it that were stored before would be passed over."""
        if self._read_channels and channel not in self._read_channels:
            raise RuntimeError(
                f"the subscription {self.name!r} is read already, so messages that wait on {channel!r} would be "
                "lost: give all channels to the constructor, or subscribe before the listener starts"
            )

    def in_batches_of(self, size: int) -> None:
        """Read pieces of this size at most, and leave their acknowledgement to the user."""
        self.limit = size
        self.is_automatic = False
        self._is_ready = False
        self.progress = _START_OVER

    def has_batch(self, waiting: int) -> bool:
        """Return whether the whole piece waits: a listener that ends delivers it message by message."""
        return self._is_ready and self.piece is not None and waiting >= len(self.piece.ids)

    def batch(self, messages: list[Message]) -> Batch:
        """Return all messages of the piece that was read last."""
        return Batch(messages, self.name, partial(_acknowledged, *self._acknowledgement()))

    def async_batch(self, messages: list[Message]) -> AsyncBatch:
        """Return the same for an event loop."""
        return AsyncBatch(messages, self.name, partial(_acknowledged_async, *self._acknowledgement()))

    def _acknowledgement(self) -> tuple[str, tuple[str | None, ...]]:
        """Return the statement that acknowledges the piece, and its parameters."""
        assert self.piece is not None, "messages were delivered, and the consumers have not asked for more"
        return self._statements.acknowledge, self.piece.parameters(self.name)

    def session_lost(self) -> None:
        """Forget what belonged to the session. The piece stays: its token still acknowledges it."""
        self._is_active = self._holds_lock = self.stands_by = False
        self._stored_channels = None
        self.progress = None if self._is_ready else _START_OVER

    def portion(self, waiting: int) -> int:
        """Return how many to deliver, so that a slow callback does not keep long what others are done with."""
        return min(self._portion, waiting) if self.is_automatic else waiting

    def delivered(self, begun_at: float, ended_at: float) -> None:
        """Have the next portion take a while, and no longer."""
        seconds = ended_at - begun_at
        if seconds < QUICK_SECONDS:
            self._portion = min(2 * self._portion, self.limit)
        elif seconds > STORED_EACH_SECONDS:
            self._portion = max(1, self._portion // 2)
        self.done_with(_nothing, ended_at)

    def done_with(self, put_down: Callable[[], object], now: float) -> bool:
        """Have it stored how far the consumers are, unless something was stored just now; see `Stored.done_with`."""
        piece = self.piece
        if piece is None or not self.is_automatic or now < self._stored_at + STORED_EACH_SECONDS:
            return False
        put_down()
        undone = self._consumers.undone()
        part = piece.until(undone) if undone is not None else None
        if part is None or part is piece:  # which is acknowledged when the consumers ask for more
            return False
        self.progress, self._stored_at = part.ids[-1], now
        return True

    def store_progress(self) -> Program[None]:
        """Acknowledge a part of the piece."""
        last, self.progress = self.progress, None
        if not self._is_ready:
            self._start_over()
            return
        if self.piece is not None and last in self.piece.ids:
            yield Query(self._statements.acknowledge, (self.name, self.piece.token, str(last), "1"), self._prepares)

    def _start_over(self) -> None:
        """Forget what was read and not acknowledged: it is read again, in batches."""
        self.piece = None
        self._consumers.discard()
        self.hinted()
        self._is_ready = True

    def before_listen(self) -> Program[None]:
        """Make the subscription, unless there is one: it gets what is stored from now on."""
        channels = self._channels()
        if channels and channels != self._stored_channels:
            yield from self._store_channels(channels)

    def leave(self, watch: ListenerWatch) -> Program[None]:
        """Acknowledge what the consumers are done with, and let another process take over."""
        piece, undone, done = self.piece, self._consumers.undone(), None
        if self.is_automatic:  # otherwise the user may acknowledge it after the end
            self.piece = None
            done = piece.until(undone) if piece is not None and undone is not None else None
        try:
            if done is not None:
                yield from self._acknowledge_with(done.parameters(self.name))
            if self._holds_lock:
                self._holds_lock = False
                yield Query(self._statements.unlock, (self.name,))
        except Exception as error:
            if is_interruption(error):
                raise
            yield Tell(NotAcknowledged(self.name, error))

    def _can_take_more(self) -> bool:
        """Return whether the consumers are done with everything: it is acknowledged before the next read."""
        return self._consumers.is_done()

    def _begin(self, snapshot: str, inserted: str, timeline: str, behind_pooler: bool) -> Program[None]:
        self._stored_channels = None
        rows: Rows = yield Query(self._statements.position_is_void, (self.name,))
        for is_copy, is_ahead in rows:
            self._check_position(is_copy == "true", is_ahead == "true")
        # A lock of the session would stay with whichever session the pooler lends next.
        self._is_active = behind_pooler
        if not behind_pooler:
            yield from self._become_active()
        yield from self.before_listen()

    def _step(self, watch: ListenerWatch, policy: Policy) -> Program[bool]:
        channels = self._channels()
        if not channels:
            self._is_due, self.next_step_at = False, math.inf
            return False
        self._read_channels = channels
        if not self._is_active and not (yield from self._become_active()):
            seconds = END_SECONDS if (yield from self._end_lost_session()) else POLL_SECONDS
            self._is_due, self.next_step_at = False, policy.clock() + seconds
            return False
        yield from self.before_listen()
        if not (yield from self._acknowledge()):
            self._is_due, self.next_step_at = False, policy.clock() + POLL_SECONDS
            return False
        if watch.stop_requested:  # perhaps a stream was closed just before, whose messages would be passed over
            return False
        yield from self._read(watch, policy)
        return True

    def _become_active(self) -> Program[bool]:
        """Try to be the process that reads for the name, and tell the user of a change."""
        rows: Rows = yield Query(self._statements.lock, (self.name,))
        self._is_active = self._holds_lock = rows[0][0] == "true"
        if self._holds_lock:
            self._session = rows[0][1]
            if self._has_own_sessions:
                yield Query(self._statements.free_soon)
        if self._is_active or not self.stands_by:
            self.stands_by = not self._is_active
            yield Tell(StandsBy(self.name, self.stands_by))
        return self._is_active

    def _end_lost_session(self) -> Program[bool]:
        """End the session of ours that was lost, if the server does not know of that; return whether it ends now.

        As long as no packet comes back from a network that has failed, the server keeps the session and its lock.
        """
        if self._session is None:
            return False
        rows: Rows = yield Query(self._statements.end_session, (self.name, self._session))
        if not rows:
            self._session = None
        return bool(rows)

    def _store_channels(self, channels: tuple[str, ...]) -> Program[None]:
        """Make the subscription, unless there is one. The active process decides which channels it gets."""
        start = BEGINNING if self._start == "all" else None
        yield Query(self._statements.subscribe, (self.name, array(channels), start))
        if self._is_active:
            yield Query(self._statements.set_channels, (self.name, array(channels)))
            self._stored_channels = channels

    def _acknowledge(self) -> Program[bool]:
        """Acknowledge the piece that the consumers are done with; return False if another process has taken over."""
        if self.piece is not None and self.is_automatic:
            is_ours = yield from self._acknowledge_with(self.piece.parameters(self.name))
            self.piece = None
            return is_ours
        self.piece = None
        return True

    def _acknowledge_with(self, parameters: tuple[str | None, ...]) -> Program[bool]:
        rows: Rows = yield Query(self._statements.acknowledge, parameters, self._prepares)
        # In a session of our own nobody can take over: then the answer to an earlier try was lost.
        if rows or self._holds_lock:
            return True
        yield Tell(NotAcknowledged(self.name, None))
        return False

    def _read(self, watch: ListenerWatch, policy: Policy) -> Program[None]:
        token = str(uuid.uuid4())
        parameters = (self._many, self.name, token)
        statement = self._statements.read_name(self.limit, self._planned_for)
        rows: Rows = yield Query(statement, parameters, self._prepares)
        if not rows:
            raise OutboxError(f"the subscription {self.name!r} was removed from the outbox {self._statements.tables}")
        head = self._head_of(rows)
        if head.expired and (yield from self._tell_expired(watch, policy, head.expired, head.expired_since)):
            yield Query(self._statements.expired_told, (self.name, str(head.expired)))
        if head.is_fresh and not head.found_any:
            self._is_due = False
            return
        self._is_due = True
        if not head.is_taken:  # another process has moved the position, or removes some of the messages: read again
            self._many = None
            return
        last = self._end_of(rows, head)
        self._many = "1" if head.many and last is not None else None
        if len(rows) == 1:  # there is nothing on our channels, up to there
            yield Query(self._statements.acknowledge, Piece(token, (), last).parameters(self.name), self._prepares)
            return
        messages = messages_of(rows)
        piece = Piece(token, tuple(message[3] for message in messages), last)
        self._stored_at = policy.clock()
        # If a signal handler came between the two, the piece would be acknowledged and not delivered, or the reverse.
        at_once((watch.queue.extend, (messages,)), (setattr, (self, "piece", piece)))

    def _check_found(self, found: Found) -> None:
        if not found.may_keep:
            raise not_granted(found, self._statements.tables)
        if found.is_read_only:
            raise OutboxError(
                f"the subscription {self.name!r} needs a session that can write, and default_transaction_read_only is "
                "on: add options='-c default_transaction_read_only=off' to its connection string"
            )


def _nothing() -> None:
    """Do nothing: no consumer says anything."""


def _acknowledged(sql: str, parameters: tuple[str | None, ...], connection: Any) -> Rows:
    return query(wrap(connection).backend, sql, parameters, joins=True)


async def _acknowledged_async(sql: str, parameters: tuple[str | None, ...], connection: Any) -> Rows:
    from pgnotify.outbox import asynchronous  # it imports asyncio

    return await asynchronous.run(connection, one_step(sql, parameters), joins=True)
