"""A signal handler raises in the thread of the loop: at every place where CPython may run it, one after the other."""

from __future__ import annotations

import signal
import threading
from functools import partial
from itertools import repeat, starmap

import pytest

from pgnotify import NotificationHandler
from pgnotify.errors import ConnectionLost
from pgnotify.notification import Notification
from tests.helpers.canned import Canned
from tests.helpers.interrupting import AVAILABLE, TimeLimit, faults_at_each_place, time_limit
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY

pytestmark = [
    # Deletions of other tests' handlers are places of pgnotify too; they must not come in between.
    pytest.mark.usefixtures("no_gc"),
    # One that comes while a wake-up opens its sockets leaves them to their destructors.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.skipif(not AVAILABLE, reason="not applicable: this Python runs signal handlers at other places"),
]

PAYLOADS = [str(number) for number in range(7)]


class Keeping(Canned):
    """A driver in C: what it has leaves it in the moment in which it is queued. A stop ends each wait."""

    goes_on = staticmethod(lambda: False)
    """If it returns True, there is no stop yet."""

    def wait(self, timeout, wakeup=None):
        if self.goes_on():
            return super().wait(0.01, wakeup)
        if not self.arrived:
            self.arrive(Notification("stop_jobs", "stop", 7))
        return super().wait(timeout, wakeup)

    def fetch_into(self, queue):
        with self._calling("fetch"):
            self._bell.clear()
            queue.extend(starmap(self.arrived.popleft, repeat((), min(self.batch_size, len(self.arrived)))))


def interrupt():
    raise KeyboardInterrupt


class Scene:
    """A handler that gets seven notifications in three batches and then waits, once or twice."""

    def __init__(self):
        self.backend = Keeping(patience=5)
        self.backend.batch_size = 3
        self.received = []
        self.handler = NotificationHandler(self.backend, "jobs", self.receive)
        self.backend.arrive(*(Notification("jobs", payload, 7) for payload in PAYLOADS))

    def receive(self, arg_dict):
        self.received.append(arg_dict["extra"])

    def run(self, interruption):
        """Run the loop, interrupted once, and again to its end; return what is wrong in the end."""
        raised = None
        with interruption.here():
            try:
                self.handler()
            except (KeyboardInterrupt, TimeLimit) as error:
                raised = error
        if raised is not None:
            try:
                self.handler()
            except ConnectionLost:
                assert self.backend.closed  # by the other thread
        return list(self.faults(raised is not None, interruption))

    def faults(self, was_raised, interruption):
        if interruption.place and not was_raised:
            yield "the error did not come out"
        payloads = [payload for payload in self.received if payload != "stop"]
        if payloads != PAYLOADS:
            yield f"received {self.received}"
        if self.backend.violations:
            yield str(self.backend.violations)
        if self.handler.listening or self.backend.listened:
            yield f"listening is {self.handler.listening}, the server has {self.backend.listened}"
        if signal.set_wakeup_fd(-1) != -1:
            yield "signals still write to a descriptor"
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield "SIGINT is not Python's own"

    def release(self):
        self.backend.violations.clear()
        self.handler.close()
        self.backend.release()


@pytest.fixture(params=["KeyboardInterrupt", "TimeLimit"])
def action(request):
    if request.param == "KeyboardInterrupt":
        yield interrupt
    else:
        with time_limit() as limit:
            yield limit


def test_the_loop_loses_and_repeats_nothing(action):
    assert faults_at_each_place(Scene, action) == ""


class SceneWithAnotherThread(Scene):
    """A handler that waits, and another thread that asks it for something."""

    def __init__(self, method):
        super().__init__()
        self.method = method
        self.asking = None
        self.asked = threading.Event()
        request = self.handler._request

        def request_and_tell(command):
            request(command)
            self.asked.set()

        self.handler._request = request_and_tell
        self.backend.during("wait", self.ask)

    def ask(self):
        self.asking = Running(self.call)
        assert self.asked.wait(IN_MEMORY)

    def call(self):
        if self.method == "notify":
            self.handler.notify(payload="sent")
        else:
            getattr(self.handler, self.method)()

    def faults(self, was_raised, interruption):
        if self.asking is not None:
            try:
                self.asking.ended()
            except (KeyboardInterrupt, TimeLimit, RuntimeError):
                pass  # it came just while this was done
            except BaseException as error:
                yield f"the other thread got {error!r}"
            if self.method == "close":
                self.handler.close()
                if not self.backend.closed:
                    yield "the connection is open"
            if self.method == "notify":
                if self.backend.verbs().count("notify") > 1:
                    yield "it was sent twice"
                self.received = [payload for payload in self.received if payload != "sent"]
        yield from super().faults(was_raised, interruption)

    def release(self):
        del self.handler._request
        super().release()


@pytest.mark.parametrize("method", ["close", "notify", "unlisten"])
def test_a_call_of_another_thread_never_hangs(action, method):
    assert faults_at_each_place(partial(SceneWithAnotherThread, method), action) == ""


class SceneThatGoesOn(SceneWithAnotherThread):
    """The same, and the loop runs again at once, for as long as the other thread waits."""

    def __init__(self, method):
        super().__init__(method)
        turns = iter(range(300))  # otherwise a call that hangs would never fail
        self.backend.goes_on = lambda: (self.asking is None or self.asking.is_alive()) and next(turns, None) is not None


@pytest.mark.parametrize("method", ["close", "unlisten"])
def test_a_call_of_another_thread_does_not_hang_if_the_loop_runs_again(action, method):
    assert faults_at_each_place(partial(SceneThatGoesOn, method), action) == ""
