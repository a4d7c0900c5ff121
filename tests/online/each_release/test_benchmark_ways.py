"""Each way that the benchmarks compare receives all that it is sent; how fast is not asked here."""

from __future__ import annotations

import pytest

from benchmarks.measuring import Bench, Sizes
from benchmarks.results import DRAIN_CASES
from benchmarks.ways import WAYS
from tests import kinds

SIZES = Sizes(small=300, large=100, round_trips=10)
KINDS = {kind.name for kind in kinds.selected()}
# Of the ways on an event loop one for each kind: the session quick_bench runs the others on psycopg.
TESTED = [
    way
    for way in WAYS
    if way.connection in KINDS and (way.section == "blocking" or way.name == f"async handler, {way.connection}")
]


@pytest.mark.parametrize("way", TESTED, ids=lambda way: way.name)
def test_a_way_receives_a_backlog(way, address):
    measured = [task for task in Bench(address, None, SIZES).tasks() if task.way == way.name]
    if way.name.startswith("fetch, "):
        task = next(task for task in measured if (task.measure, task.case) == ("channels", "100"))
    else:
        case = DRAIN_CASES[1 if way.section == "blocking" else 0]
        task = next(task for task in measured if (task.measure, task.case) == ("drain", case))

    values = task.run()  # raises if one is missing

    assert all(value > 0 for value in values.values())
