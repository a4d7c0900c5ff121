"""What is wanted of the outbox, and whether a run shows it."""

from __future__ import annotations

from collections.abc import Callable

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
from benchmarks.outbox.ways import DURABLE, PGQUE, PGQUEUER, PLAIN, PROCRASTINATE, UNNAMED
from benchmarks.results import Results, Target, Wanted, number, ratio

Find = Callable[[Results], float | None]
Described = Callable[[Results], str]


def drained(results: Results, way: str, case: str) -> float | None:
    """Return how many messages a way delivers in a second."""
    return results.median("drain", case, way, "per_second")


def p50(results: Results, way: str, case: str = ALONE) -> float | None:
    """Return the median of the time from the call to the callback, in µs."""
    return results.median("latency", case, way, "p50")


def sent(results: Results, fsync: str, what: str) -> float | None:
    """Return the time that sending takes, in µs."""
    return results.median("send", f"{fsync}, {what}", UNNAMED, "us")


def caught_up(results: Results, way: str, count: str, value: str) -> float | None:
    """Return the seconds or the MB that catching up takes."""
    return results.median("catch up", count, way, value)


def left(results: Results, way: str, value: str) -> float | None:
    """Return what a consumed message leaves behind."""
    return results.median("left behind", "", way, value)


def _per_second(case: str) -> tuple[Find, Described]:
    return (
        lambda results: drained(results, UNNAMED, case),
        lambda results: f"durable: {number(drained(results, DURABLE, case))}",
    )


def _to_peer(peer: str) -> tuple[Find, Described]:
    return (
        lambda results: ratio(drained(results, UNNAMED, NEVER_ANALYZED), drained(results, peer, NEVER_ANALYZED)),
        lambda results: f"durable: {_ratio_of_durable(results, peer)}",
    )


def _ratio_of_durable(results: Results, peer: str) -> str:
    return number(ratio(drained(results, DURABLE, NEVER_ANALYZED), drained(results, peer, NEVER_ANALYZED)))


def _sending(fsync: str) -> tuple[Find, Described]:
    return (
        lambda results: ratio(sent(results, fsync, NOTIFY_ONE), sent(results, fsync, ROW_AND_NOTIFY)),
        lambda results: f"if that is one statement: {_to_one_statement(results, fsync)}",
    )


def _to_one_statement(results: Results, fsync: str) -> str:
    return number(ratio(sent(results, fsync, NOTIFY_ONE), sent(results, fsync, ROW_AND_NOTIFY_AT_ONCE)))


def _many(fsync: str) -> tuple[Find, Described]:
    return lambda results: ratio(sent(results, fsync, NOTIFY_ONE), sent(results, fsync, NOTIFY_MANY)), lambda _: ""


def _growth(results: Results, way: str) -> float | None:
    """Return by how much more than four times as long four times as many take."""
    quarter = caught_up(results, way, "250,000", "seconds")
    return ratio(caught_up(results, way, "1,000,000", "seconds"), None if quarter is None else 4 * quarter)


TARGETS: tuple[tuple[str, Wanted, tuple[Find, Described]], ...] = (
    ("drain, never analyzed", Wanted("≥", 300_000, "/s"), _per_second(NEVER_ANALYZED)),
    ("drain, analyzed", Wanted("≥", 300_000, "/s"), _per_second(ANALYZED)),
    ("drain : PgQue's consumer", Wanted("≥", 1), _to_peer(PGQUE)),
    ("drain : pgqueuer", Wanted("≥", 20), _to_peer(PGQUEUER)),
    ("drain : procrastinate", Wanted("≥", 20), _to_peer(PROCRASTINATE)),
    (
        "from the call to the callback, p50 : a plain NOTIFY",
        Wanted("≤", 2.5),
        (
            lambda results: ratio(p50(results, UNNAMED), p50(results, PLAIN)),
            lambda results: f"durable: {number(ratio(p50(results, DURABLE), p50(results, PLAIN)))}",
        ),
    ),
    (
        "drain, a write transaction open : without",
        Wanted("≥", 0.9),
        (
            lambda results: ratio(drained(results, UNNAMED, WRITING), drained(results, UNNAMED, NEVER_ANALYZED)),
            lambda _: "the xid horizon: 0",
        ),
    ),
    (
        "p50 without : a write transaction open",
        Wanted("≥", 0.9),
        (
            lambda results: ratio(p50(results, UNNAMED), p50(results, UNNAMED, WRITING)),
            lambda _: "the xid horizon: nothing arrives",
        ),
    ),
    ("notify : a row and pg_notify in a transaction, fsync off", Wanted("≤", 1.3), _sending(FSYNC_OFF)),
    ("the same, fsync on", Wanted("≤", 1.3), _sending(FSYNC_ON)),
    ("notify : each of notify_many(1,000), fsync off", Wanted("≥", 10), _many(FSYNC_OFF)),
    ("the same, fsync on", Wanted("≥", 10), _many(FSYNC_ON)),
    (
        "catching up 1,000,000, memory above the start",
        Wanted("≤", 50, "MB"),
        (
            lambda results: caught_up(results, UNNAMED, "1,000,000", "mb"),
            lambda results: f"durable: {number(caught_up(results, DURABLE, '1,000,000', 'mb'))}",
        ),
    ),
    (
        "catching up 1,000,000 : 4 \N{MULTIPLICATION SIGN} 250,000, time",
        Wanted("≤", 1.25),
        (
            lambda results: _growth(results, UNNAMED),
            lambda results: f"durable: {number(_growth(results, DURABLE))}",
        ),
    ),
    *(
        (
            f"left behind, durable : PgQue, {what}",
            Wanted("≤", 2),
            (
                lambda results, value=value: ratio(left(results, DURABLE, value), left(results, PGQUE, value)),
                lambda results, value=value: f"a message: {number(left(results, DURABLE, value))}",
            ),
        )
        for what, value in (("bytes", "bytes_each"), ("dead rows", "dead_each"))
    ),
)
"""The targets: the text, the condition, and the functions that find the measured number and say more."""


def targets(results: Results) -> list[Target]:
    """Compare the results with each of them."""
    held = []
    for text, wanted, (find, described) in TARGETS:
        measured = find(results)
        met = None if measured is None else wanted.met_by(measured)
        held.append(Target(text, wanted, measured, met, described(results)))
    return held
