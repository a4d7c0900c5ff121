"""The results as tables in Markdown, and their places in a page; see `benchmarks.tables`."""

from __future__ import annotations

from benchmarks.outbox.measuring import (
    ALONE,
    ANALYZED,
    FSYNC_OFF,
    FSYNC_ON,
    NEVER_ANALYZED,
    NOTIFY_MANY,
    NOTIFY_ONE,
    ROW_AND_NOTIFY,
    ROW_AND_NOTIFY_AT_ONCE,
    WRITING,
)
from benchmarks.outbox.targets import caught_up, drained, left, p50, sent, targets
from benchmarks.outbox.ways import PLAIN
from benchmarks.results import MISSING, Results, number, ratio
from benchmarks.tables import EN_DASH, padded, summary

NOTHING = "nothing"


def by_name(results: Results) -> dict[str, str]:
    """Return the tables by their names in a page; see `benchmarks.tables.put_into`."""
    return {
        "summary": summary(results),
        "targets": targets_table(results),
        "drains": drains_table(results),
        "latencies": latencies_table(results),
        "sending": sending_table(results),
        "catching-up": catching_up_table(results),
        "left-behind": left_behind_table(results),
    }


def report(results: Results) -> str:
    """Return all tables, with headings."""
    texts = (f"## {name}\n\n{table}" for name, table in by_name(results).items())
    return "\n\n".join(("# The outbox", *texts)) + "\n"


def targets_table(results: Results) -> str:
    """Return a row for each target."""
    rows = [(held.text, str(held.wanted), held.shown, held.verdict, held.detail) for held in targets(results)]
    return padded(("target", "wanted", "measured", "", "detail"), rows, left=(0, 3, 4))


def drains_table(results: Results) -> str:
    """Return how many messages each way delivers in a second, in thousands."""
    rows = []
    for way in results.ways:
        if way.name == PLAIN:
            continue
        spread = results.spread("drain", NEVER_ANALYZED, way.name, "per_second")
        ends = [_thousands(end) for end in spread or ()]
        rows.append(
            (
                way.name,
                _thousands(drained(results, way.name, NEVER_ANALYZED)),
                EN_DASH.join(ends) or MISSING,
                _thousands(drained(results, way.name, ANALYZED)),
                _unless_stalled(results, way.name, "drain", _thousands(drained(results, way.name, WRITING))),
                number(results.median("drain", NEVER_ANALYZED, way.name, "cpu_us")),
            )
        )
    header = ("way", "never analyzed", f"min{EN_DASH}max", "analyzed", "a write transaction open", "CPU µs")
    return padded(header, rows)


def latencies_table(results: Results) -> str:
    """Return the time from the call to the callback, in µs."""
    rows = []
    for way in results.ways:
        if not results.cases("latency") or p50(results, way.name) is None:
            continue
        rows.append(
            (
                way.name,
                number(p50(results, way.name)),
                number(results.median("latency", ALONE, way.name, "p99")),
                number(ratio(p50(results, way.name), p50(results, PLAIN))),
                _unless_stalled(results, way.name, "latency", number(p50(results, way.name, WRITING))),
                number(results.median("latency", WRITING, way.name, "p99")),
            )
        )
    return padded(("way", "p50", "p99", ": plain NOTIFY", "a write transaction open, p50", "p99"), rows)


def sending_table(results: Results) -> str:
    """Return the time that it takes to send, in µs."""
    rows = [
        (what, *(number(sent(results, fsync, what)) for fsync in (FSYNC_OFF, FSYNC_ON)))
        for what in (ROW_AND_NOTIFY, ROW_AND_NOTIFY_AT_ONCE, NOTIFY_ONE, NOTIFY_MANY)
    ]
    return padded(("what", FSYNC_OFF, FSYNC_ON), rows)


def catching_up_table(results: Results) -> str:
    """Return the seconds and the MB of catching up, for each number of messages."""
    cases = sorted(results.cases("catch up"), key=lambda case: int(case.replace(",", "")))
    rows = [
        (
            way.name,
            *(number(caught_up(results, way.name, case, "seconds")) for case in cases),
            *(number(caught_up(results, way.name, case, "mb")) for case in cases),
        )
        for way in results.ways
        if "catch up" in results.measures(way.name)
    ]
    return padded(("way", *(f"{case}, s" for case in cases), *("MB" for _ in cases)), rows)


def left_behind_table(results: Results) -> str:
    """Return what each consumed message leaves behind."""
    rows = [
        (way.name, number(left(results, way.name, "dead_each")), number(left(results, way.name, "bytes_each")))
        for way in results.ways
        if "left behind" in results.measures(way.name)
    ]
    return padded(("way", "dead rows", "bytes"), rows)


def _unless_stalled(results: Results, way: str, measure: str, text: str) -> str:
    """Return a text; that nothing has arrived, if a way was measured with a write transaction open and has stalled."""
    if measure not in results.measures(way) or WRITING not in results.cases(measure):
        return text
    is_stalled = results.median(measure, WRITING, way, "stalled")
    return NOTHING if is_stalled else text


def _thousands(per_second: float | None) -> str:
    return number(None if per_second is None else per_second / 1000)
