"""Sends many payloads to a channel: in batches, and says how many were sent if it does not come to the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pgnotify.cli.errors import line_of
from pgnotify.cli.messages import say
from pgnotify.connection import Connection
from pgnotify.errors import ConnectionLost
from pgnotify.protocol import NotifiesMany

MOST_IN_BATCH = 1000
"""How many notifications share a round trip and a transaction."""


def send_all(connection: Connection, channel: str, groups: Iterable[list[str]], total: int | None) -> None:
    """Send payloads in order, and show the progress on a terminal.

    Args:
        connection: to send through.
        channel: where to.
        groups: payloads that are there at the same time. Nothing waits for the next group.
        total: how many there are; None if unknown.

    Raises:
        RuntimeError: not all were sent. The message says why, and how many.
    """
    sent, batch = 0, []
    try:
        with _progress(total) as advance:
            for batch in (batch for group in groups for batch in batches(group)):
                _send(connection, channel, batch)
                sent += len(batch)
                advance(len(batch))
    except ConnectionLost as error:
        raise RuntimeError(f"{line_of(error)}; {_sent(sent)}, and perhaps the next {len(batch):,}") from error
    except Exception as error:
        raise RuntimeError(f"{line_of(error)}; {_sent(sent)}") from error
    except KeyboardInterrupt:
        say(f"pgnotify: interrupted; {_sent(sent)}")
        raise


def batches(payloads: list[str]) -> Iterator[list[str]]:
    """Yield the payloads in order, in parts in which none occurs twice: a transaction would send it once."""
    batch: dict[str, None] = {}
    for payload in payloads:
        if payload in batch or len(batch) == MOST_IN_BATCH:
            yield list(batch)
            batch = {}
        batch[payload] = None
    if batch:
        yield list(batch)


def _send(connection: Connection, channel: str, batch: list[str]) -> None:
    if isinstance(connection.backend, NotifiesMany):
        connection.notify_many([(channel, payload) for payload in batch])
        return
    for payload in batch:
        connection.notify(channel, payload)


def _sent(count: int) -> str:
    return "nothing was sent" if not count else f"{count:,} notification{'s were' if count > 1 else ' was'} sent"


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], object]]:
    """Yield a function that is called with each number of notifications that were sent."""
    if sys.stdin.isatty() or sys.stderr is None or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("", total=total)
        yield lambda count: shown.advance(task, count)
