"""Shared by the tests of MemoryServer."""

from __future__ import annotations

import threading

import pytest

from pgnotify.waiting import wait_readable


@pytest.fixture
def listener(server):
    """A connection that listens."""
    connection = server.connect()
    connection.listen("jobs")
    return connection


class Blocking(threading.Event):
    """Set when a call is about to wait for its descriptor."""

    asleep = False
    """Whether it really has to wait."""

    @staticmethod
    def then():
        """What happens at that moment, in the thread of the call."""

    def wait_readable(self, descriptor, timeout, wakeup=None):
        if timeout != 0:
            self.asleep = not wait_readable(descriptor, 0)
            self.then()
            self.set()
        return wait_readable(descriptor, timeout, wakeup)


@pytest.fixture
def blocking(monkeypatch):
    made = Blocking()
    monkeypatch.setattr("pgnotify.testing._memory_connection.wait_readable", made.wait_readable)
    return made
