"""What is shown of the outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.ledger.faults import CUTS, FAULTS
from tests.ledger.judge import NONE, median_and_most
from tests.ledger.trial import Outcome

HEAD = (
    "driver",
    "mode",
    "sent",
    "delivered",
    "in gaps",
    "driver's",
    "unaccounted",
    "unsure",
    "wrong",
    "doubled",
    "again",
    "gaps",
    "gap s",
    "dropped",
    "reconnects",
    "back after a cut, ms",
)
SHOWN = 10
"""How many of each kind of what is wrong."""


def row(driver: str, mode: str, outcome: Outcome) -> tuple[str, ...]:
    """Return the line of a listener, as `HEAD` says; the times are the median and the maximum."""
    verdict = outcome.verdicts[mode]
    numbers = (
        verdict.sent,
        verdict.delivered,
        verdict.in_gaps,
        verdict.lost_in_driver,
        len(verdict.unaccounted),
        verdict.unsure,
        len(verdict.wrong),
        verdict.doubled,
        verdict.again,
        verdict.gaps.total(),
        round(verdict.gap_seconds, 1),
        verdict.dropped,
        outcome.reconnects[mode],
    )
    return (driver, mode, *map(str, numbers), median_and_most(verdict.recoveries_from(CUTS)))


def table(outcomes: Iterable[tuple[str, Outcome]]) -> str:
    """Return the ledger's table."""
    return aligned([HEAD, *(row(driver, mode, outcome) for driver, outcome in outcomes for mode in outcome.verdicts)])


def recoveries(outcomes: Sequence[tuple[str, Outcome]]) -> str:
    """Return how long it took to deliver again, by the kind of fault and the driver: median / maximum in ms."""
    drivers = list(dict.fromkeys(driver for driver, _ in outcomes))
    lines = [("until it delivers again, ms", *drivers)]
    for kind in FAULTS:
        cells = [median_and_most(_recoveries_of(driver, kind, outcomes)) for driver in drivers]
        if any(cell != NONE for cell in cells):
            lines.append((kind, *cells))
    return aligned(lines)


def strikes(outcomes: Sequence[tuple[str, Outcome]]) -> str:
    """Return how many faults struck, by their kind and the driver, and how many signals raised an exception."""
    drivers = list(dict.fromkeys(driver for driver, _ in outcomes))
    of = {driver: [outcome for name, outcome in outcomes if name == driver] for driver in drivers}
    lines = [("faults", *drivers)]
    for kind in FAULTS:
        counts = [sum(strike.kind == kind for each in of[driver] for strike in each.strikes) for driver in drivers]
        if any(counts):
            lines.append((kind, *map(str, counts)))
    lines.append(("in all", *(str(sum(len(each.strikes) for each in of[driver])) for driver in drivers)))
    lines.append(("raised by signals", *(str(sum(each.struck for each in of[driver])) for driver in drivers)))
    lines.append(("swallowed", *(str(sum(each.swallowed for each in of[driver])) for driver in drivers)))
    return aligned(lines)


def covered(outcomes: Iterable[tuple[str, Outcome]]) -> str:
    """Return how many seconds the gaps of all listeners cover."""
    verdicts = [verdict for _, outcome in outcomes for verdict in outcome.verdicts.values()]
    gaps, seconds = sum(verdict.gaps.total() for verdict in verdicts), sum(verdict.gap_seconds for verdict in verdicts)
    return f"{gaps} gaps cover {seconds:.1f} s in all, of {len(verdicts)} listeners"


def complaints(driver: str, outcome: Outcome) -> str:
    """Return in words what is wrong with an outcome, a line for each; nothing if all holds."""
    lines = [f"{driver}: {text}" for text in outcome.errors]
    for mode, verdict in outcome.verdicts.items():
        where = f"{driver}, {mode}: "
        lines += [where + text for text in _some(verdict.wrong)]
        lines += [where + text for text in _some([f"unaccounted: {each}" for each in verdict.unaccounted])]
    return "\n".join(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return the cells in columns, the first two to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _some(texts: Sequence[str]) -> list[str]:
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return [*texts[:SHOWN], *more]


def _recoveries_of(driver: str, kind: str, outcomes: Iterable[tuple[str, Outcome]]) -> list[float]:
    verdicts = [verdict for name, outcome in outcomes if name == driver for verdict in outcome.verdicts.values()]
    return [seconds for verdict in verdicts for seconds in verdict.recoveries_from([kind])]
