"""The picture of many: pending notifications, channels, handlers and consumers, a panel for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.drawing import paper
from benchmarks.drawing.panels import (
    AXIS,
    MARGIN,
    TITLE,
    dot,
    label,
    log_log,
    not_measured,
    panel,
    picture,
    plain,
    thousands,
    value,
    write,
)
from benchmarks.drawing.ways import ASYNC_KINDS, KINDS, MARKS, Mark, driver_name, is_drawn, section
from benchmarks.results import FAN_OUT_CASES, LIMIT, PENDING, Results, Way, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = 2.2
ROW = 0.26  # of the memory of one way
BAR = 0.3


def draw(results: Results, path: Path) -> None:
    """Draw the picture of many."""
    panels: list[tuple[Callable[[Axes, Results], None], float]] = [
        (_memory, max(len(_pending(results)), 2) * ROW + 0.1),
        (_channels, CURVES),
        (_handlers, CURVES),
        *((_fan_out(case), len(_streams(results)) * BAR or 0.5) for case in FAN_OUT_CASES),
    ]
    top = 0.55
    with picture(path, top + sum(TITLE + inches + AXIS for _, inches in panels)) as figure:
        write(figure, MARGIN, 0.26, "Many notifications, channels, listeners", fontsize=13.5, fontweight="bold")
        for draw_panel, inches in panels:
            draw_panel(panel(figure, top + TITLE, inches), results)
            top += TITLE + inches + AXIS


def _pending(results: Results) -> list[tuple[Way, Mark, float]]:
    """Return our handler and the driver's own way on each kind, with the megabytes that they took."""
    measured = [
        (way, mark, results.median("memory", PENDING, way.name, "mb"))
        for kind in KINDS
        for name, mark in MARKS.items()
        if name in ("handler", "own way")
        for way in results.ways
        if way.kind == kind and is_drawn(way, name)
    ]
    return [(way, mark, each) for way, mark, each in measured if each is not None]


def _memory(axes: Axes, results: Results) -> None:
    axes.set_title("A million notifications pending: MB at the peak")
    label(axes, "logarithmic; ● pgnotify's handler, ✖ driver's own way")
    least = 0.1  # less than the pages of a process can show; smaller values are drawn there
    pending = _pending(results)
    if not pending:
        not_measured(axes)
        return
    for row, (way, mark, each) in enumerate(pending):
        y = 0.18 + ROW * row
        axes.hlines(y, least / 2, max(each, least), color=mark.colour, linewidth=2)
        dot(axes, mark, max(each, least), y)
        value(axes, y, max(each, least), number(each) if each >= least else f"< {least}")
        name = driver_name(way)
        if section(way) == "asyncio" and way.kind not in ASYNC_KINDS:
            name += ", loop"
        axes.text(-0.03, y, name, transform=axes.get_yaxis_transform(), ha="right", va="center")
    axes.set_xscale("log")
    axes.set_xlim(least / 2, max(each for *_, each in pending) * 5)
    plain(axes.xaxis)


def _channels(axes: Axes, results: Results) -> None:
    axes.set_title("Many channels on one connection")
    label(axes, "channels (logarithmic)")
    axes.set_ylabel("µs a notification (logarithmic)")
    ways = [way for way in results.ways if "channels" in results.measures(way.name)]
    for marker, way in zip("oD^sv", ways, strict=False):
        points = _points(results, "channels", way.name, "us")
        style: dict[str, Any] = {"color": paper.OURS}
        if way.name == LIMIT:
            style = {"color": paper.LIMIT, "linestyle": (0, (4, 3))}
        name = "a program in C" if way.name == LIMIT else driver_name(way)
        axes.plot(*zip(*points, strict=True), marker=marker, markersize=6, linewidth=1.4, label=name, **style)
    log_log(axes, bool(ways))


def _handlers(axes: Axes, results: Results) -> None:
    axes.set_title("Many handlers, each on its own connection")
    label(axes, "handlers on psycopg (logarithmic)")
    axes.set_ylabel("sender's commits a second\n(logarithmic)")
    ways = [way for way in results.ways if "handlers" in results.measures(way.name)]
    for way in ways:
        points = _points(results, "handlers", way.name, "commits_per_second")
        axes.plot(*zip(*points, strict=True), marker="o", markersize=6, linewidth=1.4, color=paper.OURS)
        for x, y in points:
            axes.annotate(number(y), (x, y), xytext=(4, 7), textcoords="offset points", clip_on=False)
    log_log(axes, bool(ways))


def _streams(results: Results) -> list[Way]:
    return [way for way in results.ways if "fan-out" in results.measures(way.name)]


def _fan_out(case: str) -> Callable[[Axes, Results], None]:
    """Return a function that draws a bar for each way to have many consumers."""

    def draw_case(axes: Axes, results: Results) -> None:
        axes.set_title(f"1,000 consumers, {case}")
        label(axes, "thousand deliveries a second")
        ways = _streams(results)
        if not ways:
            not_measured(axes)
            return
        medians = [(results.median("fan-out", case, way.name, "per_second") or 0.0) / 1000 for way in ways]
        for row, (way, median) in enumerate(zip(ways, medians, strict=True)):
            mark = MARKS["handler" if way.group == "ours" else way.group]
            y = BAR * (row + 0.5)
            axes.barh(y, median, height=0.2, color=mark.colour)
            value(axes, y, median, number(median))
            first, _, kind = way.name.rpartition(", ")
            beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center"}
            axes.text(-0.03, y, f"{first}\n{kind}", fontsize=9, **beside)
        axes.set_xlim(0, max(medians) * 1.25 or 1)
        thousands(axes.xaxis)
        axes.locator_params(axis="x", nbins=4)

    return draw_case


def _points(results: Results, measure: str, way: str, value: str) -> list[tuple[int, float]]:
    cases = sorted(results.cases(measure), key=int)
    found = ((int(case), results.median(measure, case, way, value)) for case in cases)
    return [(case, median) for case, median in found if median]
