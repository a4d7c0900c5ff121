"""Steps that are made in C: all of them, in order, or none."""

from __future__ import annotations

import sys
from collections import deque

import pytest

from pgnotify.atomic import WeakSet, at_once, pops, then


def test_calls_are_made_in_order():
    made = []

    at_once((made.append, (1,)), (made.extend, ([2, 3],)), (made.append, (4,)))

    assert made == [1, 2, 3, 4]


def test_a_call_that_fails_ends_the_calls():
    made = []

    with pytest.raises(IndexError):
        at_once((made.append, (1,)), ([].pop, ()), (made.append, (2,)))

    assert made == [1]


def test_items_are_moved():
    source, taker = [1, 2], deque([0])

    taker.extend(then(source[:], source.clear))

    assert (taker, source) == (deque([0, 1, 2]), [])


@pytest.mark.parametrize("items", [[], [1]])
def test_the_last_call_is_made_though_there_are_no_items_and_its_result_is_no_item(items):
    called = []

    assert list(then(items, called.append, "called")) == items
    assert called == ["called"]


def test_a_queue_is_popped_as_its_items_are_consumed_and_may_grow_again():
    queue = deque([1, 2])
    popped = pops(queue)

    assert next(popped) == 1
    assert queue == deque([2])
    assert next(popped) == 2
    with pytest.raises(IndexError):
        next(popped)
    queue.append(3)
    assert next(popped) == 3


# Things that are kept until they are deleted.


class Thing:
    """It is equal to all others, and not hashable."""

    def __eq__(self, other):
        return True


def test_a_weak_set_has_things_by_identity_until_they_are_deleted():
    things, kept, other = WeakSet(), Thing(), Thing()
    things.add(kept)
    things.add(kept)
    things.add(Thing())

    assert list(things) == [kept]
    assert kept in things
    assert other not in things


def test_what_is_taken_from_a_weak_set_is_not_in_it():
    things, one, other = WeakSet(), Thing(), Thing()
    things.add(one)
    things.add(other)

    things.discard(one)
    things.discard(one)
    assert one not in things
    things.clear()
    assert list(things) == []


def test_a_weak_set_keeps_nothing_of_what_is_deleted():
    things = WeakSet()
    things.add(Thing())

    assert things._references == {}


def test_the_deletion_of_a_thing_runs_no_code_that_a_signal_handler_could_interrupt():
    things, thing = WeakSet(), Thing()
    things.add(thing)
    called = []

    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        del thing
    finally:
        sys.setprofile(None)

    assert called == []
    assert things._references == {}
