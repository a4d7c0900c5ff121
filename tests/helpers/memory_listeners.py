"""What the tests of the Listener on a server in memory share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from pgnotify.connecting.backoff import Backoff
from pgnotify.listener import Listener
from pgnotify.testing.memory import MemoryServer
from tests.helpers.canned import PATIENCE

AT_ONCE = Backoff(0, 0)


class Happened(list):
    """What has happened, in order; other threads wait for it."""

    def __init__(self):
        super().__init__()
        self._changed = threading.Condition()

    def append(self, what):
        with self._changed:
            super().append(what)
            self._changed.notify_all()

    def wait_for(self, condition: int | Callable[[Happened], object], patience: float = PATIENCE):
        """Wait until there are so many, or until something holds."""
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
        """Wait until so many have come in."""
        self.batches.wait_for(lambda batches: sum(each for each, _ in batches) >= count)


@pytest.fixture
def server():
    with MemoryServer() as running:
        yield running


@pytest.fixture
def sender(server):
    return server.connect()


@pytest.fixture
def make(server):
    """A function that makes listeners on the server, which are stopped at the end; no heartbeat, no pauses."""
    made = []

    def listener(*channels, source=None, **settings):
        settings = {"heartbeat": None, "backoff": AT_ONCE, **settings}
        made.append(Listener(source or (lambda: server.connect()), *channels, **settings))
        return made[-1]

    yield listener
    for each in made:
        assert each.stop(PATIENCE)


def its_connection(server):
    """Return the listener's connection: the one that was opened last."""
    return server.connections[-1]


def payloads(notifications):
    return [each.payload for each in notifications]


def send(sender, *messages, channel="jobs"):
    for message in messages:
        sender.notify(channel, str(message))


def refusing(server, times, error=None):
    """Return a function that connects, but fails so many times first."""
    left = [error or OSError("refused")] * times

    def connect():
        if left:
            raise left.pop()
        return server.connect()

    return connect


def wait_until(condition):
    """Wait until something holds that nobody tells of."""
    patience = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < patience, "has not happened"
        time.sleep(0.001)  # between two looks, never instead of one
