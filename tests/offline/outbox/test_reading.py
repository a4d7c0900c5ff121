"""What a reader asks the server for, without one: at the end, and while the consumers are busy."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import pytest

from pgnotify.listener.wanted import Wanted
from pgnotify.listener.watch import ListenerWatch
from pgnotify.outbox.durable import DurableReading, Piece
from pgnotify.outbox.in_memory import InMemoryReading
from pgnotify.outbox.position import Position
from pgnotify.outbox.statements import Statements
from pgnotify.outbox.tables import Tables
from pgnotify.program import actions as p
from tests.helpers.play import Clock

STATEMENTS = Statements(Tables("box", "public"))


class Policy:
    """The part of a policy that a step uses."""

    def __init__(self) -> None:
        self.clock = Clock()


class Consumers:
    """Consumers that are not done with these messages."""

    def __init__(self, undone: Collection[int] | None) -> None:
        self._undone = undone

    def is_done(self) -> bool:
        return self._undone is not None and not self._undone

    has_room = is_done

    def undone(self) -> Collection[int] | None:
        return self._undone

    def take_back(self) -> bool:
        return False

    def discard(self) -> None:
        pass


def durable(undone: Collection[int] | None, *ids: int, last: int | None = None) -> tuple[DurableReading, ListenerWatch]:
    watch = ListenerWatch(Wanted("orders"))
    reading = DurableReading(STATEMENTS, watch, "own", "billing", "new")
    reading.consumers(Consumers(undone))
    if ids:
        reading.piece = Piece("token", ids, last)
    return reading, watch


def asked(program: p.Program[Any], *outcomes: Any) -> list[p.Action]:
    """Return what a program asks for; after the outcomes, statements return one row."""
    actions: list[p.Action] = []
    left = list(outcomes)
    outcome: Any = None
    try:
        while True:
            actions.append(program.send(outcome))
            outcome = left.pop(0) if left else [("billing",)]
    except StopIteration:
        return actions


def acknowledged(actions: list[p.Action]) -> list[tuple[str | None, ...]]:
    return [action.parameters for action in actions if isinstance(action, p.Query) and "SET seen" in action.sql]


@pytest.mark.parametrize(
    ("undone", "last", "expected"),
    [
        ([], None, None),  # the set has ended: the position is its snapshot
        ([], 40, "40"),
        ([30], None, "20"),
        ([20, 30], None, "10"),
        ([20], None, "10"),  # 30 is done, but does not come before 20
        ([5], 40, "40"),  # of an earlier piece
    ],
)
def test_at_the_end_it_acknowledges_what_all_are_done_with(undone, last, expected):
    reading, watch = durable(undone, 10, 20, 30, last=last)

    ((name, token, up_to, _),) = acknowledged(asked(reading.leave(watch)))

    assert (name, token, up_to) == ("billing", "token", expected)


@pytest.mark.parametrize("undone", [None, [10], [10, 20, 30]])
def test_at_the_end_it_acknowledges_nothing_if_they_are_done_with_nothing(undone):
    reading, watch = durable(undone, 10, 20, 30)

    assert acknowledged(asked(reading.leave(watch))) == []


def test_it_leaves_the_acknowledgement_of_batches_to_the_user():
    reading, watch = durable([], 10, 20, 30)
    reading.in_batches_of(3)

    assert acknowledged(asked(reading.leave(watch))) == []


@pytest.mark.parametrize("where", ["durable", "in memory"])
def test_while_the_consumers_are_busy_it_waits_for_them_and_not_for_a_time(where):
    reading: Any
    reading, watch = durable([10], 10)
    if where == "in memory":
        reading = InMemoryReading(STATEMENTS, watch, "own", "new")
        reading._position = Position("1:1:", 0)
        reading.consumers(Consumers([10]))
    policy: Any = Policy()
    reading.next_step_at = policy.clock() - 1.0  # it polls, and its time has come

    assert asked(reading.step(watch, policy)) == []
    assert reading.is_held_up
    assert reading.next_step_at == math.inf

    reading.consumers(Consumers([]))
    assert isinstance(next(reading.step(watch, policy)), p.Query)


def test_progress_is_stored_up_to_what_all_are_done_with():
    reading, watch = durable([20], 10, 20, 30)
    del watch

    assert reading.done_with(lambda: None, math.inf)

    ((_, token, up_to, more_follows),) = acknowledged(asked(reading.store_progress()))
    assert (token, up_to, more_follows) == ("token", "10", "1")


def test_progress_in_an_earlier_piece_says_nothing_about_the_present_one():
    reading, _ = durable([20], 10, 20, 30)
    assert reading.done_with(lambda: None, math.inf)
    reading.piece = Piece("other", (5, 15), None)  # 10 lies between its messages

    assert acknowledged(asked(reading.store_progress())) == []
