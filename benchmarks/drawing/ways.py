"""The ways that are drawn, and the mark of each."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.drawing import paper
from benchmarks.results import Way

KINDS = ("psycopg", "psycopg_async", "psycopg2", "pg", "pg8000.native", "asyncpg")
"""One kind of connection for each driver, and for blocking code and asyncio, so that the picture stays legible."""

DRIVER_NAMES = {"pg": "PyGreSQL", "pg8000.native": "pg8000", "psycopg_async": "psycopg async"}
"""The name by which readers know a kind, if it is not the kind's own name."""

SECTIONS = {"blocking": "blocking code", "asyncio": "on asyncio's event loop"}
ASYNC_KINDS = ("psycopg_async", "asyncpg")
"""The kinds that run on an event loop only."""


class Mark(NamedTuple):
    """How a way is drawn."""

    text: str
    """In the legend."""
    marker: str
    colour: str
    ways: tuple[str, ...] = ()
    """Our ways that are drawn so, without their kinds; none: all ways of another group."""


# Okabe and Ito's colours, which the colour-blind can tell apart: jfly.uni-koeln.de/color
MARKS = {
    "handler": Mark("pgnotify's handler", "o", paper.OURS, ("handler", "async handler")),
    "run": Mark("Listener with callbacks", "s", paper.OURS, ("Listener.run", "AsyncListener.subscribe")),
    "iterated": Mark("Listener, iterated", "^", paper.OURS, ("Listener, iterated", "AsyncListener, iterated")),
    "by hand": Mark("best known loop by hand", "D", paper.BY_HAND),
    "own way": Mark("driver's own way", "X", paper.OWN_WAY),
}


def section(way: Way) -> str:
    """Return the section of a way; earlier results have none for the ways of drivers on an event loop."""
    return "asyncio" if way.kind in ASYNC_KINDS or way.name.startswith("async ") else way.section


def is_drawn(way: Way, mark: str) -> bool:
    """Return whether a way is drawn with a mark."""
    if way.group == "ours":
        return way.name in {f"{name}, {way.kind}" for name in MARKS[mark].ways}
    return way.group == mark and "coroutine" not in way.name


def driver_name(way: Way) -> str:
    """Return the name of the driver by which readers know it."""
    return DRIVER_NAMES.get(way.kind, way.kind)
