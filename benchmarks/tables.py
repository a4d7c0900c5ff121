"""The results as Markdown that also reads well in a terminal, and their places in a page.

A table is a header and rows of text. A number that was not measured is a dash, and a table without a row says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from benchmarks.results import (
    BY_HAND,
    CONSUMERS,
    DRAIN_CASES,
    FAN_OUT_CASES,
    MISSING,
    ON_LOOP,
    OWN_WAY,
    PENDING,
    TASKS_ON_LOOP,
    UVLOOP,
    Results,
    Way,
    handler,
    number,
    ratio,
    targets,
)

NOT_MEASURED = "Not measured."

EN_DASH = "\N{EN DASH}"  # between two ends
MIN_MAX = f"min{EN_DASH}max"

CODE_NAMES = ("pg", "pgdb", "pg8000.native")
"""Kinds of connection that are named as in code, not as their project calls itself."""


def report(results: Results) -> str:
    """Return the whole report, with headings."""
    sections = (
        ("Targets", "Ratios are those of the medians of this run.", targets_table(results)),
        (
            "Ways to receive",
            "Thousands a second while draining, with 14 bytes or 1 kB each, sent in one transaction (/1) or in a\n"
            "hundred (/100), and of the first of these the least and the greatest round and the CPU time of the\n"
            "listening process for each notification. Latency in µs. Peak MB with a million pending. Wake-ups and\n"
            "ms of CPU time in ten idle seconds.",
            ways_table(results),
        ),
        (
            "On an event loop",
            "Thousands a second while draining 14 bytes each, sent in one transaction; the least and the greatest\n"
            "round; the ratio to asyncpg's add_listener, with a callback of the same kind; CPU time for each. Latency\n"
            "in µs on asyncio's loop and on uvloop. Peak MB with a million pending. Wake-ups in ten idle seconds.",
            asyncio_table(results),
        ),
        (
            "Many consumers on one event loop",
            "Thousand deliveries a second of 1,000 notifications to each of 1,000 consumers, when the next one is\n"
            "sent after all have got the last one, and when a hundred are; CPU time for each delivery. kB for each of\n"
            "10,000 consumers that wait, its task included.",
            streams_table(results),
        ),
        (
            "Sending",
            "µs for each notification: notify() one by one, and notify_many() of 1,000.",
            publish_table(results),
        ),
        (
            "Many channels on one connection",
            "µs for each notification against the number of channels, and of these the CPU time.",
            channels_table(results),
        ),
        (
            "Many handlers in one process",
            "On psycopg, each on a connection, a channel and a thread of its own.",
            handlers_table(results),
        ),
        ("Import", "Time to import, in ms.", import_table(results)),
        ("Start", "Time from the start of a process to its end, in ms.", start_table(results)),
    )
    texts = (f"## {heading}\n\n{text}\n\n{table}" for heading, text, table in sections)
    return "\n\n".join(("# Benchmarks", summary(results), *texts)) + "\n"


def summary(results: Results) -> str:
    """Return the lines with the time, the place and the versions of the run, and the ways that were left out."""
    data, machine = results.data, results.data["machine"]
    rounds = "one round" if data["rounds"] == 1 else f"medians of {data['rounds']} rounds"
    lines = [
        f"{data['date']}, `{data['command']}`, {rounds}",
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
        ", ".join(f"{name} {version}" for name, version in data["versions"].items()),
        *(f"left out: {skipped}" for skipped in data["skipped"]),
    ]
    return "\n".join(f"- {line}" for line in lines)


def targets_table(results: Results) -> str:
    """Return a row for each target: wanted, measured, and whether it is met."""
    rows = [(held.text, str(held.wanted), held.shown, held.verdict, held.detail) for held in targets(results)]
    return padded(("target", "wanted", "measured", "", "detail"), rows, left=(0, 3, 4))


def ways_table(results: Results) -> str:
    """Return a row for each way to receive, measured or not, those of a driver together and named in the first."""
    header = (
        *("driver", "way", "group", "14 B/1", MIN_MAX, "14 B/100", "1 kB/1", "1 kB/100", "CPU µs"),
        *("p50", "p99", "max", "MB", "wakes", "idle ms"),
    )
    rows: list[tuple[str, ...]] = []
    named: set[str] = set()
    for way in results.by_driver():
        if way.section != "blocking" or way.name.startswith("fetch, "):
            continue  # fetch() is measured only with many channels, and has its row there
        rows.append(("" if way.driver in named else way.driver, way.name, way.group, *_of_way(results, way.name)))
        named.add(way.driver)
    return padded(header, rows, left=(0, 1, 2))


def asyncio_table(results: Results) -> str:
    """Return a row for each way on an event loop, measured or not, those of a driver together."""
    header = (
        *("driver", "way", "group", "14 B/1", MIN_MAX, ": asyncpg", "CPU µs"),
        *("p50", "p99", "uvloop p50", "p99", "MB", "wakes"),
    )
    rows: list[tuple[str, ...]] = []
    named: set[str] = set()
    for way in results.by_driver():
        if way.section == "asyncio":
            rows.append(("" if way.driver in named else way.driver, way.name, way.group, *_on_loop(results, way)))
            named.add(way.driver)
    return padded(header, rows, left=(0, 1, 2))


def _on_loop(results: Results, way: Way) -> tuple[str, ...]:
    case, name = DRAIN_CASES[0], way.name
    peer = TASKS_ON_LOOP if ", coroutine, " in name else ON_LOOP
    spread = results.spread("drain", case, name, "per_second")
    return (
        _thousands(results.median("drain", case, name, "per_second")),
        _range(*(_thousands(end) for end in spread or (None, None))),
        number(results.speed_to(case, name, peer)),
        number(results.median("drain", case, name, "cpu_us")),
        *(number(results.median("latency", loop, name, value)) for loop in ("", UVLOOP) for value in ("p50", "p99")),
        number(results.median("memory", PENDING, name, "mb")),
        _count(results.median("idle", "", name, "wakeups")),
    )


def streams_table(results: Results) -> str:
    """Return a row for each way to have many consumers on one event loop."""
    rows = [
        (
            way.name,
            *(
                cell
                for case in FAN_OUT_CASES
                for cell in (
                    _thousands(results.median("fan-out", case, way.name, "per_second")),
                    number(results.median("fan-out", case, way.name, "cpu_us")),
                )
            ),
            number(results.median("memory", CONSUMERS, way.name, "kb")),
        )
        for way in results.ways
        if way.section == "streams"
    ]
    header = (*("way", "one at a time", "CPU µs"), *("a hundred at a time", "CPU µs", "kB each"))
    return padded(header, rows)


def _of_way(results: Results, way: str) -> tuple[str, ...]:
    rates = [_thousands(results.median("drain", case, way, "per_second")) for case in DRAIN_CASES]
    spread = results.spread("drain", DRAIN_CASES[0], way, "per_second")
    return (
        rates[0],
        _range(*(_thousands(end) for end in spread or (None, None))),
        *rates[1:],
        number(results.median("drain", DRAIN_CASES[0], way, "cpu_us")),
        *(number(results.median("latency", "", way, value)) for value in ("p50", "p99", "max")),
        number(results.median("memory", PENDING, way, "mb")),
        _count(results.median("idle", "", way, "wakeups")),
        number(results.median("idle", "", way, "cpu_ms")),
    )


def publish_table(results: Results) -> str:
    """Return a row for each way to send: one by one, in a thousand, and the ratio."""
    rows = []
    for way in _measured(results, "publish"):
        one, many = (results.median("publish", "", way, value) for value in ("one_us", "many_us"))
        rows.append((way, number(one), number(many), number(ratio(one, many))))
    return padded(("way", "one by one", "in 1,000", "ratio"), rows)


def channels_table(results: Results) -> str:
    """Return a row for each way, columns for each number of channels."""
    cases = sorted(results.cases("channels"), key=int)
    rows = [
        (
            way,
            *(number(results.median("channels", case, way, "us")) for case in cases),
            *(number(results.median("channels", case, way, "cpu_us")) for case in cases),
        )
        for way in _measured(results, "channels")
    ]
    numbers = [f"{int(case):,}" for case in cases]
    return padded(("way", *numbers, *(f"CPU {each}" for each in numbers)), rows)


def handlers_table(results: Results) -> str:
    """Return a row for each number of handlers that listen at a time."""
    values = ("cpu_us", "kb", "commits_per_second")
    rows = [
        (f"{int(case):,}", *(number(results.median("handlers", case, way, value)) for value in values))
        for way in _measured(results, "handlers")
        for case in sorted(results.cases("handlers"), key=int)
    ]
    return padded(("handlers", "CPU µs each", "kB each", "commits a second"), rows, left=())


def import_table(results: Results) -> str:
    """Return a row for each thing imported, in the order measured."""
    return padded(("import", "ms", MIN_MAX), _times(results, "import"))


def start_table(results: Results) -> str:
    """Return a row for each program that was started, in the order measured."""
    return padded(("program", "ms", MIN_MAX), _times(results, "start"))


def _times(results: Results, measure: str) -> list[tuple[str, str, str]]:
    """Return the cases of a measure that no way belongs to, with their times."""
    rows = []
    for case in results.cases(measure):
        low, high = results.spread(measure, case, "", "ms") or (None, None)
        rows.append((case, number(results.median(measure, case, "", "ms")), _range(number(low), number(high))))
    return rows


def short_table(results: Results) -> str:
    """Return the short table: our handler on one kind of connection for each driver."""
    header = (
        *("connection", "ours, per second", "to the driver's own way", "to the best loop by hand", "CPU each"),
        *("latency, p50", "a million pending", "idle wake-ups"),
    )
    return padded(header, [_short(results, kind) for kind in BY_HAND])


def _short(results: Results, kind: str) -> tuple[str, ...]:
    way, case = handler(kind), DRAIN_CASES[0]
    return (
        f"`{kind}`" if kind in CODE_NAMES else kind,
        number(results.median("drain", case, way, "per_second")),
        number(results.speed_to(case, way, OWN_WAY.get(kind, ""))),
        number(results.speed_to(case, way, BY_HAND[kind])),
        _with_unit(results.median("drain", case, way, "cpu_us"), "µs"),
        _with_unit(results.median("latency", "", way, "p50"), "µs"),
        _with_unit(results.median("memory", PENDING, way, "mb"), "MB"),
        _count(results.median("idle", "", way, "wakeups")),
    )


def _measured(results: Results, measure: str) -> list[str]:
    return [way.name for way in results.by_driver() if measure in results.measures(way.name)]


def _thousands(per_second: float | None) -> str:
    return number(None if per_second is None else per_second / 1000)


def _range(low: str, high: str) -> str:
    return MISSING if low == MISSING else f"{low}{EN_DASH}{high}"


def _count(count: float | None) -> str:
    return MISSING if count is None else f"{count:,g}"


def _with_unit(value: float | None, unit: str) -> str:
    return MISSING if value is None else f"{number(value)} {unit}"


def padded(header: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Return a padded table, its columns to the right except for these."""
    texts = [tuple(cell.replace("|", r"\|") for cell in row) for row in rows]
    if not texts:
        return NOT_MEASURED
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(header, *texts, strict=True)]
    rule = [":" + "-" * (width - 1) if i in left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [
        [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in (header, *texts)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (lines[0], rule, *lines[1:]))


# In a page.


def by_name(results: Results) -> dict[str, str]:
    """Return the tables by their names in a page; see put_into()."""
    makers = (
        *(summary, targets_table, ways_table, asyncio_table, streams_table),
        *(publish_table, channels_table, handlers_table, import_table, start_table),
    )
    named = {maker.__name__.removesuffix("_table"): maker(results) for maker in makers}
    return {**named, "short": short_table(results)}


MARKER = re.compile(r"<!-- (?:bench:(?P<name>\S+)|(?P<end>/bench)) -->")


def put_into(page: str, tables: dict[str, str]) -> str:
    """Put each table between ``<!-- bench:NAME -->`` and ``<!-- /bench -->``; the rest of the page stays.

    Raises:
        ValueError: a marker names no table, has no end, or is an end without a beginning.
    """
    parts: list[str] = []
    done, name = 0, ""
    for marker in MARKER.finditer(page):
        if marker["end"] and not name:
            raise ValueError(f"{marker[0]} ends nothing, on line {page.count(chr(10), 0, marker.start()) + 1}")
        if not marker["end"] and name:
            raise ValueError(f"<!-- bench:{name} --> has no end before {marker[0]}")
        if marker["end"]:
            parts.append(f"\n\n{tables[name]}\n\n")
            done, name = marker.start(), ""
        else:
            name = _known(marker["name"], tables)
            parts.append(page[done : marker.end()])
    if name:
        raise ValueError(f"<!-- bench:{name} --> has no end")
    return "".join((*parts, page[done:]))


def _known(name: str, tables: dict[str, str]) -> str:
    if name not in tables:
        raise ValueError(f"<!-- bench:{name} --> names no table, there are {', '.join(tables)}")
    return name
