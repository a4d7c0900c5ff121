"""Steps that are made in C: all of them, in order, or none."""

from __future__ import annotations

from collections import deque

import pytest

from pgnotify.atomic import at_once, pops, then


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
