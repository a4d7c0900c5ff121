"""The ways on an event loop that the benchmarks compare, with asyncpg: each receives all that it is sent."""

from __future__ import annotations

import pytest

from benchmarks.measuring import Bench, Sizes
from benchmarks.results import DRAIN_CASES

SIZES = Sizes(small=300, fan_out=100)


@pytest.mark.parametrize(
    ("measure", "case", "way"),
    [
        ("drain", DRAIN_CASES[0], "AsyncListener.subscribe, coroutine, asyncpg"),
        ("drain", DRAIN_CASES[0], "add_listener, coroutine, asyncpg"),
        ("fan-out", "a hundred at a time", "subscription(), asyncpg"),
        ("fan-out", "one at a time", "dict of queues, asyncpg"),
    ],
)
def test_a_way_receives_all(measure, case, way, address):
    (task,) = (task for task in Bench(address, None, SIZES).tasks() if task[:3] == (measure, case, way))

    values = task.run()  # raises if one is missing

    assert all(value > 0 for value in values.values())
