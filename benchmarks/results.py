"""The results: the file that keeps them, medians and spreads over the rounds, and the targets.

This module knows no clock and no driver. tables.py formats a number for a table, except for its digits,
which the details of the targets need, too.
"""

from __future__ import annotations

import json
import math
import operator
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

GROUPS = ("ours", "by hand", "own way", "limit")
"""Ours; the best known loop for the driver; the way of the driver or its documentation; the C program."""

DRAIN_CASES = ("14 B, 1 transaction", "14 B, 100 transactions", "1 kB, 1 transaction", "1 kB, 100 transactions")
"""The targets and the short table use the first."""

PENDING = "1,000,000 pending"
"""The case of the measure "memory" for the ways with one consumer."""

CONSUMERS = "each of 10,000 consumers"
"""The case of the measure "memory" for the ways with many."""

FAN_OUT_CASES = {"one at a time": 1, "a hundred at a time": 100}
"""How many notifications are sent together, to be delivered to a thousand consumers."""

IDLE_HANDLERS = "1,000 handlers on one event loop"
"""The case of the measure "idle" for many handlers."""

UVLOOP = "uvloop"
"""The case of the measure "latency" on a loop of this package."""

HELP = "pgnotify --help"
"""The case of the measure "start" for the command line, which imports its commands and shows their names."""

LIMIT = "C, libpq"
"""The limit: no way on libpq can be faster."""

BY_HAND = {
    "psycopg": "pgconn loop, psycopg",
    "psycopg2": "poll and swap, psycopg2",
    "pg": "getnotify loop, pg",
    "pgdb": "getnotify loop, pgdb",
    "pg8000.native": "bulk parse, pg8000.native",
}
"""The best loop by hand for each kind of connection."""

ON_LOOP = "add_listener, asyncpg"
"""What the ways on an event loop are compared with, if their callbacks are functions."""

TASKS_ON_LOOP = "add_listener, coroutine, asyncpg"
"""What they are compared with if their callbacks are coroutine functions."""

ASYNC_NOTIFIES = "async notifies(), psycopg_async"
"""What they are compared with on psycopg, too."""

QUEUES = "dict of queues, asyncpg"
SSE = "sse-starlette, asyncpg"
"""What streams are compared with."""

OWN_WAY = {
    "psycopg": "notifies(), psycopg",
    "psycopg2": "select-and-poll recipe, psycopg2",
    "pg": "PyGreSQL's handler, pg",
    "pg8000.native": "query per wake-up, pg8000.native",
}
"""The driver's own way for each kind of connection, as far as there is one."""

READS_WITH_EACH = ("pg", "pg.DB", "pgdb")
"""Kinds whose driver reads the socket with every notification that it returns, so that libpq queues more."""


class Way(NamedTuple):
    """A way to receive notifications, or to send them."""

    name: str
    """The method and the connection: ``"handler, psycopg"``."""
    group: str
    """One of GROUPS."""
    driver: str
    """The table is grouped by it."""
    connection: str
    """The kind of connection to open."""
    section: str = "blocking"
    """``"asyncio"`` on an event loop, ``"streams"`` with many consumers there."""

    @property
    def kind(self) -> str:
        """The kind of connection that the name ends with."""
        return self.name.rpartition(", ")[2]

    @property
    def is_handler(self) -> bool:
        """Whether it is our handler."""
        return self.group == "ours" and self.name.startswith("handler, ")


def handler(kind: str) -> str:
    """Return the name of the way that is our handler on this kind of connection."""
    return f"handler, {kind}"


class Results:
    """The results of one run of the benchmarks.

    Args:
        data: as it is in the file; kept, and added to by add().

    Raises:
        ValueError: a run names a way that is not among the ways, a way has no known group, or a value is
            not a finite number. Such a mistake would appear as "not measured".
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.ways = [Way(**way) for way in data["ways"]]
        """The ways in the order of the table."""
        self._runs: dict[tuple[str, str, str], list[dict[str, float | None]]] = {}
        for way in self.ways:
            if way.group not in GROUPS:
                raise ValueError(f"{way.name!r} is of the group {way.group!r}; the groups are {', '.join(GROUPS)}")
        for run in data["runs"]:
            self._take(run)

    def add(self, measure: str, case: str, way: str, values: dict[str, float | None]) -> None:
        """Add the values of one round; None if one cannot be measured on this machine."""
        run = {"measure": measure, "case": case, "way": way, "values": values}
        self._take(run)
        self.data["runs"].append(run)

    def _take(self, run: dict[str, Any]) -> None:
        measure, case, way, values = run["measure"], run["case"], run["way"], run["values"]
        if way and way not in {each.name for each in self.ways}:
            raise ValueError(f"{measure} was measured for {way!r}, which is not among the ways")
        for name, value in values.items():
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} of {measure}, {way!r}, is {value}, which is not a measured value")
        self._runs.setdefault((measure, case, way), []).append(values)

    def values(self, measure: str, case: str, way: str, value: str) -> list[float]:
        """Return the values of the rounds, none if it was not measured."""
        found = (run.get(value) for run in self._runs.get((measure, case, way), ()))
        return [each for each in found if each is not None]

    def median(self, measure: str, case: str, way: str, value: str) -> float | None:
        """Return the median of the rounds, None if it was not measured."""
        values = self.values(measure, case, way, value)
        return statistics.median(values) if values else None

    def spread(self, measure: str, case: str, way: str, value: str) -> tuple[float, float] | None:
        """Return the least and the greatest of the rounds, None if it was not measured."""
        values = self.values(measure, case, way, value)
        return (min(values), max(values)) if values else None

    def speed_to(self, case: str, way: str, other: str) -> float | None:
        """Return how many times as fast as the other this way drains."""
        return ratio(
            self.median("drain", case, way, "per_second"),
            self.median("drain", case, other, "per_second"),
        )

    def cases(self, measure: str) -> list[str]:
        """Return the measured cases, in the order in which they first appeared."""
        return list(dict.fromkeys(case for each, case, _ in self._runs if each == measure))

    def measures(self, way: str) -> set[str]:
        """Return the names of the measures of a way."""
        return {measure for measure, _, each in self._runs if each == way}

    def by_driver(self) -> list[Way]:
        """Return the ways, those of a driver together; drivers and ways in the order of the table otherwise."""
        drivers = list(dict.fromkeys(way.driver for way in self.ways))
        return sorted(self.ways, key=lambda way: drivers.index(way.driver))

    def handlers(self) -> list[Way]:
        """Return the ways that are our handler."""
        return [way for way in self.ways if way.is_handler]


def read(path: Path | str) -> Results:
    """Read the results from a file."""
    return Results(json.loads(Path(path).read_text(encoding="utf-8")))


def write(results: Results, path: Path | str) -> None:
    """Write the results to a file, a line for each run, so that two files can be compared."""
    head = json.dumps({**results.data, "runs": None}, indent=1, ensure_ascii=False)
    runs = ",\n".join("  " + json.dumps(run, ensure_ascii=False, allow_nan=False) for run in results.data["runs"])
    # Only the key can look like this: within a string its quotation marks are escaped.
    text = head.replace('\n "runs": null', f'\n "runs": [\n{runs}\n ]', 1)
    Path(path).write_text(f"{text}\n", encoding="utf-8")


MISSING = "\N{EN DASH}"
"""The sign for a number that was not measured."""


def ratio(one: float | None, other: float | None) -> float | None:
    """Return one : other, None if either was not measured or the divisor is zero."""
    return None if one is None or not other else one / other


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with this many significant digits; MISSING if it was not measured."""
    if value is None:
        return MISSING
    if not value:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))  # of the rounded one: 9.996 is 10.0
    return f"{rounded:,.{max(decimals, 0)}f}"


# The targets.


class Wanted(NamedTuple):
    """A condition on a number; as a string it reads as in the table."""

    sense: str
    """``"≥"``, ``"≤"`` or ``"="``."""
    bound: float
    """A number equal to it meets the condition."""
    unit: str = ""

    def met_by(self, measured: float) -> bool:
        """Return whether this number, not rounded, meets the condition."""
        compare = {"≥": operator.ge, "≤": operator.le, "=": operator.eq}[self.sense]
        return bool(compare(measured, self.bound))

    def __str__(self) -> str:
        sense = "" if self.sense == "=" else f"{self.sense} "
        return f"{sense}{self.bound:g} {self.unit}".rstrip()


class Target(NamedTuple):
    """A target and its measured number."""

    text: str
    wanted: Wanted
    measured: float | None
    """None: not measured."""
    met: bool | None
    """None: not measured."""
    detail: str
    """Whose number it is, the numbers of the other cases, and the ways that were not measured."""

    @property
    def verdict(self) -> str:
        """Met, missed, or not measured."""
        return {None: "not measured", False: "missed", True: "met"}[self.met]

    @property
    def shown(self) -> str:
        """The measured number, with enough digits not to contradict the verdict."""
        if self.measured is None:
            return number(None)
        if self.wanted.sense == "=":
            return f"{self.measured:g}"  # a count
        texts = (number(self.measured, digits) for digits in range(3, 18))
        honest = (text for text in texts if self.wanted.met_by(float(text.replace(",", ""))) == self.met)
        return f"{next(honest, self.measured)} {self.wanted.unit}".rstrip()


Found = tuple[float | None, str]
"""The number, and the detail."""


def _speed_to(others: dict[str, str], kind: str) -> Callable[[Results], Found]:
    """Return a function that finds the ratio of our handler's speed to that of another way on the same kind."""

    def found(results: Results) -> Found:
        ways = handler(kind), others[kind]
        ratios = {case: results.speed_to(case, *ways) for case in DRAIN_CASES}
        first, *more = DRAIN_CASES
        absent = [way for way in ways if not results.values("drain", first, way, "per_second")]
        details = [f"{case}: {number(ratios[case])}" for case in more if ratios[case] is not None]
        return ratios[first], _joined(details, " and ".join(absent))

    return found


def _to_handler(name: str) -> Callable[[Results], Found]:
    """Return a function that finds the least ratio of the speed of a way of the Listener to that of our handler."""

    def found(results: Results) -> Found:
        ways = [way for way in results.ways if way.name == f"{name}, {way.kind}"]
        ratios = {way.kind: results.speed_to(DRAIN_CASES[0], way.name, handler(way.kind)) for way in ways}
        measured = {kind: each for kind, each in ratios.items() if each is not None}
        absent = ", ".join(kind for kind in ratios if kind not in measured)
        details = [f"{kind}: {number(each)}" for kind, each in measured.items()]
        return min(measured.values(), default=None), _joined(details, absent)

    return found


def _of_handlers(
    pick: Callable[[Iterable[float]], float],
    figure: Callable[[Results, str], float | None],
    counts: Callable[[str], bool] = lambda _: True,
) -> Callable[[Results], Found]:
    """Return a function that finds the least or the greatest number of our handlers, and whose it is."""

    def found(results: Results) -> Found:
        figures = {way.kind: figure(results, way.name) for way in results.handlers() if counts(way.kind)}
        measured = {kind: each for kind, each in figures.items() if each is not None}
        absent = ", ".join(kind for kind in figures if kind not in measured)
        if not measured:
            return None, _joined([], absent)
        picked = pick(measured.values())
        kinds = [kind for kind, each in measured.items() if each == picked]
        whose = "all of them" if len(kinds) == len(measured) > 1 else ", ".join(kinds)
        return picked, _joined([whose], absent)

    return found


def _latency_to_limit(pick: Callable[[Iterable[float]], float]) -> Callable[[Results], Found]:
    """Return a function that finds the least or the greatest ratio of our latency to that of the limit."""

    def found(results: Results) -> Found:
        limit = results.median("latency", "", LIMIT, "p50")
        if limit is None:
            return None, _joined([], LIMIT)  # whether or not ours was
        return _of_handlers(pick, lambda results, way: ratio(results.median("latency", "", way, "p50"), limit))(results)

    return found


CALLBACKS = ("async handler", "AsyncListener.subscribe")
"""Our two ways on an event loop whose callbacks are functions."""

COROUTINES = tuple(f"{name}, coroutine" for name in CALLBACKS)
"""The same with coroutine functions."""


def _on_loop(
    names: tuple[str, ...],
    kinds: Callable[[str], bool],
    other: str,
    measured: tuple[str, str, str] = ("drain", DRAIN_CASES[0], "per_second"),
    pick: Callable[[Iterable[float]], float] = min,
) -> Callable[[Results], Found]:
    """Return a function that finds the worst ratio of our ways on an event loop to another way, and all of them.

    Args:
        names: of our ways, without the kind.
        kinds: whether a kind of connection counts.
        other: the other way.
        measured: the measure, the case, and the value.
        pick: the worst one.
    """
    measure, case, value = measured

    def found(results: Results) -> Found:
        ways = [f"{name}, {way.kind}" for name in names for way in results.ways if way.name == f"{name}, {way.kind}"]
        ways = [way for way in ways if kinds(way.rpartition(", ")[2])]
        divisor = results.median(measure, case, other, value)
        if divisor is None:
            return None, _joined([], other)
        ratios = {way: ratio(results.median(measure, case, way, value), divisor) for way in ways}
        known = {way: each for way, each in ratios.items() if each is not None}
        details = [f"{way}: {number(each)}" for way, each in known.items()]
        return pick(known.values()) if known else None, _joined(details, ", ".join(ratios.keys() - known.keys()))

    return found


def _only(kind: str) -> Callable[[str], bool]:
    return lambda each: each == kind


def _any(kind: str) -> bool:
    return True


def _many_idle(results: Results) -> Found:
    return results.median("idle", IDLE_HANDLERS, "async handler, psycopg", "wakeups"), ""


def _joined(details: list[str], absent: str) -> str:
    return "; ".join([*details, f"not measured: {absent}"] if absent else details)


def _many_to_one(results: Results, way: str) -> float | None:
    return ratio(results.median("publish", "", way, "one_us"), results.median("publish", "", way, "many_us"))


def _pending_mb(results: Results, way: str) -> float | None:
    return results.median("memory", PENDING, way, "mb")


def _wakeups(results: Results, way: str) -> float | None:
    return results.median("idle", "", way, "wakeups")


def _import_ms(results: Results) -> Found:
    return results.median("import", "pgnotify", "", "ms"), ""


def _help_ms(results: Results) -> Found:
    return results.median("start", HELP, "", "ms"), ""


TARGETS: tuple[tuple[str, Wanted, Callable[[Results], Found]], ...] = (
    ("handler on PyGreSQL : PyGreSQL's own handler, drain", Wanted("≥", 1.3), _speed_to(OWN_WAY, "pg")),
    ("handler on psycopg : its notifies()", Wanted("≥", 2.3), _speed_to(OWN_WAY, "psycopg")),
    ("handler on psycopg2 : the select-and-poll recipe", Wanted("≥", 1.3), _speed_to(OWN_WAY, "psycopg2")),
    ("handler on pg8000 : a query per wake-up", Wanted("≥", 3.0), _speed_to(OWN_WAY, "pg8000.native")),
    ("handler : the best loop by hand, psycopg", Wanted("≥", 0.9), _speed_to(BY_HAND, "psycopg")),
    ("handler : the best loop by hand, psycopg2", Wanted("≥", 0.9), _speed_to(BY_HAND, "psycopg2")),
    ("handler : the best loop by hand, pg", Wanted("≥", 0.9), _speed_to(BY_HAND, "pg")),
    ("handler : the best loop by hand, pgdb", Wanted("≥", 0.9), _speed_to(BY_HAND, "pgdb")),
    ("handler : the best loop by hand, pg8000.native", Wanted("≥", 0.9), _speed_to(BY_HAND, "pg8000.native")),
    ("Listener, iterated : handler, worst driver", Wanted("≥", 0.85), _to_handler("Listener, iterated")),
    ("Listener.run : handler, worst driver", Wanted("≥", 0.9), _to_handler("Listener.run")),
    ("latency p50 : the C program's, best driver", Wanted("≤", 1.15), _latency_to_limit(min)),
    ("latency p50 : the C program's, worst driver", Wanted("≤", 1.6), _latency_to_limit(max)),
    ("notify_many of 1,000 : 1,000 \N{MULTIPLICATION SIGN} notify", Wanted("≥", 20), _of_handlers(min, _many_to_one)),
    (
        "peak memory, 1,000,000 pending",
        Wanted("≤", 50, "MB"),
        _of_handlers(max, _pending_mb, lambda kind: kind not in READS_WITH_EACH),
    ),
    (
        "peak memory, 1,000,000 pending, PyGreSQL",
        Wanted("≤", 150, "MB"),
        _of_handlers(max, _pending_mb, lambda kind: kind in READS_WITH_EACH),
    ),
    ("wake-ups while idle", Wanted("=", 0), _of_handlers(max, _wakeups)),
    ("import pgnotify", Wanted("≤", 15, "ms"), _import_ms),
)
"""The targets: the text, the condition, and the function that finds the measured number."""

ON_LOOP_TARGETS: tuple[tuple[str, Wanted, Callable[[Results], Found]], ...] = (
    *(
        (
            f"callback on {name}, on an event loop : asyncpg's add_listener, worse front",
            Wanted("≥", bound),
            _on_loop(CALLBACKS, _only(kind), ON_LOOP),
        )
        for name, kind, bound in (
            ("psycopg", "psycopg", 1.8),
            ("psycopg2", "psycopg2", 1.8),
            ("PyGreSQL", "pg", 1.4),
            ("pg8000", "pg8000.native", 2.3),
            ("asyncpg", "asyncpg", 0.95),
        )
    ),
    (
        "callback on psycopg, on an event loop : its async notifies(), worse front",
        Wanted("≥", 2.5),
        _on_loop(CALLBACKS, _only("psycopg"), ASYNC_NOTIFIES),
    ),
    (
        "coroutine callback : asyncpg's, a task for each notification, worst driver",
        Wanted("≥", 1.5),
        _on_loop(COROUTINES, _any, TASKS_ON_LOOP),
    ),
    (
        "async for : asyncpg's add_listener, worst driver",
        Wanted("≥", 1.2),
        _on_loop(("AsyncListener, iterated",), _any, ON_LOOP),
    ),
    *(
        (
            f"latency p50 on {loop} : asyncpg's add_listener, worst driver",
            Wanted("≤", 1),
            _on_loop(CALLBACKS, _any, ON_LOOP, ("latency", case, "p50"), max),
        )
        for loop, case in (("asyncio", ""), ("uvloop", UVLOOP))
    ),
    *(
        (
            f"1,000 streams, {case} : {name}",
            Wanted("≥", bound),
            _on_loop(("subscription()",), _any, other, ("fan-out", case, "per_second")),
        )
        for name, other, bound in (("a dict of queues", QUEUES, 1), ("sse-starlette", SSE, 5))
        for case in FAN_OUT_CASES
    ),
    ("wake-ups while idle, 1,000 handlers on one event loop", Wanted("=", 0), _many_idle),
)
"""Those of the ways on an event loop, for results that have any."""

START_TARGETS: tuple[tuple[str, Wanted, Callable[[Results], Found]], ...] = (
    (f"{HELP}, the whole process", Wanted("≤", 150, "ms"), _help_ms),
)
"""Those of whole processes, for results that have any."""


def targets(results: Results) -> list[Target]:
    """Compare the results with each of TARGETS, and with the others if they have what these are about."""
    has_loops = any(way.section != "blocking" for way in results.ways)
    wanted = (
        *TARGETS,
        *(ON_LOOP_TARGETS if has_loops else ()),
        *(START_TARGETS if results.cases("start") else ()),
    )
    return [_held(results, *target) for target in wanted]


def _held(results: Results, text: str, wanted: Wanted, find: Callable[[Results], Found]) -> Target:
    measured, detail = find(results)
    return Target(text, wanted, measured, None if measured is None else wanted.met_by(measured), detail)
