"""A position in memory goes back after a loss to what is on disk, and leaves out what was delivered since."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from pgnotify.outbox.position import BEGINNING, REMEMBERED, Place, Position
from pgnotify.outbox.rows import Head
from tests.helpers.interrupting import AVAILABLE, Interruption, TimeLimit, faults_at_each_place, time_limit

# What may happen to a server: a message, a rollback, a flush, a crash, the end of a session; and a read of some rows.
EVENTS = st.lists(
    st.sampled_from(
        ["message", "message", "rollback", "rollback", "flush", "crash", "loss", "read1", "read2", "read9"]
    ),
    max_size=60,
)


class Server:
    """A server on which each transaction is one record of the log, and has the number of that record as its id."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...] | None] = []
        self.flushed = 0
        self._clock = 0

    def happens(self, what: str) -> None:
        if what == "flush":
            self.flushed = len(self.log)
        elif what == "crash":
            del self.log[self.flushed :]  # transaction ids come again, and so do the ids of messages
        elif what == "rollback":
            self.log.append(None)
        else:
            self._clock += 1
            self.log.append(("c", "", 1, 1 + sum(each is not None for each in self.log), self._clock))

    def snapshot(self) -> str:
        return f"{len(self.log) + 1}:{len(self.log) + 1}:"

    def read(self, position: Position, limit: int, got: deque[Any]) -> bool:
        seen, upto, after = position.place
        fresh, upto = upto is None, upto or self.snapshot()
        between = self.log[_xmax(seen) - 1 : _xmax(upto) - 1]
        found = [each for each in between if each is not None and each[3] > after][:limit]
        head = Head(
            upto=upto,
            seen=seen,
            after=after,
            looked_up_to=after,
            is_copy=False,
            is_ahead=False,
            in_transaction=False,
            expired=0,
            many=False,
            found_any=bool(found),
            is_fresh=fresh,
            is_taken=False,
            prunes=0,
            expired_since=0,
            inserted=len(self.log),
            flushed=self.flushed,
            timeline="1",
            table_bytes=0,
        )
        position.read(head, found, found[-1][3] if len(found) == limit else None, got)
        return bool(found) or not fresh


def _xmax(snapshot: str) -> int:
    return int(snapshot.split(":")[1])


@given(EVENTS)
def test_each_message_arrives_once_whatever_is_lost(events: list[str]) -> None:
    server, got = Server(), deque[Any]()
    position = Position(server.snapshot(), 0)
    for what in events:
        if what.startswith("read"):
            server.read(position, int(what[4:]), got)
        elif what == "loss":
            position.session_lost()
        else:
            server.happens(what)
            if what == "crash":
                position.session_lost()
    while server.read(position, 9, got):
        pass
    there = {each for each in server.log if each is not None}
    assert there <= set(got)
    assert len(set(got)) == len(got)
    event(f"lost in a crash: {len(set(got) - there) > 0}")


@given(EVENTS)
def test_it_remembers_no_more_than_what_is_not_on_disk(events: list[str]) -> None:
    server, got = Server(), deque[Any]()
    position = Position(server.snapshot(), 0)
    for what in events:
        if what.startswith("read"):
            server.read(position, int(what[4:]), got)
        elif what in ("loss", "crash"):
            position.session_lost()
        else:
            server.happens(what)
    server.happens("flush")
    while server.read(position, 9, got):
        pass
    assert not position._pending
    assert not position._skipped
    assert len(position._latest) <= REMEMBERED


def test_a_loss_within_a_set_that_is_on_disk_leaves_out_what_came_after_it() -> None:
    server, got = Server(), deque[Any]()
    position = Position(server.snapshot(), 0)
    for _ in range(3):
        server.happens("message")
    server.happens("flush")
    server.read(position, 2, got)
    server.happens("message")  # not on disk
    while server.read(position, 2, got):
        pass
    position.session_lost()
    while server.read(position, 2, got):
        pass
    assert [each[3] for each in got] == [1, 2, 3, 4]


def test_another_server_is_read_from_the_beginning_without_the_latest() -> None:
    server, got = Server(), deque[Any]()
    server.happens("message")
    position = Position(server.snapshot(), 0)
    server.happens("message")
    server.happens("flush")
    while server.read(position, 2, got):
        pass
    position.start_over()
    assert position.place == Place(BEGINNING)
    while server.read(position, 2, got):
        pass
    assert [each[3] for each in got] == [2, 1]


class Read:
    """Messages that are read in pieces; the session is lost, and they are read on."""

    def __init__(self):
        self.server = Server()
        self.position = Position(self.server.snapshot(), 0)
        self.got = deque()

    def run(self, interruption: Interruption):
        self.send(4)
        self.server.happens("flush")
        self.send(3)
        with interruption.here():
            self.until_done(lambda: self.server.read(self.position, 2, self.got))
        self.send(2)
        with interruption.here():
            self.until_done(self.position.session_lost)
        with interruption.here():
            self.until_done(lambda: self.server.read(self.position, 2, self.got))
        if list(self.got) != self.server.log:
            yield f"it got {[message[3] for message in self.got]}"

    def send(self, count):
        for _ in range(count):
            self.server.happens("message")

    def until_done(self, step):
        while True:
            try:
                if not step():
                    return
            except TimeLimit:
                pass

    def release(self):
        pass


@pytest.mark.skipif(not AVAILABLE, reason="not applicable: the places are others")
def test_a_signal_handler_that_raises_anywhere_makes_it_lose_and_double_nothing():
    with time_limit() as raise_time_limit:
        assert faults_at_each_place(Read, raise_time_limit) == ""
