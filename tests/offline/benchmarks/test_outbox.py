"""What the benchmarks of the outbox say about what they measured."""

from __future__ import annotations

import pytest

from benchmarks.outbox import measuring, tables
from benchmarks.outbox.targets import targets
from benchmarks.outbox.ways import DURABLE, HORIZON, PGQUE, PLAIN, UNNAMED, WAYS
from benchmarks.results import Results

GROUPS = {way.name: way.group for way in WAYS}


def canned(*runs):
    """Return results of these runs: measure, case, way, and the values."""
    found = Results(
        {
            "date": "2026-11-26",
            "command": "python -m benchmarks.outbox",
            "machine": {"processor": "AMD EPYC", "cores": 2, "system": "Linux x86_64"},
            "versions": {"Python": "3.11.7"},
            "rounds": 1,
            "sizes": {},
            "skipped": [],
            "ways": [
                {"name": way.name, "group": way.group, "driver": way.driver, "connection": way.kind} for way in WAYS
            ],
            "runs": [],
        }
    )
    for measure, case, way, values in runs:
        found.add(measure, case, way, values)
    return found


def verdicts(results):
    return {target.text: (target.measured, target.verdict) for target in targets(results)}


def test_a_target_is_met_by_the_way_without_a_name():
    found = canned(
        ("drain", measuring.NEVER_ANALYZED, UNNAMED, {"per_second": 400_000}),
        ("drain", measuring.NEVER_ANALYZED, DURABLE, {"per_second": 100_000}),
        ("drain", measuring.NEVER_ANALYZED, PGQUE, {"per_second": 500_000}),
        ("drain", measuring.WRITING, UNNAMED, {"per_second": 360_000}),
        ("latency", measuring.ALONE, UNNAMED, {"p50": 1_000}),
        ("latency", measuring.ALONE, PLAIN, {"p50": 500}),
        ("latency", measuring.WRITING, UNNAMED, {"p50": 2_000}),
        ("catch up", "250,000", UNNAMED, {"seconds": 1, "mb": 10}),
        ("catch up", "1,000,000", UNNAMED, {"seconds": 8, "mb": 51}),
    )

    held = verdicts(found)

    assert held["drain, never analyzed"] == (400_000, "met")
    assert held["drain, analyzed"] == (None, "not measured")
    assert held["drain : PgQue's consumer"] == (0.8, "missed")
    assert held["drain, a write transaction open : without"] == (0.9, "met")
    assert held["from the call to the callback, p50 : a plain NOTIFY"] == (2, "met")
    assert held["p50 without : a write transaction open"] == (0.5, "missed")
    assert held["catching up 1,000,000, memory above the start"] == (51, "missed")
    assert held["catching up 1,000,000 : 4 \N{MULTIPLICATION SIGN} 250,000, time"] == (2, "missed")


@pytest.mark.parametrize("measure", ["drain", "latency"])
def test_a_reader_that_stands_still_is_shown_as_one_that_gets_nothing(measure):
    found = canned(
        (measure, measuring.NEVER_ANALYZED, HORIZON, {"per_second": 1_000_000}),
        (measure, measuring.ALONE, HORIZON, {"p50": 900, "p99": 1_000}),
        (measure, measuring.WRITING, HORIZON, {"stalled": True}),
    )

    table = {"drain": tables.drains_table, "latency": tables.latencies_table}[measure](found)

    (line,) = (line for line in table.splitlines() if HORIZON in line)
    assert tables.NOTHING in line


def test_every_table_of_a_run_without_any_measurement_can_be_made():
    assert all(tables.by_name(canned()).values())
