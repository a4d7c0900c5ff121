"""A signal handler raises at every place of ours where CPython may run it, one after the other, in each role."""

from __future__ import annotations

import signal
from contextlib import suppress

import pytest

from pgnotify.errors import ListenerClosed
from pgnotify.listener import Listener
from pgnotify.listener.gap import Gap
from pgnotify.listener.observer import Observer
from pgnotify.testing.memory import MemoryServer
from tests.helpers import threads
from tests.helpers.interrupting import AVAILABLE, Interruption, TimeLimit, faults_at_each_place, time_limit
from tests.helpers.listeners import AT_ONCE, its_connection
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = [
    pytest.mark.usefixtures("no_gc"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.skipif(not AVAILABLE, reason="not applicable: this Python runs signal handlers at other places"),
]

PAYLOADS = [str(number) for number in range(5)]
LAST = "last"


def interrupt():
    raise KeyboardInterrupt


@pytest.fixture(params=["KeyboardInterrupt", "TimeLimit"])
def action(request):
    if request.param == "KeyboardInterrupt":
        yield interrupt
    else:
        with time_limit() as limit:
            yield limit


class Scene:
    """A listener to three channels, in one of its roles, which is interrupted once and goes on."""

    def __init__(self):
        self.server = MemoryServer()
        self.sender = self.server.connect()
        self.events = []
        self.received = {"jobs": [], "jobs again": [], "other": [], "iterated": []}
        settings = {"heartbeat": None, "backoff": AT_ONCE, "on_listening": self.events.append, **self.settings()}
        self.listener = Listener(self.server.connect, "iterated", **settings)
        self.prepare()

    def settings(self):
        return {}

    def prepare(self):
        self.listener.__enter__()

    def subscribe(self):
        self.listener.subscribe("jobs", self.taking("jobs"))
        self.listener.subscribe("jobs", self.taking("jobs again"))
        self.listener.subscribe("other", self.taking("other"))

    def taking(self, name):
        return lambda notification: self.received[name].append(notification.payload)

    def send(self):
        for payload in PAYLOADS:
            self.sender.notify_many([("jobs", payload), ("other", payload), ("iterated", payload)])

    def run(self, interruption):
        """Do it, interrupted once, and again to the end; return what is wrong in the end."""
        raised = False
        with interruption.here():
            try:
                self.act()
            except (KeyboardInterrupt, TimeLimit):
                raised = True
        if raised:
            self.act()
        elif interruption.where is not None:  # where there is another thread, there may be fewer places
            yield "the error did not come out"
        yield from self.faults()

    def faults(self):
        for name, payloads in self.expected().items():
            if self.received[name] != payloads:
                yield f"received {self.received[name]} of {name}"
        if any(event.gap for event in self.events):
            yield f"events {self.events}"
        if signal.set_wakeup_fd(-1) != -1:
            yield "signals still write to a descriptor"
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield "SIGINT is not Python's own"

    def expected(self):
        return dict.fromkeys(self.received, PAYLOADS)

    def release(self):
        assert self.listener.stop(IN_MEMORY)
        self.server.close()


class Running(Scene):
    """It runs in this thread, until a callback stops it."""

    def prepare(self):
        self.subscribe()
        self.called = False
        self.listener.subscribe("stop", self.stop)
        super().prepare()
        self.send()

    def send(self):
        super().send()
        self.sender.notify("stop")

    def stop(self, notification):
        self.called = True
        self.listener.stop()

    def act(self):
        if self.called:  # and was interrupted; it counts as delivered
            self.listener.stop()
        else:
            self.listener.run()

    def expected(self):
        return dict.fromkeys(("jobs", "jobs again", "other"), PAYLOADS)

    def faults(self):
        yield from super().faults()
        if self.listener.status().state != "closed":
            yield f"it is {self.listener.status().state}"


class RunningAgain(Running):
    """The same, with a drain; and the further run is to find that it was stopped."""

    def stop(self, notification):
        self.called = True
        self.listener.stop(drain=True)

    def act(self):
        if self.listener._watch.stop_requested:
            with suppress(ListenerClosed):
                threads.Running(self.listener.run).ended()
        else:
            super().act()


class Iterating(Scene):
    """It is iterated over in this thread, which reads, too."""

    def prepare(self):
        super().prepare()
        self.send()

    def act(self):
        left = len(PAYLOADS) - len(self.received["iterated"])
        if left:
            for notification in self.listener.notifications(timeout=IN_MEMORY, stop_after=left):
                self.received["iterated"].append(notification.payload)

    def expected(self):
        return {"iterated": PAYLOADS}


class IteratingBesideCallbacks(Iterating):
    """It is iterated over in this thread, which reads and calls the callbacks, too."""

    def prepare(self):
        self.subscribe()
        super().prepare()

    def expected(self):
        return dict.fromkeys(self.received, PAYLOADS)


class IteratingBesideAThread(Iterating):
    """It is iterated over in this thread, while another one reads."""

    def prepare(self):
        self.listener.start()
        self.send()


class Streaming(Iterating):
    """A stream is iterated over in this thread, which reads, too."""

    def prepare(self):
        self.received = {"streamed": [], "gaps": []}
        self.stream = self.listener.subscription("iterated", queue_size=3).__enter__()
        super().prepare()

    def act(self):
        for item in self.stream.items(timeout=IN_MEMORY, stop_after=4 - sum(map(len, self.received.values()))):
            if isinstance(item, Gap):
                self.received["gaps"].append(item.dropped)
            else:
                self.received["streamed"].append(item.payload)

    def expected(self):
        return {"streamed": PAYLOADS[:3], "gaps": [2]}


class RunningWithWorkers(Running):
    """It runs in this thread, and workers call the callbacks."""

    def settings(self):
        return {"workers": 2}

    def run(self, interruption):
        yield from super().run(interruption)

    def faults(self):
        self.listener.stop(IN_MEMORY)
        yield from super().faults()

    def stop(self, notification):
        # Each subscription keeps its order, and the others may be later.
        left = {name: len(PAYLOADS) for name in self.expected()}
        eventually(lambda: all(len(self.received[name]) == left[name] for name in left), patience=IN_MEMORY)
        super().stop(notification)


class RunningTimed(Running):
    """It runs in this thread, and an observer is told how long each callback takes."""

    def settings(self):
        return {"observer": Timing()}


class RunningTimedAlone(RunningTimed):
    """The same, and all notifications of a batch go to one callback."""

    def taking(self, name):
        def take(notification):
            self.received[name].append(notification.payload)
            if notification.payload == PAYLOADS[-1]:
                self.sender.notify("stop")

        return take

    def send(self):
        for payload in PAYLOADS:
            self.sender.notify("other", payload)

    def expected(self):
        return {"other": PAYLOADS}


class Timing(Observer):
    def callback_finished(self, name, channel, seconds, error):
        assert seconds >= 0


class Starting(Running):
    """It connects, listens, loses its connection, and connects again, in this thread."""

    def prepare(self):
        self.subscribe()
        self.called = False
        self.listener.subscribe("stop", self.stop)
        self.sent = self.lost = False

    def send(self):
        Scene.send(self)

    def settings(self):
        return {"on_listening": self.listening}

    def listening(self, event):
        self.events.append(event)
        # It may be told again of what it was told of just when it was interrupted.
        if not self.sent:
            self.sent = True
            self.send()
        self.sender.notify("lose" if event.gap is None else "stop")

    def subscribe(self):
        super().subscribe()
        self.listener.subscribe("lose", self.lose)

    def lose(self, notification):
        if not self.lost:
            self.lost = True
            self.server.drop_connection(its_connection(self.server))

    def faults(self):
        gaps = [event.gap for event in self.events if event.gap is not None]
        if not gaps:
            yield "no gap was told"
        self.events.clear()
        yield from super().faults()


class Polling(Scene):
    """It waits for hints in this thread, which reads, too."""

    def prepare(self):
        super().prepare()
        self.hints = []
        self.sender.notify("iterated", LAST)

    def act(self):
        if not self.hints:
            self.hints.append(self.listener.wait_or_poll(IN_MEMORY))

    def expected(self):
        return {}

    def faults(self):
        if [hint and hint.payload for hint in self.hints] != [LAST]:
            yield f"hints {self.hints}"
        yield from super().faults()


class Stopping(Scene):
    """It is stopped in this thread, while another one reads."""

    def prepare(self):
        self.listener.start()

    def act(self):
        assert self.listener.stop(IN_MEMORY)

    def expected(self):
        return {}

    def faults(self):
        if self.listener.status().state != "closed":
            yield f"it is {self.listener.status().state}"
        yield from super().faults()


class Draining(Stopping):
    """The same, and workers deliver first all that has arrived."""

    def settings(self):
        return {"workers": 2}

    def prepare(self):
        self.subscribe()
        super().prepare()
        self.send()

    def act(self):
        assert self.listener.stop(IN_MEMORY, drain=True)

    def expected(self):
        return dict.fromkeys(("jobs", "jobs again", "other"), PAYLOADS)


SCENES = [
    Running,
    RunningAgain,
    Iterating,
    IteratingBesideCallbacks,
    IteratingBesideAThread,
    Streaming,
    RunningWithWorkers,
    RunningTimed,
    RunningTimedAlone,
    Starting,
    Polling,
    Stopping,
    Draining,
]


@pytest.mark.parametrize("make", SCENES)
def test_nothing_is_lost_or_repeated(make, action):
    # Where there are thousands of places, each error takes every fifth one.
    stride = slice(action is interrupt, None, 5) if make in (Starting, RunningTimed) else slice(None)

    assert faults_at_each_place(make, action, stride) == ""


def test_an_iteration_takes_no_error_of_a_signal_handler_for_its_own_end(server):
    def fail(number, frame):
        raise IndexError

    before = signal.signal(signal.SIGUSR1, fail)
    try:
        with Listener(server.connect, "jobs", heartbeat=None) as listener:
            server.connect().notify("jobs", "1")
            iteration = listener.notifications(IN_MEMORY)
            next(iteration)
            with pytest.raises(IndexError), Interruption(1, lambda: signal.raise_signal(signal.SIGUSR1)).here():
                next(iteration)
    finally:
        signal.signal(signal.SIGUSR1, before)
