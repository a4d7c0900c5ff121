"""A signal handler, or another thread, comes in at every single instruction of the loop, one after the other."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import pgnotify
from pgnotify import NotificationHandler
from pgnotify.notification import Notification
from tests.helpers.canned import Canned
from tests.helpers.threads import Running

OURS = str(Path(pgnotify.__file__).parent)


class At:
    """A trace function that does something once, before the nth instruction of pgnotify."""

    def __init__(self, instruction, action=lambda: None):
        self.instruction = instruction
        self.action = action
        self.count = 0
        self.where = None

    def __call__(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame, event, arg):
        if event == "opcode":
            self.count += 1
            if self.count == self.instruction:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                self.action()
        return self._step

    @contextmanager
    def tracing(self):
        """Trace what this thread does; whoever traced before (such as coverage) goes on afterwards."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            yield self
        finally:
            sys.settrace(before)


NOTES = (Notification("jobs", "1", 7), Notification("jobs", "2", 7))
STOP = Notification("stop_jobs", "the stop", 7)


class Scene:
    """A handler that has notifications to deliver, and then waits for ever, unless the last is a stop."""

    def __init__(self, method, arrived=NOTES, patience=0):
        self.method = method
        self.arrived = [notification.payload for notification in arrived]
        self.backend = Canned(patience)
        self.backend.arrive(*arrived)
        self.received = []
        self.handler = NotificationHandler(self.backend, "jobs", self._callback)
        self.error = None

    def _callback(self, arg_dict):
        self.received.append(arg_dict["extra"])
        if arg_dict["extra"] == "sent":
            self.handler.stop()

    def interfere(self):
        if self.method in ("unlisten", "notify") and not self.handler.listening:
            self.method = "stop"  # they would have no effect before there is a LISTEN
        if self.method == "notify":
            self.handler.notify(payload="sent")
        else:
            getattr(self.handler, self.method)()

    def run(self, at):
        with at.tracing():
            try:
                self.handler()
            except BaseException as error:
                self.error = error

    def faults(self):
        """Return what is wrong at the end, in words."""
        if self.error is not None:
            yield f"the loop raised {self.error!r}"
        if self.backend.violations:
            yield str(self.backend.violations)
        left = [notification.payload for notification in (*self.handler._watch.queue, *self.backend.arrived)]
        sent = [payload for _, payload in self.backend.sent]
        # What is sent after the stop was unlistened does not arrive.
        possible = [self.arrived + sent, self.arrived] if "the stop" in self.received else [self.arrived + sent]
        if self.received + left not in possible:
            yield f"received {self.received}, left {left}"
        if self.handler.listening or self.backend.listened:
            yield f"listening is {self.handler.listening}, the server has {self.backend.listened}"
        if (self.method == "close") != (self.handler.db is None and self.backend.closed):
            yield f"db is {self.handler.db}, closed is {self.backend.closed}"

    def release(self):
        """Close what was opened."""
        self.backend.violations.clear()
        self.handler.close()
        self.backend.release()


def instructions(arrived):
    """Count those until the loop blocks or ends, to interrupt it at each of them."""
    scene, at = Scene("stop", arrived), At(0)
    counts = []

    def stop():
        counts.append(at.count)
        scene.handler.stop()

    scene.backend.during("wait", stop)
    scene.run(at)
    scene.release()
    return [*counts, at.count][0]


def faults_at_each_instruction(method, interfere, arrived, patience):
    """Run the scene once for each instruction; return where something went wrong, and what."""
    found = set()
    for instruction in range(1, instructions(arrived) + 1):
        scene, at = Scene(method, arrived, patience), At(instruction)
        with interfere(scene, at):
            scene.run(at)
        found |= {f"{at.where}: {fault}" for fault in scene.faults()}
        scene.release()
        if len(found) > 10:
            break
    return sorted(found)


@contextmanager
def a_signal_handler(scene, at):
    """What a signal handler does, it does between two instructions of the main thread."""
    at.action = scene.interfere
    yield


@contextmanager
def another_thread(scene, at):
    """The loop goes on when the other thread has done its work, or has asked for it."""
    asked = threading.Event()
    request = scene.handler._request
    threads = []

    def request_and_tell(command):
        request(command)
        asked.set()

    def interfere():
        try:
            scene.interfere()
        finally:
            asked.set()

    def start():
        threads.append(Running(interfere))
        asked.wait(0.01)  # it may also be waiting for the lock that the loop holds

    scene.handler._request = request_and_tell
    at.action = start
    yield
    for each in threads:
        each.ended()
    del scene.handler._request


pytestmark = [
    # Deletions of other tests' handlers are instructions of pgnotify too; they must not come in between.
    pytest.mark.usefixtures("no_gc"),
    # From 3.12 on the trace function is called by way of sys.monitoring, not at the same instructions each time.
    pytest.mark.skipif(
        sys.version_info >= (3, 12), reason="not applicable: this Python does not trace each instruction"
    ),
]

METHODS = ["stop", "unlisten", "close", "notify"]


@pytest.mark.parametrize("arrived", [NOTES, (*NOTES, STOP)], ids=["waits", "ends"])
@pytest.mark.parametrize("method", METHODS)
def test_a_signal_handler_may_come_in_at_any_instruction(method, arrived):
    # There is only one thread: a wait that has nothing to end it now will never have.
    faults = faults_at_each_instruction(method, a_signal_handler, arrived, patience=0)

    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("arrived", [NOTES, (*NOTES, STOP)], ids=["waits", "ends"])
@pytest.mark.parametrize("method", METHODS)
def test_another_thread_may_come_in_at_any_instruction(method, arrived):
    faults = faults_at_each_instruction(method, another_thread, arrived, patience=3)

    assert not faults, "\n".join(faults)
