"""Listeners and callbacks for the tests of the Listener, on real servers and on one in memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pgnotify import Backoff
from pgnotify.listener.gap import Gap, Listening
from pgnotify.notification import Notification
from tests.helpers.async_front import AsyncFront
from tests.helpers.listener_fronts import Listener
from tests.helpers.notifications import payloads
from tests.helpers.threads import is_in, waits
from tests.helpers.waiting import IN_MEMORY, PATIENCE

AT_ONCE = Backoff(0.0, 0.0)
"""For tests that lose connections by the dozen."""


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
def listening(source: Any, *channels: str, **options: Any) -> Iterator[Any]:
    """Start a listener, and stop it at the end."""
    listener = Listener(source, *channels, **options)
    try:
        listener.start()
        yield listener
    finally:
        listener.stop()


def next_payloads(listener: Any, count: int) -> list[str]:
    """Return this many payloads of the iteration, fewer if they do not come."""
    return payloads(listener.notifications(PATIENCE, count))


def reader_of(listener: Any) -> threading.Thread:
    """Return the thread that a started listener reads in."""
    if isinstance(listener, AsyncFront):
        return listener.thread
    (thread,) = (each for each in threading.enumerate() if each.name == f"{listener.status().name} listener")
    return thread


def is_waiting(listener: Any, reading: threading.Thread) -> bool:
    """Return whether the listener waits for notifications, which a thread has it read."""
    return waits(reader_of(listener) if isinstance(listener, AsyncFront) else reading) and (
        listener.status().state == "listening"
    )


def asks(listener: Any, function: str) -> bool:
    """Return whether a started listener is in a function of the backend that waits for the server."""
    if isinstance(listener, AsyncFront):
        return any(is_in(each, function) for each in threading.enumerate() if each.name == "pgnotify call")
    return is_in(reader_of(listener), function)


def drains(listener: Any) -> bool:
    """Return whether a stop with ``drain`` was requested."""
    lifecycle = listener._lifecycle
    return bool(getattr(lifecycle, "shutdown", lifecycle)._drain)


def interrupts_callbacks(listener: Any) -> bool:
    """Return whether workers, and coroutine functions, end after the call that is under way."""
    workers = listener._delivery.workers
    return bool(listener._watch.stop_requested if workers is None else workers.interrupted)


def wait_for_callbacks(listener: Any) -> None:
    """Wait until no worker, and no coroutine function, has anything left to do."""
    if isinstance(listener, AsyncFront):
        listener.wait_for_callbacks()
    elif listener._delivery.workers is not None:
        assert listener._delivery.workers.wait_idle(None)


class Happened(list):
    """What has happened, in order; other threads wait for it."""

    def __init__(self):
        super().__init__()
        self._changed = threading.Condition()

    def append(self, what):
        with self._changed:
            super().append(what)
            self._changed.notify_all()

    def wait_for(self, condition: int | Callable[[Happened], object], patience: float = IN_MEMORY):
        """Wait until there are this many, or until something is true."""
        holds = (lambda: len(self) >= condition) if isinstance(condition, int) else (lambda: condition(self))
        with self._changed:
            assert self._changed.wait_for(holds, patience), f"has not happened, but {list(self)}"


class Watching:
    """An observer that remembers."""

    def __init__(self):
        self.states, self.batches, self.gaps, self.checks = Happened(), Happened(), Happened(), Happened()

    def state_changed(self, name, state):
        self.states.append(state)

    def received(self, name, notifications, size):
        self.batches.append((notifications, size))

    def gap_announced(self, name, gap):
        self.gaps.append(gap)

    def checked(self, name, round_trip, queue_usage):
        self.checks.append((round_trip, queue_usage))

    def wait_for_notifications(self, count):
        """Wait until this many have arrived."""
        self.batches.wait_for(lambda batches: sum(each for each, _ in batches) >= count)


def its_connection(server):
    """Return the listener's connection: the one that was opened last."""
    return server.connections[-1]


def send(sender, *messages, channel="jobs"):
    for message in messages:
        sender.notify(channel, str(message))


def refusing(server, times, error=None):
    """Return a function that connects, but fails this many times first."""
    left = [error or OSError("refused")] * times

    def connect():
        if left:
            raise left.pop()
        return server.connect()

    return connect
