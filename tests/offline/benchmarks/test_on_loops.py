"""What the benchmarks say about the ways on an event loop, and about streams."""

from __future__ import annotations

import pytest

from benchmarks import tables
from benchmarks.results import (
    ASYNC_NOTIFIES,
    CALLBACKS,
    CONSUMERS,
    COROUTINES,
    DRAIN_CASES,
    IDLE_HANDLERS,
    ON_LOOP,
    ON_LOOP_TARGETS,
    PENDING,
    QUEUES,
    SSE,
    TASKS_ON_LOOP,
    UVLOOP,
    Results,
    targets,
)
from benchmarks.ways import WAYS

FIRST = DRAIN_CASES[0]
LISTED = tuple(way for way in WAYS if way.section != "blocking")


def canned(*runs):
    """Return results of one round with these runs: measure, case, way, and values."""
    found = Results(
        {
            "rounds": 1,
            "ways": [
                {"name": w.name, "group": w.group, "driver": w.driver, "connection": w.connection, "section": w.section}
                for w in LISTED
            ],
            "runs": [],
        }
    )
    for measure, case, way, values in runs:
        found.add(measure, case, way, values)
    return found


def drain(way, per_second):
    return ("drain", FIRST, way, {"per_second": per_second})


def target(found, text):
    (held,) = (held for held in targets(found) if held.text == text)
    return held


def row(table, name):
    """Return the cells of the row of a way."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    (cells,) = (cells for cells in rows if name in cells)
    return cells[cells.index(name) + 1 :]


def test_the_worse_of_the_two_fronts_counts():
    found = canned(
        drain("async handler, psycopg", 200),
        drain("AsyncListener.subscribe, psycopg", 180),
        drain("async handler, pg8000.native", 1),
        drain(ON_LOOP, 100),
        drain(ASYNC_NOTIFIES, 80),
    )

    held = target(found, "callback on psycopg, on an event loop : asyncpg's add_listener, worse front")
    own = target(found, "callback on psycopg, on an event loop : its async notifies(), worse front")

    assert (held.measured, held.verdict) == (1.8, "met")
    assert held.detail == "async handler, psycopg: 2.00; AsyncListener.subscribe, psycopg: 1.80"
    assert (own.measured, own.verdict) == (2.25, "missed")


def test_the_worst_driver_counts_for_a_latency_too():
    found = canned(
        ("latency", UVLOOP, "async handler, psycopg", {"p50": 50}),
        ("latency", UVLOOP, "AsyncListener.subscribe, pg", {"p50": 66}),
        ("latency", "", "async handler, pg", {"p50": 99}),
        ("latency", UVLOOP, ON_LOOP, {"p50": 60}),
    )

    held = target(found, "latency p50 on uvloop : asyncpg's add_listener, worst driver")

    assert (held.measured, held.verdict) == (1.1, "missed")
    assert target(found, "latency p50 on asyncio : asyncpg's add_listener, worst driver").detail == (
        f"not measured: {ON_LOOP}"
    )


def test_coroutine_functions_are_compared_with_tasks():
    ways = [f"{name}, {kind}" for name in COROUTINES for kind in ("psycopg", "pg")]
    found = canned(*(drain(way, 90 + number) for number, way in enumerate(ways)), drain(TASKS_ON_LOOP, 30))

    held = target(found, "coroutine callback : asyncpg's, a task for each notification, worst driver")

    assert (held.measured, held.verdict) == (3, "met")
    assert row(tables.asyncio_table(found), ways[0])[3] == "3.00"


@pytest.mark.parametrize(("per_second", "verdict"), [(100, "met"), (99, "missed")])
def test_streams_are_compared_with_queues(per_second, verdict):
    case = "one at a time"
    found = canned(
        ("fan-out", case, "subscription(), psycopg", {"per_second": per_second}),
        ("fan-out", case, "subscription(), asyncpg", {"per_second": 150}),
        ("fan-out", case, QUEUES, {"per_second": 100}),
        ("fan-out", case, SSE, {"per_second": 10}),
    )

    assert target(found, f"1,000 streams, {case} : a dict of queues").verdict == verdict
    assert target(found, f"1,000 streams, {case} : sse-starlette").measured == per_second / 10


def test_many_handlers_must_not_wake_up():
    found = canned(("idle", IDLE_HANDLERS, "async handler, psycopg", {"wakeups": 0}))

    assert target(found, "wake-ups while idle, 1,000 handlers on one event loop").verdict == "met"


def test_a_row_has_each_number_in_its_place():
    found = canned(
        ("drain", FIRST, "async handler, psycopg", {"per_second": 700e3, "cpu_us": 1.4}),
        drain(ON_LOOP, 350e3),
        ("latency", "", "async handler, psycopg", {"p50": 61, "p99": 162}),
        ("latency", UVLOOP, "async handler, psycopg", {"p50": 51, "p99": 152}),
        ("memory", PENDING, "async handler, psycopg", {"mb": 0.4}),
        ("idle", "", "async handler, psycopg", {"wakeups": 12}),
        ("fan-out", "one at a time", QUEUES, {"per_second": 520e3, "cpu_us": 1.9}),
        ("fan-out", "a hundred at a time", QUEUES, {"per_second": 2.7e6, "cpu_us": 0.37}),
        ("memory", CONSUMERS, QUEUES, {"kb": 4.5}),
    )

    cells = row(tables.asyncio_table(found), "async handler, psycopg")
    numbers = ["700", "700\N{EN DASH}700", "2.00", "1.40", "61.0", "162", "51.0", "152", "0.400", "12"]

    assert cells == ["ours", *numbers]
    assert row(tables.streams_table(found), QUEUES) == ["520", "1.90", "2,700", "0.370", "4.50"]
    assert tables.ways_table(found) == "Not measured."


def test_results_without_such_ways_have_no_targets_for_them():
    blocking = Results({"rounds": 1, "ways": [], "runs": []})

    assert {held.text for held in targets(blocking)}.isdisjoint(text for text, *_ in ON_LOOP_TARGETS)


def test_the_ways_that_the_targets_name_are_measured():
    named = {ON_LOOP, TASKS_ON_LOOP, ASYNC_NOTIFIES, QUEUES, SSE}
    ours = {f"{name}, psycopg" for name in (*CALLBACKS, *COROUTINES, "AsyncListener, iterated", "subscription()")}

    assert named | ours <= {way.name for way in LISTED}
