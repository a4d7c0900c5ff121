"""A reader whose position is kept in memory: reconnects lose nothing, a restart begins again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pgnotify.outbox.position import BEGINNING, Position
from pgnotify.outbox.reading import Reading
from pgnotify.outbox.retention import missed_sql
from pgnotify.outbox.rows import Rows, messages_of, place_of
from pgnotify.outbox.statements import Statements
from pgnotify.program.actions import Program, Query

if TYPE_CHECKING:
    from pgnotify.listener.policy import Policy
    from pgnotify.listener.watch import ListenerWatch
    from pgnotify.message import AsyncBatch, Batch, Message


class InMemoryReading(Reading):
    """Reads for a listener without a durable name.

    Args:
        statements: the outbox's.
        watch: the listener's memory.
        own_channel: the listener's own channel.
        start: ``"new"`` or ``"all"``.
    """

    def __init__(self, statements: Statements, watch: ListenerWatch, own_channel: str, start: str) -> None:
        super().__init__(statements, watch, own_channel)
        self._start = start
        self._position: Position | None = None
        self._timeline = ""
        self._behind_pooler = False
        self._known_home = ""
        """The outbox's name when the position was last known to mean something."""
        self._known_prunes = 0
        """How many prunings the position has been compared with."""
        self._missed = 0
        """How many messages may have been removed unread; the user has not been told yet."""
        self._missed_since = 0
        """When the first of these was stored, in microseconds since the epoch."""

    def in_batches_of(self, size: int) -> None:
        """Refuse: nothing is acknowledged."""
        raise TypeError("batches() needs a name, under which they are acknowledged: pass durable=, too")

    def batch(self, messages: list[Message]) -> Batch:
        """Refuse: see `in_batches_of`."""
        raise NotImplementedError

    def async_batch(self, messages: list[Message]) -> AsyncBatch:
        """Refuse: see `in_batches_of`."""
        raise NotImplementedError

    def session_lost(self) -> None:
        """Go back to the latest place that is certain."""
        if self._position is not None:
            self._position.session_lost()

    def before_listen(self) -> Program[None]:
        """Do nothing: the position is older."""
        yield from ()

    def leave(self, watch: ListenerWatch) -> Program[None]:
        """Do nothing: the position ends with the process."""
        yield from ()

    def _begin(self, snapshot: str, inserted: str, timeline: str, behind_pooler: bool) -> Program[None]:
        if self._position is None:
            # There is no earlier place to go back to, so this one has to be on disk.
            yield Query(self._statements.flush)
            self._position = Position(BEGINNING if self._start == "all" else snapshot, place_of(inserted))
            self._known_prunes = self.prunes
        elif self.home != self._known_home:  # a copy, which was rebased
            self._position.start_over()
            self._known_prunes = self.prunes
        elif timeline != self._timeline:
            yield from self._compare(self.prunes)
            self._position.start_over()
        self._timeline, self._behind_pooler, self._known_home = timeline, behind_pooler, self.home

    def _step(self, watch: ListenerWatch, policy: Policy) -> Program[bool]:
        position, channels = self._position, self._channels()
        assert position is not None, "a session has begun"
        if not channels:
            self._is_due, self.next_step_at = False, math.inf
            return False
        if self._behind_pooler:  # each read may have another session, and the server may have crashed in between
            position.session_lost()
            self._many = None
        seen, upto, after = position.place
        parameters = (self._many, seen, self._channel_array(), str(after), upto, self.home)
        statement = self._statements.read(self.limit, self._planned_for, flushes=self._behind_pooler)
        rows: Rows = yield Query(statement, parameters, self._prepares)
        head = self._head_of(rows)
        if head.prunes != self._known_prunes:
            yield from self._compare(head.prunes)
        if self._missed and (yield from self._tell_expired(watch, policy, self._missed, self._missed_since)):
            self._missed = 0
        if head.timeline != self._timeline:  # behind a pooler, which has another server now
            position.start_over()
            self._timeline, self._many = head.timeline, None
            return True
        messages, last = messages_of(rows), self._end_of(rows, head)
        self._many = "1" if head.many and last is not None else None
        # An empty read with a fresh snapshot is the only proof that nothing is left.
        self._is_due = bool(messages) or last is not None or not head.is_fresh
        if head.is_taken:
            head = head._replace(flushed=max(head.flushed, head.inserted))
        position.read(head, messages, last, watch.queue)
        return True

    def _compare(self, prunes: int) -> Program[None]:
        """Count the messages that were removed and that the position has not read; at most one pruning too many."""
        assert self._position is not None, "a session has begun"
        seen, upto, after = self._position.place
        known = min(self._known_prunes, prunes)  # a promoted standby may not have had the last ones
        parameters = (seen, self._channel_array(), str(after), upto, str(known), str(prunes))
        rows: Rows = yield Query(missed_sql(self._statements.tables), parameters)
        missed, since = rows[0]
        if since is not None:
            self._missed_since = min(self._missed_since, int(since)) if self._missed else int(since)
            self._missed += int(missed)
        self._known_prunes = prunes
