"""Draw the pictures of the states, docs/images/states-*.svg, from the tables of the state machine.

python -m benchmarks.drawing.states

They are narrow, so that a phone shows their text as large as the page's, and have a ground of their own, so that they
can be read on a dark page.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from pgnotify.program.state import LISTENER_TRANSITIONS, TRANSITIONS, ListenerState, State

IMAGES = Path(__file__).parents[2] / "docs" / "images"

WIDTH = 420
BOX = (98.0, 34.0)
INK, GROUND, FILL, ACCENT = "#1f2937", "#ffffff", "#eef2ff", "#4f46e5"

# Where the middle of each state's box is.
CONNECTION_PLACES = {
    State.IDLE: (70.0, 66.0),
    State.LISTENING: (350.0, 66.0),
    State.LOST: (350.0, 256.0),
    State.CLOSED: (70.0, 256.0),
}
LISTENER_PLACES = {
    ListenerState.IDLE: (66.0, 96.0),
    ListenerState.CONNECTING: (210.0, 40.0),
    ListenerState.BACKING_OFF: (354.0, 96.0),
    ListenerState.LISTENING: (354.0, 216.0),
    ListenerState.LOST: (210.0, 272.0),
    ListenerState.CLOSED: (66.0, 216.0),
}


class Point(NamedTuple):
    """A point of a picture, in its units; y grows downwards."""

    x: float
    y: float


def connection_picture() -> str:
    """Return the states of a connection, and what leads from one to the next."""
    shapes = []
    for state, row in TRANSITIONS.items():
        for happened, following in row.items():
            start, end = Point(*CONNECTION_PLACES[state]), Point(*CONNECTION_PLACES[following])
            if state is following:
                shapes += _loop(start, happened.value)
            else:
                both = any(back is state for back in TRANSITIONS[following].values())
                shapes += _arrow(start, end, happened.value, shift=9.0 if both else 0.0)
    shapes += [_box(Point(*place), state.value, not TRANSITIONS[state]) for state, place in CONNECTION_PLACES.items()]
    return _picture("The states of a connection, and what leads from one to the next", 312, shapes)


def listener_picture() -> str:
    """Return the states of a Listener, and which may follow on which."""
    shapes = []
    for state, row in LISTENER_TRANSITIONS.items():
        for following in ListenerState:
            if following in row:
                both = state in LISTENER_TRANSITIONS[following]
                start, end = Point(*LISTENER_PLACES[state]), Point(*LISTENER_PLACES[following])
                shapes += _arrow(start, end, "", shift=4.0 if both else 0.0)
    shapes += [
        _box(Point(*place), state.value, not LISTENER_TRANSITIONS[state]) for state, place in LISTENER_PLACES.items()
    ]
    return _picture("The states of a Listener, and which may follow on which", 312, shapes)


PICTURES = {"states-connection.svg": connection_picture, "states-listener.svg": listener_picture}
"""By the name of its file: what draws a picture."""


def _picture(title: str, height: int, shapes: list[str]) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-size="14" '
        'font-family="system-ui, -apple-system, sans-serif" text-anchor="middle">',
        f"<title>{escape(title)}</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" '
        f'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="{GROUND}"/>',
        *shapes,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _box(middle: Point, name: str, is_last: bool) -> str:
    """Return the box of a state; the last one, which nothing follows on, has a double border."""
    width, height = BOX
    left, top = middle.x - width / 2, middle.y - height / 2
    rect = f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}" rx="8" '
    border = f'fill="{FILL}" stroke="{ACCENT}" stroke-width="1.5"/>'
    inner = (
        f'<rect x="{left + 3:.0f}" y="{top + 3:.0f}" width="{width - 6:.0f}" height="{height - 6:.0f}" rx="6" '
        f'fill="none" stroke="{ACCENT}"/>'
    )
    text = f'<text x="{middle.x:.0f}" y="{middle.y + 5:.0f}" fill="{INK}" font-weight="600">{escape(name)}</text>'
    return rect + border + (inner if is_last else "") + text


def _arrow(start: Point, end: Point, label: str, shift: float) -> list[str]:
    """Return an arrow between the boxes around two points, moved to its left by ``shift``, and its label."""
    length = math.dist(start, end)
    along = Point((end.x - start.x) / length, (end.y - start.y) / length)
    aside = Point(along.y * shift, -along.x * shift)
    first, last = _border(start, along, aside), _border(end, Point(-along.x, -along.y), aside)
    line = (
        f'<line x1="{first.x:.1f}" y1="{first.y:.1f}" x2="{last.x:.1f}" y2="{last.y:.1f}" stroke="{INK}" '
        'stroke-width="1.2" marker-end="url(#head)"/>'
    )
    if not label:
        return [line]
    is_diagonal = abs(along.x) > 0.1 and abs(along.y) > 0.1
    part = 0.3 if is_diagonal else 0.5
    at = Point(first.x + (last.x - first.x) * part, first.y + (last.y - first.y) * part)
    if abs(along.y) < 0.1:
        at = Point(at.x, at.y - 8 if along.x * shift >= 0 else at.y + 13)
    elif not is_diagonal and shift:
        at = Point(at.x, at.y - 20 if along.y > 0 else at.y + 20)
    return [line, _label(at, label)]


def _border(middle: Point, along: Point, aside: Point) -> Point:
    """Return where a line that leaves a box crosses its border."""
    width, height = BOX
    start = Point(middle.x + aside.x, middle.y + aside.y)
    reach = [
        (half - math.copysign(1, direction) * moved) / abs(direction)
        for half, direction, moved in ((width / 2, along.x, aside.x), (height / 2, along.y, aside.y))
        if abs(direction) > 0.01
    ]
    distance = min(reach) + 1.5
    return Point(start.x + along.x * distance, start.y + along.y * distance)


def _loop(middle: Point, label: str) -> list[str]:
    """Return an arrow from a box to itself, below it."""
    y = middle.y + BOX[1] / 2 + 1.5
    path = f"M{middle.x - 16:.1f} {y:.1f} C{middle.x - 22:.1f} {y + 24:.1f} {middle.x + 22:.1f} {y + 24:.1f} "
    line = (
        f'<path d="{path}{middle.x + 16:.1f} {y:.1f}" fill="none" stroke="{INK}" stroke-width="1.2" '
        'marker-end="url(#head)"/>'
    )
    return [line, _label(Point(middle.x, y + 32), label)]


def _label(at: Point, text: str) -> str:
    return (
        f'<text x="{at.x:.0f}" y="{at.y + 4:.0f}" font-size="13" fill="{INK}" stroke="{GROUND}" stroke-width="5" '
        f'paint-order="stroke" stroke-linejoin="round">{escape(text)}</text>'
    )


if __name__ == "__main__":
    for file, picture in PICTURES.items():
        (IMAGES / file).write_text(picture())
