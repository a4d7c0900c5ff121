"""Plays a listener's part for the reader of an outbox on a real server, one statement at a time.

Its session is lost before or after any statement that a test names, so each of its programs is seen to end everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import psycopg

import pgnotify
from pgnotify.errors import ConnectionLost
from pgnotify.listener.gap import Moment
from pgnotify.listener.wanted import Wanted
from pgnotify.listener.watch import Link, ListenerWatch
from pgnotify.message import Message
from pgnotify.outbox.statements import Statements
from pgnotify.outbox.tables import Tables
from pgnotify.program import actions as p
from pgnotify.protocol import query


class Policy:
    """The part of a policy that the reader uses."""

    clock = staticmethod(time.monotonic)
    can_reconnect = True

    def now(self) -> Moment:
        return Moment(time.time(), time.monotonic())


class SmallStatements(Statements):
    """Statements with small limits, so that few messages are many."""

    def read_name(self, limit: int, table_bytes: int) -> str:
        return _small(super().read_name(limit, table_bytes))

    def read(self, limit: int, table_bytes: int, flushes: bool = False) -> str:
        return _small(super().read(limit, table_bytes, flushes))


def _small(statement: str) -> str:
    small = statement.replace("LIMIT 2001", "LIMIT 4").replace(" 2000::", " 3::").replace("LIMIT 5000", "LIMIT 6")
    assert small.count("LIMIT 6") == 2
    return small.replace(" 5000::", " 6::")


def small_outbox(name: str) -> pgnotify.Outbox:
    """Return an outbox with `SmallStatements`."""
    outbox = pgnotify.Outbox(name)
    outbox._statements = SmallStatements(Tables(outbox.name, outbox.schema))
    return outbox


class Losing:
    """When to lose the session: at a statement, before it reaches the server or after that."""

    def __init__(self, at: int = 0, after: bool = False) -> None:
        self.at = at
        """The number of the statement; 0 for never."""
        self.after = after


NEVER = Losing()


class Reader:
    """The reader of one listener in a process, and its session.

    Args:
        outbox: to read.
        dsn: of the server.
        channels: to read.
        durable: its name.
        pooled: whether a pooler is in between, so that nothing keeps a second reader of the name away.
    """

    def __init__(
        self,
        outbox: pgnotify.Outbox,
        dsn: str,
        channels: Collection[str],
        durable: str | None = None,
        pooled: bool = False,
        start: str = "new",
    ) -> None:
        self._dsn = dsn
        self._pooled = pooled
        self.watch = ListenerWatch(Wanted(*channels))
        self.reading: Any = outbox.reading(self.watch, durable, start, "own")
        self.reading.consumers(self)
        self.left: set[int] = set()
        """The ids of the messages that the consumer is not done with."""
        self.told: list[Any] = []
        self._session: psycopg.Connection[Any] | None = None

    # As consumers.

    def is_done(self) -> bool:
        return not self.left

    has_room = is_done

    def undone(self) -> set[int]:
        return self.left

    def take_back(self) -> bool:
        return False

    def discard(self) -> None:
        """Do nothing: nothing is kept here."""

    # What a test does.

    def step(self, losing: Losing = NEVER) -> list[Message]:
        """Read, in a new session if need be; return what was read."""
        try:
            if self._session is None:
                session = self._session = psycopg.connect(self._dsn, autocommit=True)
                self.watch.link = Link(p.Opened(pgnotify.wrap(session).backend, session.info.backend_pid))
                self.watch.link.behind_pooler = self._pooled
                self._play(self.reading.begin(self.watch, Policy()), losing)
            self.reading.hinted()
            self._play(self.reading.step(self.watch, Policy()), losing)
        except ConnectionLost:
            self.lose()
        messages = [Message(*plain) for plain in self.watch.queue]
        self.watch.queue.clear()
        return messages

    def leave(self, losing: Losing = NEVER) -> None:
        """End, as a listener does."""
        if self._session is not None:
            with suppress(ConnectionLost):
                self._play(self.reading.leave(self.watch), losing)
        self.lose()

    def lose(self) -> None:
        """Lose the session."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
        self.reading.session_lost()

    @property
    def is_due(self) -> bool:
        """Whether the reader wants to go on without a hint."""
        due: bool = self.reading._is_due
        return due

    def _play(self, program: p.Program[Any], losing: Losing) -> object:
        outcome: Any = None
        number = 0
        while True:
            try:
                action = program.throw(outcome) if isinstance(outcome, Exception) else program.send(outcome)
            except StopIteration as end:
                return end.value
            match action:
                case p.Query(sql, parameters, prepare):
                    number += 1
                    outcome = None
                    if number != losing.at or losing.after:
                        assert self._session is not None
                        outcome = query(pgnotify.wrap(self._session).backend, sql, parameters, prepare)
                    if number == losing.at:
                        outcome = ConnectionLost("as the test has it")
                case p.Tell(event):
                    self.told.append(event)
                    outcome = True
                case p.Wait():
                    outcome = None
                case _:
                    raise AssertionError(f"a reader does not ask for {action}")
