"""What the online tests of the Listener share: who listens, what it is told, and the drivers it runs on."""

from __future__ import annotations

import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pgnotify import Backoff, Listener
from pgnotify.listener.gap import Gap, Listening
from pgnotify.notification import Notification
from pgnotify.testing._proxy import Proxy
from pgnotify.testing._wire import Session, literal
from pgnotify.testing.address import Address
from tests.helpers.waiting import PATIENCE, eventually

AT_ONCE = Backoff(0.0, 0.0)
"""For tests that lose connections by the dozen."""


def through(proxy: Proxy, address: Address) -> Address:
    """Return the address by way of a proxy."""
    return address._replace(host=proxy.host, port=proxy.port)


class Told:
    """An on_listening that keeps each event, and first calls what it is given with it."""

    def __init__(self, then: Callable[[Listening], object] = lambda event: None) -> None:
        self.events: list[Listening] = []
        self._coming: queue.SimpleQueue[Listening] = queue.SimpleQueue()
        self._then = then

    def __call__(self, event: Listening) -> None:
        self.events.append(event)
        self._then(event)
        self._coming.put(event)

    def next(self) -> Listening:
        """Return the next event that was not returned yet, as soon as it has come."""
        return self._coming.get(timeout=PATIENCE)

    @property
    def gaps(self) -> list[Gap]:
        """The gaps, without the events that have none."""
        return [event.gap for event in self.events if event.gap is not None]


class Holding:
    """A callback that keeps the payloads, and does not return from the first one before `released` is set."""

    def __init__(self) -> None:
        self.payloads: list[str] = []
        self.entered = threading.Event()
        self.released = threading.Event()

    def __call__(self, notification: Notification) -> None:
        self.payloads.append(notification.payload)
        self.entered.set()
        assert self.released.wait(PATIENCE)


@contextmanager
def listening(source: Any, *channels: str, **options: Any) -> Iterator[Listener]:
    """Start a listener, and stop it at the end."""
    listener = Listener(source, *channels, **options)
    try:
        listener.start()
        yield listener
    finally:
        listener.stop()


def payloads(listener: Listener, count: int) -> list[str]:
    """Return so many payloads of the iteration, fewer if they do not come."""
    return [each.payload for each in listener.notifications(PATIENCE, count)]


def flood(session: Session, channel: str, count: int, size: int) -> None:
    """Send so many payloads of a size, which begin with their number, in transactions of a thousand."""
    for first in range(0, count, 1000):
        last = min(first + 1000, count) - 1
        session.sql(
            f"SELECT count(pg_notify({literal(channel)}, rpad(n::text || ' ', {size}, '.'))) "
            f"FROM generate_series({first}, {last}) n"
        )


@contextmanager
def timed(record: Callable[[str, object], None], name: str) -> Iterator[None]:
    """Record how long the body takes, in milliseconds."""
    began = time.monotonic()
    try:
        yield
    finally:
        record(name, round((time.monotonic() - began) * 1000, 1))


def until_arrived(proxy: Proxy, channel: str, count: int) -> None:
    """Return when so many notifications have gone through the proxy since `Proxy.record`.

    Their sender's commit says nothing of that: a session that is ended first does not send them any more.
    """
    eventually(lambda: proxy._links[-1].down.recorded.count(channel.encode()) == count, "all is sent")


def is_in(thread: threading.Thread, *names: str) -> bool:
    """Whether a thread is in functions of all these names, as its stack says."""
    frame, found = sys._current_frames().get(thread.ident or 0), set()
    while frame is not None:
        found.add(frame.f_code.co_name)
        frame = frame.f_back
    return found.issuperset(names)


def reader_of(listener: Listener) -> threading.Thread:
    """Return the thread that a started listener reads in."""
    (thread,) = (each for each in threading.enumerate() if each.name == f"{listener.status().name} listener")
    return thread


@contextmanager
def silent_server() -> Iterator[int]:
    """Give the port of a server that accepts, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        yield listening_socket.getsockname()[1]


@contextmanager
def refused() -> Iterator[int]:
    """Give a port that nobody listens on, and nobody else will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
