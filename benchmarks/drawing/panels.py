"""What all pictures share: their width, panels, legend and axes.

Each picture is narrow enough for a phone, which shows it with three quarters of its size, and has its panels one under
the other. All lengths are in inches, measured from the top. matplotlib is imported only when a picture is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.drawing import paper
from benchmarks.drawing.ways import MARKS, Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH = 4.8  # of an SVG that a browser shows with 460 px
LEFT = 1.5  # the edge of a panel, after the names of the drivers
RIGHT = 0.2
MARGIN = 0.12
EDGE = -(LEFT - MARGIN) / (WIDTH - LEFT - RIGHT)  # the left edge of all writing, as a part of the width of a panel
TITLE = 0.34
AXIS = 0.68  # its ticks and its label


@contextmanager
def picture(path: Path, height: float) -> Iterator[Figure]:
    """A figure of this height, which is written to the path, an .svg."""
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", paper.STYLE]):
        figure = Figure(figsize=(WIDTH, height), facecolor=paper.PAPER, dpi=96)
        yield figure
        figure.savefig(path, metadata={"Date": None})
    path.write_text(paper.with_night(path.read_text(encoding="utf-8")), encoding="utf-8")


def panel(figure: Figure, top: float, inches: float) -> Axes:
    """Add a panel of this height; the places of its lanes are inches below its top."""
    height = figure.get_figheight()
    axes = figure.add_axes((LEFT / WIDTH, 1 - (top + inches) / height, (WIDTH - LEFT - RIGHT) / WIDTH, inches / height))
    axes.set_ylim(inches, 0)
    axes.tick_params(axis="y", left=False, labelleft=False)
    axes.grid(axis="x")
    axes.set_title("", x=EDGE)
    return axes


def label(axes: Axes, text: str) -> None:
    """Label the horizontal axis, from the left edge of the picture on."""
    axes.set_xlabel(text, x=EDGE, ha="left")


def write(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Write a line whose middle is at y."""
    figure.text(x / WIDTH, 1 - y / figure.get_figheight(), text, va="center", **style)


def legend(figure: Figure, top: float) -> None:
    """Explain the marks, in two columns."""
    from matplotlib.lines import Line2D

    for place, mark in enumerate(MARKS.values()):
        x, y = (0.22, 2.4)[place % 2], top + 0.24 * (place // 2)
        dot = ([x / WIDTH], [1 - y / figure.get_figheight()])
        figure.add_artist(Line2D(*dot, marker=mark.marker, color=mark.colour, markersize=8, linestyle="none"))
        write(figure, x + 0.14, y, mark.text)


def dot(axes: Axes, mark: Mark, x: float, y: float) -> None:
    """Draw the mark of a way."""
    axes.plot(x, y, mark.marker, color=mark.colour, markersize=7, clip_on=False)


def value(axes: Axes, y: float, x: float, text: str) -> None:
    """Write a number beside a mark."""
    axes.annotate(text, (x, y), xytext=(7, 0), textcoords="offset points", va="center_baseline")


def log_log(axes: Axes, measured: bool) -> None:
    """Make both axes logarithmic, and explain the lines that have a label."""
    if not measured:
        not_measured(axes)
        return
    axes.set(xscale="log", yscale="log")
    axes.tick_params(axis="y", labelleft=True)
    axes.autoscale(axis="y")
    axes.margins(x=0.12, y=0.2)
    axes.grid(axis="both")
    low, high = axes.get_ylim()
    low, high = min(low, high), max(low, high)
    middle, reach = math.sqrt(low * high), max(math.sqrt(high / low), 4)  # 16 times contain a power of ten at least
    axes.set_ylim(middle / reach, middle * reach)
    for axis in (axes.xaxis, axes.yaxis):
        plain(axis)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left")


def plain(axis: Axis) -> None:
    """Label the powers of ten as plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(10, numticks=5))
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def thousands(axis: Axis) -> None:
    """Label an axis with whole numbers."""
    axis.set_major_formatter(lambda x, _: f"{x:,.0f}")


def not_measured(axes: Axes) -> None:
    """Say so in place of a panel's content."""
    axes.grid(visible=False)
    axes.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=paper.MUTED)
