"""A signal handler stops a Listener at every place of ours, one after the other, and `stop` never waits in vain.

The thread that it interrupts may hold a lock that the reading thread or a worker needs to end.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress

import pytest

from pgnotify.errors import ListenerClosed
from pgnotify.listener import Listener
from pgnotify.program import ownership
from pgnotify.testing.memory import MemoryServer
from tests.helpers.interrupting import AVAILABLE, faults_at_each_place
from tests.helpers.listeners import AT_ONCE, Holding, send
from tests.helpers.waiting import IN_MEMORY, eventually

TIMEOUT = 5.0


def stops(listener, drain=False):
    """Return whether `stop` has ended the listener, or has returned before its time-out because it must not wait."""
    began = time.monotonic()
    return listener.stop(TIMEOUT, drain) or time.monotonic() - began < TIMEOUT


class Scene:
    """A listener that this thread uses while another one reads. It is stopped once, and goes on to its end."""

    workers = 0
    drain = False

    def __init__(self):
        self.server = MemoryServer()
        self.sender = self.server.connect()
        options = {"queue_size": 2, "workers": self.workers, "on_listening": self.on_listening}
        self.listener = Listener(self.server.connect, "jobs", heartbeat=None, backoff=AT_ONCE, **options)
        self.prepare()

    def prepare(self):
        self.listener.start()
        send(self.sender, *range(5))
        eventually(lambda: self.listener.status().notifications == 5, patience=IN_MEMORY)

    def on_listening(self, event):
        if event.gap is not None and self.listener.status().gaps == 0:
            send(self.sender, "behind the gap")

    def run(self, interruption):
        stopped = []
        interruption.action = lambda: stopped.append(stops(self.listener, self.drain))
        with interruption.here(), suppress(ListenerClosed):
            self.act()
        if stopped == [False]:
            yield "it waits in vain"
        if stopped and not self.listener.stop(IN_MEMORY):
            yield "it does not end"

    def release(self):
        assert self.listener.stop(IN_MEMORY)
        self.server.close()


class Starting(Scene):
    """It is being started."""

    def prepare(self):
        """Nothing runs yet."""

    def act(self):
        self.listener.start()
        self.listener.status()


class Iterating(Scene):
    """It takes two notifications, passes a gap, and takes the one behind."""

    def act(self):
        list(self.listener.notifications(timeout=IN_MEMORY, stop_after=3))


class Polling(Scene):
    """It waits for a hint, and passes a gap."""

    def act(self):
        self.listener.wait_or_poll(IN_MEMORY)


class Subscribing(Scene):
    """It subscribes, waits until that is in force, and cancels."""

    drain = True

    def act(self):
        with self.listener.subscribe("other", print) as subscription:
            subscription.wait_listening(IN_MEMORY)
        self.listener.status()


class Reading(Scene):
    """It reads by itself."""

    def prepare(self):
        self.listener.__enter__()
        send(self.sender, *range(2))

    def act(self):
        list(self.listener.notifications(timeout=IN_MEMORY, stop_after=2))


class Draining(Scene):
    """It is stopped already, and waits for workers, of which one reaches a gap."""

    workers = 2

    def prepare(self):
        self.listener.subscribe("jobs", self.receive)
        self.held = True
        super().prepare()

    def receive(self, notification):
        if self.held:
            eventually(lambda: not self.held, patience=IN_MEMORY)

    def act(self):
        self.held = False
        self.listener.stop(IN_MEMORY, drain=True)


class WaitingForWorkers(Draining):
    """It was stopped in vain, because a callback was running, and is stopped again."""

    def prepare(self):
        super().prepare()
        assert not self.listener.stop(0.0, drain=True)
        eventually(lambda: self.listener.status().state == "closed", patience=IN_MEMORY)

    def act(self):
        super().act()
        self.listener.status()


@pytest.mark.usefixtures("no_gc")
@pytest.mark.skipif(not AVAILABLE, reason="not applicable: this Python runs signal handlers at other places")
@pytest.mark.parametrize("make", [Starting, Iterating, Polling, Subscribing, Reading, Draining, WaitingForWorkers])
def test_at_each_place(make):
    assert faults_at_each_place(make, lambda: None) == ""


def test_in_the_event_loop_of_green_threads(make, sender, monkeypatch):
    listener, held = make("jobs"), Holding()
    listener.subscribe("jobs", held)
    listener.start()
    send(sender, 1)
    assert held.entered.wait(IN_MEMORY)
    with monkeypatch.context() as patched:
        patched.setattr(ownership, "is_event_loop", lambda: True)
        assert listener.stop(None) is False
        held.released.set()
        eventually(lambda: listener.status().state == "closed", patience=IN_MEMORY)
        assert listener.stop(None) is True


def test_while_a_log_is_written(make, caplog):
    class Interrupted(logging.Handler):
        def emit(self, record):
            if record.getMessage() == "of the user's":
                stopped.append(stops(listener))

    stopped, handler = [], Interrupted()
    caplog.set_level(logging.INFO)
    logging.getLogger().addHandler(handler)
    try:
        listener = make("jobs")
        listener.start()
        logging.getLogger("app").warning("of the user's")
    finally:
        logging.getLogger().removeHandler(handler)

    assert stopped == [True]
    eventually(lambda: listener.status().state == "closed", patience=IN_MEMORY)
