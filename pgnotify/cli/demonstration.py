"""The demonstration: notifications go through a real PostgreSQL to a callback.

It consists of the few lines that a user would write, and a clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pgnotify.connection import Connection, connect, notify_many
from pgnotify.handler.handler import NotificationHandler

CHANNEL = 'pgnotify "demo"'
BURST = 1000
TIMEOUT = 20.0  # seconds without any notification, after which the demonstration has failed


class Received(NamedTuple):
    """One call of the callback."""

    at: float
    """When it was called: seconds of a monotonic clock."""
    arg_dict: dict[str, Any] | None
    """A copy of its argument; None for a time-out."""


def demonstrate(dsn: str, say: Callable[[str], None], driver: str | None = None) -> None:
    """Run a handler in a thread, send to it from a second connection, and report the notifications that arrive.

    Args:
        dsn: a libpq connection string.
        say: called with each line of the report.
        driver: the driver to connect with; None for the first one that is installed.

    Raises:
        RuntimeError: not every notification arrived, or they did not arrive in order.
    """
    received: list[Received] = []

    def callback(arg_dict: dict[str, Any] | None) -> None:
        received.append(Received(time.perf_counter(), arg_dict and dict(arg_dict)))

    with connect(dsn, driver=driver, application_name="pgnotify demo") as sender:
        handler = NotificationHandler(connect(dsn, driver=driver), CHANNEL, callback, timeout=TIMEOUT)
        with handler:
            handler.listen()
            say(f"listening to {CHANNEL!r}, through {type(sender.connection).__module__}")
            thread = threading.Thread(target=handler, name="handler")
            thread.start()
            sent = _send(handler, sender)
            thread.join()
    _report(sent, received, say)


def _send(handler: NotificationHandler, sender: Connection) -> list[float]:
    """Send one by one, then a burst, then the stop; return when each was sent."""
    sent = []
    for payload in ("a plain payload", """it's "quoted", %s $1 :x and Ünïcödé 日本 🐘"""):
        sent.append(time.perf_counter())
        handler.notify(sender, payload=payload)
    sent.append(time.perf_counter())
    notify_many(sender, [(CHANNEL, f"burst {number}") for number in range(BURST)])
    sent.append(time.perf_counter())
    handler.notify(sender, stop=True, payload="that is all")
    return sent


def _report(sent: list[float], received: list[Received], say: Callable[[str], None]) -> None:
    expected = len(sent) - 1 + BURST
    if len(received) != expected or received[-1].arg_dict is None:
        raise RuntimeError(f"{len(received)} of {expected} notifications arrived")
    _check_order(received)
    plain, quoted, first, *_, last, stop = received
    for when, one in ((sent[0], plain), (sent[1], quoted)):
        say(f"{_after(when, one)}  {one.arg_dict}")
    say(f"{_after(sent[2], first)}  {first.arg_dict}")
    say(f"{_after(sent[2], last)}  {last.arg_dict}  ({BURST:,} in all)")
    say(f"{_after(sent[3], stop)}  {stop.arg_dict}")
    say("the stop has ended the handler; everything arrived, in order")


def _check_order(received: list[Received]) -> None:
    burst = [one.arg_dict["extra"] for one in received[2:-1] if one.arg_dict]
    if burst != [f"burst {number}" for number in range(BURST)]:
        raise RuntimeError("the burst did not arrive in order")


def _after(sent: float, one: Received) -> str:
    return f"{(one.at - sent) * 1000:8.2f} ms"
