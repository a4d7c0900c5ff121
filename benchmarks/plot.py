"""The picture of the results: one row for each of the main ways, and below the cost of many channels and handlers.

The ways on an event loop follow the others. At the end, streams stand beside other ways to have many consumers.

All lengths are in inches, measured from the top. matplotlib is imported only when a picture is drawn.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.results import DRAIN_CASES, FAN_OUT_CASES, GROUPS, LIMIT, PENDING, Results, Way, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MAIN_KINDS = ("psycopg", "psycopg_async", "psycopg2", "pg", "pg8000.native", "asyncpg")
"""One kind of connection for each driver, and for blocking code and asyncio, so that the picture stays legible."""

DRIVER_NAMES = {"pg": "PyGreSQL", "pg8000.native": "pg8000", "psycopg_async": "psycopg async"}
"""The name by which readers know a kind, if it is not the kind's own name."""

# Okabe and Ito's colours, which the colour-blind can tell apart: jfly.uni-koeln.de/color
COLOURS = {"ours": "#0072B2", "by hand": "#009E73", "own way": "#E69F00", "limit": "#555555"}
GROUP_NAMES = {
    "ours": "pgnotify",
    "by hand": "the best known loop by hand",
    "own way": "the driver's own way",
    "limit": "the limit: a program in C",
}
INK, MUTED, FAINT = "#24292F", "#57606A", "#D8DEE4"

WIDTH = 9.375  # of an SVG that a browser shows with 900 px
MARGIN = 0.15
ROW = 0.235
BETWEEN_DRIVERS = 0.1
PANEL_TITLE = 0.3
AXIS = 0.5  # its ticks and its label
CURVES = 2.1
FAN_OUT_ROW = 0.235
CHARACTERS_A_LINE = 160  # of the small print, in a font as wide as DejaVu Sans

NAMES_END = 2.72  # the left edge of the first panel
PANELS = ((NAMES_END, 2.95), (5.92, 1.75), (7.87, 1.22))
CURVE_PANELS = ((0.55, 3.95), (5.92, 3.25))

STYLE = {
    "font.sans-serif": [
        "DejaVu Sans",
        "Verdana",
        "sans-serif",
    ],  # the first comes with matplotlib, the second is as wide
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xaxis.labellocation": "left",
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes less
    "svg.hashsalt": "pgnotify",  # the same numbers make the same file
}


class Row(NamedTuple):
    """A way in the upper panels."""

    way: Way
    y: float
    """Inches below the top of the panels, the middle of the row."""


def draw(results: Results, path: Path | str) -> None:
    """Draw the results into a file. Its suffix determines the format; commit the .svg.

    The content of the file depends only on the numbers, the fonts and matplotlib's release.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    rows = _rows(results)
    small_print = textwrap.wrap(_small_print(results), CHARACTERS_A_LINE)
    head = 0.68 + 0.17 * len(small_print) + 0.15
    upper = (rows[-1].y if rows else 1.0) + ROW / 2
    fan_out = _fan_out_height(results)
    height = head + PANEL_TITLE + upper + AXIS + 0.2 + PANEL_TITLE + CURVES + AXIS + 0.05 + fan_out

    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(WIDTH, height), facecolor="white", dpi=96)
        _head(figure, height, small_print, [group for group in GROUPS if any(row.way.group == group for row in rows)])
        top = head + PANEL_TITLE
        _names(figure, height - top, rows)
        for panel, (left, width) in zip((_drain, _latency, _memory), PANELS, strict=True):
            axes = figure.add_axes((left / WIDTH, 1 - (top + upper) / height, width / WIDTH, upper / height))
            axes.set_ylim(upper, 0)
            axes.tick_params(axis="y", left=False, labelleft=False)
            axes.grid(axis="x")
            panel(axes, results, rows)
        bottom = (AXIS + 0.05 + fan_out) / height
        for curves, (left, width) in zip((_channels, _handlers), CURVE_PANELS, strict=True):
            curves(figure.add_axes((left / WIDTH, bottom, width / WIDTH, CURVES / height)), results)
        if fan_out:
            inches = fan_out - PANEL_TITLE - AXIS
            _fan_out(figure, AXIS, inches, results)
        figure.savefig(path, metadata={"Date": None} if Path(path).suffix == ".svg" else None)


def _rows(results: Results) -> list[Row]:
    """Return the main ways from the top down, those of a driver together, ours first."""
    rows: list[Row] = []
    y = ROW / 2
    for place in (*product(("blocking", "asyncio"), MAIN_KINDS), ("blocking", "libpq")):
        ways = [way for way in results.ways if (way.section, way.kind) == place and _is_shown(results, way)]
        for way in sorted(ways, key=lambda way: GROUPS.index(way.group)):
            rows.append(Row(way, y))
            y += ROW
        y += BETWEEN_DRIVERS if ways else 0
    return rows


def _is_shown(results: Results, way: Way) -> bool:
    return bool(results.measures(way.name) & {"drain", "latency", "memory"})


def _small_print(results: Results) -> str:
    data, machine = results.data, results.data["machine"]
    rounds = "one round" if data["rounds"] == 1 else f"medians of {data['rounds']} rounds"
    # With spaces at which no line is broken.
    versions = ", ".join(
        f"{name} {version}".replace(" ", "\N{NO-BREAK SPACE}") for name, version in data["versions"].items()
    )
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
    return f"{where}. {versions}. {data['date']}, {rounds}."


def _head(figure: Figure, height: float, small_print: Sequence[str], groups: Sequence[str]) -> None:
    def text(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / WIDTH, 1 - y / height, text, va="center", **style)

    text(MARGIN, 0.25, "Listening for PostgreSQL's notifications, from Python", fontsize=13, fontweight="bold")
    for number_of_line, line in enumerate(small_print):
        text(MARGIN, 0.53 + 0.17 * number_of_line, line, fontsize=7.5, color=MUTED)
    x, y = MARGIN, 0.68 + 0.17 * len(small_print)
    for group in groups:
        text(x, y, "■", color=COLOURS[group], fontsize=10)
        text(x + 0.17, y, GROUP_NAMES[group])
        x += 0.45 + 0.068 * len(GROUP_NAMES[group])


def _names(figure: Figure, top: float, rows: Sequence[Row]) -> None:
    """Name the driver in the first of its rows, and the way beside its bar."""
    height = figure.get_figheight()
    named: tuple[str, str] | None = None
    for way, y in rows:
        place: dict[str, Any] = {"y": (top - y) / height, "va": "center_baseline"}
        if (way.section, way.kind) != named:
            named = way.section, way.kind
            figure.text(MARGIN / WIDTH, s=DRIVER_NAMES.get(way.kind, way.kind), fontweight="bold", **place)
        figure.text((NAMES_END - 0.08) / WIDTH, s=_name(way), ha="right", **place, **_emphasis(way))


def _name(way: Way) -> str:
    if way.is_handler:
        return "pgnotify's handler"
    if way.section == "asyncio" and way.group == "ours":
        return way.name.rpartition(", ")[0].replace("async handler", "handler on asyncio")
    return "in C" if way.name == LIMIT else way.name.rpartition(", ")[0]


def _emphasis(way: Way) -> dict[str, Any]:
    return {"color": COLOURS["ours"], "fontweight": "bold"} if way.group == "ours" else {"color": INK}


def _value(axes: Axes, row: Row, x: float, text: str, *, before: bool = False, color: str = "") -> None:
    """Write a number beside a mark."""
    axes.annotate(
        text,
        (x, row.y),
        xytext=(-6 if before else 5, 0),
        textcoords="offset points",
        ha="right" if before else "left",
        va="center_baseline",
        fontsize=8,
        color=color or (INK if row.way.group == "ours" else MUTED),
    )


def _drain(axes: Axes, results: Results, rows: Sequence[Row]) -> None:
    axes.set_title("Thousand notifications a second")
    axes.set_xlabel(f"{DRAIN_CASES[0]}; line: least to greatest round")
    spreads = {row: results.spread("drain", DRAIN_CASES[0], row.way.name, "per_second") for row in rows}
    spreads = {row: spread for row, spread in spreads.items() if spread is not None}
    # The limit may be many times as fast as all others, whose bars would be too short to compare: it ends at the edge.
    compared = [high for row, (_, high) in spreads.items() if row.way.name != LIMIT] or [
        high for _, high in spreads.values()
    ]
    if not compared:
        _not_measured(axes)
        return
    edge = max(compared) / 1000 * 1.17
    for row, (low, high) in spreads.items():
        median = results.median("drain", DRAIN_CASES[0], row.way.name, "per_second") or 0.0
        axes.barh(row.y, min(median / 1000, edge), height=ROW * 0.72, color=COLOURS[row.way.group])
        if high / 1000 > edge:
            _value(axes, row, edge, f"{number(median / 1000)} \N{RIGHTWARDS ARROW}", before=True, color="white")
            continue
        axes.hlines(row.y, low / 1000, high / 1000, color="white", linewidth=3)
        axes.hlines(row.y, low / 1000, high / 1000, color=INK, linewidth=1.2)
        _value(axes, row, high / 1000, number(median / 1000))
    axes.set_xlim(0, edge)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")


def _latency(axes: Axes, results: Results, rows: Sequence[Row]) -> None:
    axes.set_title("Latency, µs")
    axes.set_xlabel("dot: median, line: to p99")
    ends: list[float] = []
    for row in rows:
        p50, p99 = (results.median("latency", "", row.way.name, value) for value in ("p50", "p99"))
        if not p50:
            continue
        _dot(axes, row, p50)
        _value(axes, row, p50, number(p50), before=True)
        ends.append(p50)
        if p99:
            axes.hlines(row.y, p50, p99, color=COLOURS[row.way.group], linewidth=1.6)
            _value(axes, row, p99, number(p99))
            ends.append(p99)
    if not ends:
        _not_measured(axes)
        return
    _log_x(axes, min(ends), max(ends), before=0.46, behind=0.44, inches=PANELS[1][1])


def _memory(axes: Axes, results: Results, rows: Sequence[Row]) -> None:
    axes.set_title("Memory, MB")
    axes.set_xlabel("peak, a million pending")
    least = 0.1  # less than the pages of a process can show; smaller values are drawn there
    megabytes = {row: results.median("memory", PENDING, row.way.name, "mb") for row in rows}
    measured = [max(each, least) for each in megabytes.values() if each is not None]
    if not measured:
        _not_measured(axes)
        return
    for row, each in megabytes.items():
        if each is not None:
            axes.hlines(row.y, least / 10, max(each, least), color=FAINT, linewidth=1)
            _dot(axes, row, max(each, least))
            _value(axes, row, max(each, least), number(each) if each >= least else f"< {least}")
    _log_x(axes, least, max(measured), before=0.1, behind=0.42, inches=PANELS[2][1])


def _dot(axes: Axes, row: Row, x: float) -> None:
    axes.plot(x, row.y, "o", color=COLOURS[row.way.group], markersize=5.5, clip_on=False)


def _log_x(axes: Axes, low: float, high: float, *, before: float, behind: float, inches: float) -> None:
    """Make the axis logarithmic, with this many inches for the numbers before the least and after the greatest."""
    from matplotlib.ticker import FixedLocator

    high = max(high, low * 10)
    decades_an_inch = math.log10(high / low) / (inches - before - behind)
    start = math.log10(low) - decades_an_inch * before
    end = math.log10(high) + decades_an_inch * behind
    axes.set_xscale("log")
    axes.set_xlim(10**start, 10**end)
    room = 0.4 * decades_an_inch  # for the label of a tick
    step = math.ceil(room)
    powers = range(math.ceil(start / step) * step, math.ceil(end - room / 2), step)
    axes.xaxis.set_major_locator(FixedLocator([10.0**power for power in powers]))
    _plain(axes.xaxis)


def _plain(axis: Axis) -> None:
    """Label the powers of ten as plain numbers."""
    from matplotlib.ticker import NullFormatter

    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


MARKERS = "osD^vPX"


def _channels(axes: Axes, results: Results) -> None:
    axes.set_title("Many channels on one connection: µs for each notification")
    axes.set_xlabel("channels")
    ends: list[tuple[float, str, str]] = []
    ways = [way for way in results.ways if "channels" in results.measures(way.name)]
    for marker, way in zip(MARKERS, ways, strict=False):
        points = _points(results, "channels", way.name, "us")
        if not points:
            continue
        colour = COLOURS[way.group]
        axes.plot(*zip(*points, strict=True), marker=marker, color=colour, linewidth=1.4, markersize=4.5)
        driver = DRIVER_NAMES.get(way.kind, way.kind)
        ends.append((points[-1][1], "in C" if way.name == LIMIT else f"on {driver}", colour))
    if not ends:
        _not_measured(axes)
        return
    _log_log(axes, x_margin=0.05)
    _name_ends(axes, ends)


def _handlers(axes: Axes, results: Results) -> None:
    axes.set_title("Many handlers: the sender's commits a second")
    axes.set_xlabel("handlers on psycopg, each on a connection of its own")
    points = [
        (way, _points(results, "handlers", way.name, "commits_per_second"))
        for way in results.ways
        if "handlers" in results.measures(way.name)
    ]
    if not any(found for _, found in points):
        _not_measured(axes)
        return
    for way, found in points:
        axes.plot(*zip(*found, strict=True), marker="o", color=COLOURS[way.group], linewidth=1.4, markersize=4.5)
        for x, y in found:
            axes.annotate(
                number(y), (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8, color=MUTED, clip_on=False
            )
    _log_log(axes, x_margin=0.14)  # for the last number


def _fan_out_height(results: Results) -> float:
    """Return the inches that the panel of many consumers takes; 0 if they were not measured."""
    ways = [way for way in results.ways if "fan-out" in results.measures(way.name)]
    return PANEL_TITLE + FAN_OUT_ROW * len(ways) + AXIS + 0.1 if ways else 0.0


def _fan_out(figure: Figure, bottom: float, inches: float, results: Results) -> None:
    """Draw a bar for each way to have many consumers, in a panel for each case."""
    ways = [way for way in results.ways if "fan-out" in results.measures(way.name)]
    height = figure.get_figheight()
    for case, (left, width) in zip(FAN_OUT_CASES, ((NAMES_END, 2.7), (6.1, 2.7)), strict=True):
        axes = figure.add_axes((left / WIDTH, bottom / height, width / WIDTH, inches / height))
        axes.set_title(f"1,000 consumers, {case}")
        axes.set_xlabel("thousand deliveries a second")
        axes.set_ylim(inches, 0)
        axes.tick_params(axis="y", left=False, labelleft=False)
        axes.grid(axis="x")
        medians = [results.median("fan-out", case, way.name, "per_second") or 0.0 for way in ways]
        for number_of_row, (way, median) in enumerate(zip(ways, medians, strict=True)):
            row = Row(way, FAN_OUT_ROW * (number_of_row + 0.5))
            axes.barh(row.y, median / 1000, height=ROW * 0.72, color=COLOURS[way.group])
            _value(axes, row, median / 1000, number(median / 1000))
            if left == NAMES_END:
                place = {"y": (bottom + inches - row.y) / height, "va": "center_baseline", "ha": "right"}
                figure.text((NAMES_END - 0.08) / WIDTH, s=way.name, **place, **_emphasis(way))
        axes.set_xlim(0, max(medians) / 1000 * 1.17 or 1)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")


def _points(results: Results, measure: str, way: str, value: str) -> list[tuple[int, float]]:
    cases = sorted(results.cases(measure), key=int)
    found = ((int(case), results.median(measure, case, way, value)) for case in cases)
    return [(case, median) for case, median in found if median]


def _log_log(axes: Axes, x_margin: float) -> None:
    axes.set(xscale="log", yscale="log")
    axes.margins(x=x_margin, y=0.2)
    axes.grid(axis="both")
    low, high = axes.get_ylim()
    middle, reach = (
        math.sqrt(low * high),
        max(math.sqrt(high / low), 4),
    )  # a factor of 16 contains at least one power of ten
    axes.set_ylim(middle / reach, middle * reach)
    for axis in (axes.xaxis, axes.yaxis):
        _plain(axis)


def _name_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write the names after the ends of the lines, moved apart where they would overlap."""
    ordered = sorted(ends)
    to_axes = axes.transData + axes.transAxes.inverted()
    places = _apart([to_axes.transform((1, y))[1] * CURVES for y, _, _ in ordered], 0.155)
    for place, (_, name, colour) in zip(places, ordered, strict=True):
        axes.text(1.02, place / CURVES, name, transform=axes.transAxes, va="center", color=colour, fontsize=8)


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Return ascending places that are at least this far from each other, moved as little as possible."""
    groups: list[list[float]] = []  # places that touch share the gap out around their middle
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _low(groups[-1], gap) < _low(groups[-2], gap) + len(groups[-2]) * gap:
            last = groups.pop()
            groups[-1].extend(last)
    return [_low(group, gap) + i * gap for group in groups for i in range(len(group))]


def _low(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - (len(group) - 1) * gap / 2


def _not_measured(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=MUTED)
