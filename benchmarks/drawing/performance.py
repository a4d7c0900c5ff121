"""The pictures of the results: how fast and how prompt each way is, and how it holds out with many.

A marker tells the way, its colour only whose it is, so that nobody needs to tell colours apart. The paper is painted,
and turns dark where the reader has asked for that.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.drawing import many, paper
from benchmarks.drawing.panels import (
    AXIS,
    EDGE,
    MARGIN,
    dot,
    label,
    legend,
    panel,
    picture,
    thousands,
    value,
    write,
)
from benchmarks.drawing.ways import KINDS, MARKS, SECTIONS, Mark, driver_name, is_drawn, section
from benchmarks.results import DRAIN_CASES, LIMIT, Results, Way, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LANE = 0.17  # inches of one way
BETWEEN_DRIVERS = 0.13
SECTION = 0.27  # the line that names one
SMALL_LINE = 0.16
CHARACTERS_A_LINE = 60  # of the small print, in a font as wide as DejaVu Sans


class Lane(NamedTuple):
    """A way in a panel, and its place."""

    way: Way
    mark: Mark
    y: float
    """Inches below the top of the panel."""


class Layout(NamedTuple):
    """The lanes of a panel, with the names beside them."""

    lanes: list[Lane]
    names: list[tuple[float, str]]
    """The middle of the lanes of each kind, and its name."""
    sections: list[tuple[float, str]]
    height: float


def draw(results: Results, directory: Path | str) -> list[Path]:
    """Draw all pictures into a directory, and return their paths.

    The content of the files depends only on the numbers, the fonts and matplotlib's release.
    """
    paths = []
    for name, draw_picture in PICTURES.items():
        paths.append(Path(directory) / name)
        draw_picture(results, paths[-1])
    return paths


def _speed(results: Results, path: Path) -> None:
    _by_driver(results, path, "drain", "Thousand notifications a second", _drain)


def _promptness(results: Results, path: Path) -> None:
    _by_driver(results, path, "latency", "Latency, µs", _latency)


def _by_driver(
    results: Results,
    path: Path,
    measure: str,
    title: str,
    draw_lanes: Callable[[Axes, Results, Sequence[Lane]], None],
) -> None:
    """Draw a lane for each way, those of a driver together."""
    layout = _layout(results, measure)
    small_print = textwrap.wrap(_small_print(results), CHARACTERS_A_LINE)
    head = 0.62 + 0.24 * ((len(MARKS) + 1) // 2)
    below = head + layout.height + AXIS + 0.12
    with picture(path, below + SMALL_LINE * len(small_print) + 0.1) as figure:
        write(figure, MARGIN, 0.26, title, fontsize=15, fontweight="bold")
        legend(figure, 0.62)
        axes = panel(figure, head, layout.height)
        draw_lanes(axes, results, layout.lanes)
        _names(axes, layout)
        for line, text in enumerate(small_print):
            write(figure, MARGIN, below + SMALL_LINE * line, text, fontsize=9, color=paper.MUTED)


def _layout(results: Results, measure: str) -> Layout:
    """Place the ways of which something was measured: section by section, kind by kind, in the order of MARKS."""
    layout = Layout([], [], [], 0.0)
    y = 0.0
    for name, title in SECTIONS.items():
        found = _found(results, measure, name)
        is_ours = any(way.group == "ours" for way, _ in found)
        layout.sections.append((y + SECTION / 2, title if is_ours else f"{title}: pgnotify not measured"))
        y += SECTION
        for driver, lanes in groupby(found, key=lambda each: driver_name(each[0])):
            start = y
            for way, mark in lanes:
                layout.lanes.append(Lane(way, mark, y + LANE / 2))
                y += LANE
            layout.names.append(((start + y) / 2, driver))
            y += BETWEEN_DRIVERS
    return layout._replace(height=y)


def _found(results: Results, measure: str, name: str) -> list[tuple[Way, Mark]]:
    return [
        (way, MARKS[mark])
        for kind in KINDS
        for mark in MARKS
        for way in results.ways
        if (section(way), way.kind) == (name, kind) and is_drawn(way, mark) and measure in results.measures(way.name)
    ]


def _names(axes: Axes, layout: Layout) -> None:
    left: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "clip_on": False}
    for y, name in layout.names:
        axes.text(EDGE, y, name, fontsize=11, fontweight="bold", **left)
    for y, title in layout.sections:
        axes.text(EDGE, y, title, color=paper.MUTED, **left)


def _drain(axes: Axes, results: Results, lanes: Sequence[Lane]) -> None:
    limit = results.median("drain", DRAIN_CASES[0], LIMIT, "per_second")
    label(axes, "more is better" + (f"; a program in C: {number(limit / 1000)}" if limit else ""))
    medians = [results.median("drain", DRAIN_CASES[0], lane.way.name, "per_second") or 0.0 for lane in lanes]
    for lane, median in zip(lanes, medians, strict=True):
        axes.hlines(lane.y, 0, median / 1000, color=lane.mark.colour, linewidth=2.4)
        dot(axes, lane.mark, median / 1000, lane.y)
        if lane.mark is MARKS["handler"]:
            value(axes, lane.y, median / 1000, number(median / 1000))
    axes.set_xlim(0, max(medians, default=1000.0) / 1000 * 1.22)
    thousands(axes.xaxis)
    axes.locator_params(axis="x", nbins=5)


def _latency(axes: Axes, results: Results, lanes: Sequence[Lane]) -> None:
    limit = results.median("latency", "", LIMIT, "p50")
    in_c = f"\ndashed: a program in C, {number(limit)}" if limit else ""
    label(axes, f"marker: median; line: to the 99th percentile{in_c}")
    end = limit or 0.0
    for lane in lanes:
        p50, p99 = (results.median("latency", "", lane.way.name, value) for value in ("p50", "p99"))
        if p50:
            axes.hlines(lane.y, p50, p99 or p50, color=lane.mark.colour, linewidth=2)
            dot(axes, lane.mark, p50, lane.y)
            end = max(end, p50, p99 or 0.0)
    if limit:
        axes.axvline(limit, color=paper.LIMIT, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.set_xlim(0, end * 1.06 or 1)
    thousands(axes.xaxis)


def _small_print(results: Results) -> str:
    data, machine = results.data, results.data["machine"]
    rounds = "one round" if data["rounds"] == 1 else f"medians of {data['rounds']} rounds"
    # With spaces at which no line is broken.
    versions = ", ".join(
        f"{name} {version}".replace(" ", "\N{NO-BREAK SPACE}") for name, version in data["versions"].items()
    )
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
    return f"{data['date']}, {rounds}. {where}. {versions}."


PICTURES = {"performance.svg": _speed, "performance-latency.svg": _promptness, "performance-many.svg": many.draw}
"""The file of each picture, and the function that draws it."""
