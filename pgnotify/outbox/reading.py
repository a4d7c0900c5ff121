"""How a listener reads an outbox: programs without I/O, which the listener's loop runs between notifications.

The parts that every reader has are here. `pgnotify.outbox.in_memory` and `pgnotify.outbox.durable` say where the
position is kept.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pgnotify.errors import TransactionError
from pgnotify.listener.events import ListenInForce
from pgnotify.listener.gap import Reason
from pgnotify.listener.stored import needs_query
from pgnotify.message import AsyncBatch, Batch, Message
from pgnotify.notification import Notification
from pgnotify.outbox.found import Found, find_readable, void
from pgnotify.outbox.rows import Head, Rows, head_of, is_cut_off, moment_of
from pgnotify.outbox.statements import Statements, array
from pgnotify.program.actions import Program, Query, Tell

if TYPE_CHECKING:
    from pgnotify.listener.policy import Policy
    from pgnotify.listener.stored import Consumers
    from pgnotify.listener.watch import ListenerWatch

MOST_ROWS = 500
"""How many messages a read returns at most."""

# A plan for a small table looks at all of it, and the server keeps that plan while the table grows. So it is asked for
# a new one when the table is this many times as large. For a table of some pages, any plan is quick.
GROWTH = 4
SMALL_TABLE_BYTES = 32_768

# Where notifications do not arrive, as behind a pooler that lends its server connections for one transaction at a time.
POLL_SECONDS = 1.0


class Reading(abc.ABC):
    """Reads the messages of one listener; see `pgnotify.listener.stored.Stored`.

    Args:
        statements: the outbox's.
        watch: the listener's memory, with the wanted channels.
        own_channel: the listener's own channel.
    """

    kind: type[Notification] = Message
    keeps_position = False
    stands_by = False

    def __init__(self, statements: Statements, watch: ListenerWatch, own_channel: str) -> None:
        self._statements = statements
        self._wanted = watch.wanted
        self.own_channel = own_channel
        self._consumers: Consumers
        self.is_held_up = False
        self.progress: int | None = None
        self.next_step_at = math.inf
        self.limit = MOST_ROWS
        self._is_due = False
        self._many: str | None = None
        """Not None if the set that is being read is known to be a large one."""
        self._prepares = True
        self._has_own_sessions = False
        """Whether the sessions are the listener's own, and not one of the user's."""
        self._planned_for = 0
        """The size of the table for which the server has planned the statement that reads, in bytes."""
        self.home = ""
        """The name of the outbox that this session has found."""
        self.prunes = 0
        """How often its messages were pruned when this session began."""

    # For the listener.

    def consumers(self, consumers: Consumers) -> None:
        """Deliver to these."""
        self._consumers = consumers

    def begin(self, watch: ListenerWatch, policy: Policy) -> Program[None]:
        """Look whether the outbox is there, and begin to read it in this session."""
        self._many = None
        link = watch.link
        self._prepares = not link.behind_pooler
        self._has_own_sessions = policy.can_reconnect
        yield from self._look()
        rows: Rows = yield Query(self._statements.begin)
        if not rows:
            raise void(self._statements.tables, "it has lost its mark")
        ((is_void, self.home, prunes, snapshot, inserted, timeline, table_bytes),) = rows
        self.prunes = int(prunes or 0)
        self._planned_for = int(table_bytes)
        if is_void == "true":
            raise void(self._statements.tables, "it is a copy")
        yield from self._begin(snapshot, inserted, timeline, link.behind_pooler)
        self.hinted()

    @abc.abstractmethod
    def before_listen(self) -> Program[None]:
        """Make sure that messages which are stored after the next LISTEN will be read."""

    def check_channel(self, channel: str) -> None:
        """Accept each channel: what was stored on it before belongs to nobody."""

    def hinted(self) -> None:
        """Look for messages at the next opportunity."""
        self._is_due = True

    def portion(self, waiting: int) -> int:
        """Deliver all of them: nothing is acknowledged in between."""
        return waiting

    def delivered(self, begun_at: float, ended_at: float) -> None:
        """Do nothing."""

    def done_with(self, put_down: Callable[[], object], now: float) -> bool:
        """Do nothing."""
        return False

    def store_progress(self) -> Program[None]:
        """Do nothing."""
        yield from ()

    def step(self, watch: ListenerWatch, policy: Policy) -> Program[bool]:
        """Read some messages, unless there is nothing to do."""
        if self._consumers.take_back():
            return True
        now = policy.clock()
        if not self._is_due and now < self.next_step_at:
            return False
        if not self._may_read():
            self._is_due, self.next_step_at = True, math.inf  # a consumer that asks for more ends the wait
            return False
        self.next_step_at = math.inf if watch.delivering else now + POLL_SECONDS
        return (yield from self._step(watch, policy))

    @abc.abstractmethod
    def in_batches_of(self, size: int) -> None:
        """Read pieces of this size at most, and leave their acknowledgement to the user."""

    def has_batch(self, waiting: int) -> bool:
        """Return whether so many messages that wait for the consumer are a whole batch."""
        return False

    @abc.abstractmethod
    def batch(self, messages: list[Message]) -> Batch:
        """Return all messages of the piece that was read last."""

    @abc.abstractmethod
    def async_batch(self, messages: list[Message]) -> AsyncBatch:
        """Return the same for an event loop."""

    @abc.abstractmethod
    def session_lost(self) -> None:
        """Go back to what is certain."""

    @abc.abstractmethod
    def leave(self, watch: ListenerWatch) -> Program[None]:
        """Store how far the consumers are."""

    # For the two kinds.

    def _can_take_more(self) -> bool:
        """Return whether the consumers can take more."""
        return self._consumers.has_room()

    @abc.abstractmethod
    def _begin(self, snapshot: str, inserted: str, timeline: str, behind_pooler: bool) -> Program[None]:
        """Begin to read in this session.

        Args:
            snapshot: the present one.
            inserted: how far the server's log is written.
            timeline: the server's.
            behind_pooler: whether a pooler is in between.
        """

    @abc.abstractmethod
    def _step(self, watch: ListenerWatch, policy: Policy) -> Program[bool]:
        """Read some messages."""

    def _channels(self) -> tuple[str, ...]:
        """Return the channels to read."""
        return tuple(channel for channel in list(self._wanted.channels) if channel != self.own_channel)

    def _may_read(self) -> bool:
        self.is_held_up = not self._can_take_more()
        if self.is_held_up and self._can_take_more():  # a consumer may have asked before it could know
            self.is_held_up = False
        return not self.is_held_up

    def _end_of(self, rows: Rows, head: Head) -> int | None:
        """Return the id up to which rows have been read of their set; None if nothing is left of it."""
        return int(rows[-1][0]) if is_cut_off(rows, self.limit) else head.looked_up_to

    def _head_of(self, rows: Rows) -> Head:
        """Return the first row, checked; see `_check`."""
        head = head_of(rows)
        self._check(head)
        if head.table_bytes > GROWTH * max(self._planned_for, SMALL_TABLE_BYTES):
            self._planned_for = head.table_bytes
        return head

    def _check(self, head: Head) -> None:
        """Refuse a position that means nothing, and a read whose snapshot is not to be used.

        Raises:
            TransactionError: a transaction was left open on the connection.
            VoidPosition: the position means nothing.
        """
        if head.in_transaction:
            raise TransactionError("a transaction was left open on the connection, in which an outbox cannot be read")
        self._check_position(head.is_copy, head.is_ahead)

    def _check_position(self, is_copy: bool, is_ahead: bool) -> None:
        if is_copy:
            raise void(self._statements.tables, "it is a copy")
        if is_ahead:
            raise void(self._statements.tables, "the server has lost transactions")

    def _look(self) -> Program[None]:
        """Find out whether the outbox can be read here.

        Raises:
            NotPrimary, OutboxError: it cannot; see `pgnotify.outbox.found.find_readable`.
        """
        tables = self._statements.tables
        try:
            rows: Rows = yield Query(self._statements.look, (tables.schema, tables.name))
        except NotImplementedError as error:
            raise needs_query(error) from error
        self._check_found(find_readable(rows, tables))

    def _check_found(self, found: Found) -> None:
        """Refuse a session that cannot store positions, if it has to."""

    def _tell_expired(self, watch: ListenerWatch, policy: Policy, count: int, since: int) -> Program[bool]:
        """Tell the user that messages were removed by retention before they were read; return whether that is done.

        Args:
            watch: the listener's memory.
            policy: has the clock.
            count: how many.
            since: when the first of them was stored, in microseconds since the epoch.
        """
        watch.clocks_read(policy.now())
        gap = watch.link.unproved.gap(Reason.EXPIRED, self._channels(), count)
        gap = replace(gap, lost_at=min(gap.lost_at, moment_of(since)))
        is_told: bool = yield Tell(ListenInForce(gap.channels, gap, watch.link.backend))
        return is_told

    def _channel_array(self) -> str:
        return array(self._channels())
