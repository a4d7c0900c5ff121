"""The tables of `pgnotify top`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pgnotify.cli.lines import printable
from pgnotify.cli.top.others import Others
from pgnotify.cli.top.traffic import Channel, Traffic
from pgnotify.listener.gap import Gap
from pgnotify.listener.status import Status

_SIZES = (("MB", 1_000_000), ("kB", 1000))


def screen(status: Status, traffic: Traffic, others: Others) -> RenderableType:
    """Return everything: the state, the channels, the latest gap, the other sessions that listen."""
    parts: list[RenderableType] = [_state(status), Text(), _channels(traffic)]
    if traffic.latest_gap is not None:
        parts.append(Text(_gap(traffic.latest_gap)))
    return Group(*parts, Text(), _others(others))


def _state(status: Status) -> Text:
    """Return how the connection is, in a line."""
    seconds = (datetime.now(timezone.utc) - status.since).total_seconds()
    facts = [f"{status.state} for {_duration(seconds)}"]
    if status.server_pid is not None:
        facts.append(f"server process {status.server_pid}{' behind a pooler' if status.behind_pooler else ''}")
    if status.round_trip is not None:
        facts.append(f"answers in {status.round_trip * 1000:.1f} ms")
    if status.queue_usage is not None:
        facts.append(f"queue {status.queue_usage:.1%} full")
    facts.append(f"gaps {status.gaps}")
    facts.append(f"reconnects {status.reconnects}")
    if status.last_error is not None:
        facts.append(f"last error: {printable(status.last_error)}")
    return Text(" · ".join(facts))


def _channels(traffic: Traffic) -> Table:
    now = traffic.clock()
    columns: dict[str, Callable[[Channel], str]] = {
        "total": lambda each: f"{each.notifications:,}",
        "per second": lambda each: f"{each.rate:,.1f}",
        "mean size": lambda each: _size(each.mean),
        "largest": lambda each: _size(each.largest),
        "latest": lambda each: "-" if each.latest_at is None else f"{_duration(now - each.latest_at)} ago",
        "gaps": lambda each: str(each.gaps),
    }
    table = _table("channel")
    for title in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for name, channel in traffic.channels.items():
        table.add_row(printable(name), *(show(channel) for show in columns.values()))
    return table


def _gap(gap: Gap) -> str:
    period = f"{gap.lost_at.astimezone():%H:%M:%S.%f} to {gap.restored_at.astimezone():%H:%M:%S.%f}"
    return f"latest gap: {gap.reason}, {period}"


def _others(others: Others) -> RenderableType:
    """Return the other sessions, and which of them PostgreSQL does not show."""
    if others.problem is not None:
        return Text(f"other sessions are not known: {printable(others.problem)}")
    notes = [f"other sessions that listen, by their latest statement: {others.count:,} (nobody can see their channels)"]
    if others.hidden:
        notes.append(f"sessions that show their statement only to members of pg_read_all_stats: {others.hidden:,}")
    if not others.found:
        return Text("\n".join(notes))
    table = _table("process")
    for title in ("user", "application", "statement"):
        table.add_column(title, overflow="ellipsis", no_wrap=True)
    for other in others.found:
        table.add_row(str(other.pid), *map(printable, other[1:]))
    return Group(Text("\n".join(notes)), table)


def _table(first: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, overflow="fold")
    return table


def _size(size: float) -> str:
    """Return a size in its largest unit, such as ``1.2 kB``."""
    for unit, bytes_ in _SIZES:
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size:.0f} B"


def _duration(seconds: float) -> str:
    """Return a duration in its largest unit, such as ``2 min``."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
