"""A Listener in a forked child: it says that it does not listen there, warns once, and ends; the parent goes on."""

from __future__ import annotations

import ctypes
import io
import logging
import os
import queue
import signal
import threading

import pytest

from pgnotify import Observer
from pgnotify.errors import ListenerClosed
from tests.helpers.listeners import Holding, send
from tests.helpers.notifications import payloads
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="not applicable: no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # of threads and fork, from 3.12
]


def fork_once():
    """Fork; a child that does not end as it should is ended."""
    child = os.fork()
    if not child:
        signal.alarm(60)
    return child


def fork_in_c():
    """Fork as uWSGI does, which tells Python nothing. The system ends a child that hangs, whatever it waits for."""
    handler = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    child = ctypes.PyDLL(None).fork()
    if child:
        signal.signal(signal.SIGALRM, handler)
    else:
        signal.alarm(5)
    return child


def in_a_child(function, fork=fork_once):
    """Return what a function returns in a forked child, or the name of what it raises."""
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        try:
            try:
                result = str(function())
            except BaseException as error:
                result = type(error).__name__
            os.write(writing, result.encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as result:
        return result.read()


def in_a_child_of_c(function):
    """Do the same in a child that is forked as uWSGI does it, which tells Python nothing.

    Another thread of this process may have been about to take the interpreter's lock at that moment. Then nobody
    releases it in the child, which hangs whatever it does. So there are a few tries.
    """
    results = (in_a_child(function, fork_in_c) for _ in range(3))
    return next(filter(None, results))


def test_a_fork_that_python_is_not_told_of_is_noticed_by_a_look_at_the_listener(make, sender, caplog):
    listener = make("jobs")
    listener.start()

    def look():
        status = listener.status()
        eventually(lambda: caplog.records)  # the warning is logged in a thread of its own
        return status.state, status.delivering, listener.delivering, caplog.messages[-1].partition(":")[2]

    caplog.clear()
    assert in_a_child_of_c(look).startswith(
        "(<ListenerState.LOST: 'lost'>, False, False, ' no notification arrives in this process: this listener belongs"
    )

    send(sender, 1)
    assert payloads(listener.notifications(stop_after=1)) == ["1"]


@pytest.mark.parametrize("start", [True, False])
def test_a_forked_child_cannot_use_it_and_the_parent_goes_on(make, sender, start):
    listener = make("jobs")
    listener.start() if start else listener.__enter__()
    subscription = listener.subscribe("other", print)

    assert in_a_child(listener.run) == "ListenerClosed"
    assert in_a_child(listener.notifications) == "ListenerClosed"
    assert in_a_child(subscription.wait_listening) == "ListenerClosed"
    assert in_a_child(listener.stop) == "True"
    assert in_a_child(subscription.cancel) == "None"

    send(sender, 1)
    assert payloads(listener.notifications(stop_after=1)) == ["1"]


def test_an_iteration_that_has_begun_ends_in_a_forked_child(make, sender):
    with make("jobs") as listener:
        send(sender, 1)
        iteration = listener.notifications(timeout=0.1)
        next(iteration)

        assert in_a_child(lambda: next(iteration)) == "ListenerClosed"


def state_of(listener):
    status = listener.status()
    return f"{status.state} {status.delivering} {listener.delivering} {status.channels} {status.queued} {listener!r}"


@pytest.mark.parametrize("way", ["started", "iterated", "workers"])
def test_in_a_forked_child_its_state_is_honest(make, sender, way):
    listener = make("jobs", workers=1 if way == "workers" else 0, name="mine")
    listener.__enter__() if way == "iterated" else listener.start()
    before = state_of(listener)

    lost, where = "False False () 0 <Listener 'mine'", ": 'jobs' on <lambda>()>"
    assert in_a_child(lambda: state_of(listener)) == f"lost {lost} lost{where}"
    assert in_a_child(lambda: (listener.stop(), state_of(listener))[1]) == f"closed {lost} closed{where}"
    assert in_a_child(lambda: listener.status().unread) == "0.0"

    assert state_of(listener) == before == f"listening True True ('jobs',) 0 <Listener 'mine' listening{where}"


def test_in_a_forked_child_no_worker_is_in_a_callback(make, sender):
    held = Holding()
    listener = make(workers=1)
    listener.subscribe("jobs", held)
    listener.start()
    sender.notify("jobs")
    assert held.entered.wait(IN_MEMORY)

    assert in_a_child(lambda: listener.status().unread) == "0.0"
    held.released.set()


@pytest.mark.parametrize("state", ["idle", "closed"])
def test_in_a_forked_child_one_that_was_not_in_use_is_as_it_was(make, state, caplog):
    listener = make("jobs")
    if state == "closed":
        listener.start()
        listener.stop()

    def look():
        join_warnings()
        return f"{listener.status().state} {[each.levelname for each in caplog.records if each.levelname != 'INFO']}"

    assert in_a_child(look) == f"{state} []"


def join_warnings():
    """Wait for what a child logs beside its own work."""
    for thread in threading.enumerate():
        if thread.name == "pgnotify warning":
            thread.join(IN_MEMORY)


def test_a_forked_child_warns_once_for_each_listener_and_its_own_child_does_not(make, caplog):
    listeners = [make("jobs", name=name) for name in ("one", "two")]
    for listener in listeners:
        listener.start()

    def warnings_here():
        join_warnings()
        return [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]

    def child():
        first = warnings_here()
        caplog.clear()
        listeners[0].status()
        listeners[0].stop()
        return f"{sorted(first)} {in_a_child(warnings_here)}"

    said = in_a_child(child)

    assert said.endswith(" []")
    for name in ("one", "two"):
        assert said.count(f"{name}: no notification arrives in this process: this listener belongs to process") == 1
    assert said.count("make a new one in the child") == 2
    assert warnings_here() == []


def test_a_fork_does_not_wait_for_a_log_that_another_thread_is_writing(make):
    """A stream's own lock is not renewed in a child, so a child that logs there waits for ever."""
    entered, released = threading.Event(), threading.Event()

    class Stream(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            entered.set()
            released.wait(IN_MEMORY)
            return len(data)

    stream = io.TextIOWrapper(io.BufferedWriter(Stream()), write_through=True)
    handler = logging.StreamHandler(stream)
    log = logging.getLogger("pgnotify")
    listener = make("jobs")
    listener.start()
    log.addHandler(handler)
    try:
        writer = threading.Thread(target=log.warning, args=("held up",))
        writer.start()
        assert entered.wait(IN_MEMORY)

        assert in_a_child(lambda: listener.status().state) == "lost"

        released.set()
        writer.join()
    finally:
        log.removeHandler(handler)


class OfTheParent(Observer):
    """Ends a child in which it is told of something."""

    def __init__(self):
        self.process = os.getpid()

    def told(self, *facts):
        if os.getpid() != self.process:
            os._exit(12)

    state_changed = received = channel_received = callback_finished = gap_announced = checked = told


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("way", ["run", "iterated", "wait_or_poll", "on_listening", "several"])
def test_a_callback_that_returns_in_a_forked_child_ends_the_listener_there(make, sender, way, observed):
    parent, called, codes = os.getpid(), [], []

    def fork(what):
        called.append(what)
        child = fork_once() if len(called) == 1 else None
        if child:
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            listener.stop()

    told = fork if way == "on_listening" else lambda event: send(sender, 1, 2)
    listener = make("jobs", on_listening=told, observer=OfTheParent() if observed else None)
    if way != "on_listening":
        for _ in range(2 if way == "several" else 1):
            listener.subscribe("jobs", fork)
    verb = {"iterated": lambda: list(listener), "wait_or_poll": lambda: listener.wait_or_poll(IN_MEMORY, IN_MEMORY)}
    ended = None
    try:
        verb.get(way, listener.run)()
    except ListenerClosed as error:
        ended = error
    if os.getpid() != parent:  # only the parent may go on with the tests
        os._exit(7 if "make a new one in the child" in str(ended) and len(called) == 1 else 10)

    assert codes == [7]


def end_with_the_error(record):
    """Take the log of a child for its exit code."""
    if record.levelname == "ERROR":
        os._exit(7 if record.exc_info[0] is ListenerClosed else 11)
    return True


@pytest.mark.parametrize("workers", [0, 1])
def test_a_callback_in_a_thread_that_returns_in_a_forked_child_ends_that(make, sender, workers):
    parent, called, codes = os.getpid(), [], queue.SimpleQueue()

    def fork(notification):
        called.append(notification.payload)
        if os.getpid() != parent:
            os._exit(10)
        if notification.payload != "1":
            return
        child = fork_once()
        if child:
            codes.put(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        else:  # its only thread is this one: the error is printed if it is a worker, and otherwise logged
            threading.excepthook = lambda failure: os._exit(7 if failure.exc_type is ListenerClosed else 11)
            logging.getLogger("pgnotify.listener").addFilter(end_with_the_error)

    listener = make(workers=workers)
    listener.subscribe("jobs", fork)
    listener.start()
    send(sender, 1, 2)

    assert codes.get(timeout=IN_MEMORY) == 7
    eventually(lambda: called == ["1", "2"], patience=IN_MEMORY)


def test_a_child_iterates_over_nothing_of_its_parents(make, sender):
    parent, codes, received = os.getpid(), [], []
    ended = None
    with make("jobs") as listener:
        send(sender, 1, 2, 3)
        try:
            for notification in listener:
                received.append(notification.payload)
                child = fork_once()
                if child:
                    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                else:
                    received.clear()
                if len(received) == 3:
                    break
        except ListenerClosed as error:
            ended = error
        if os.getpid() != parent:  # only the parent may go on with the tests
            os._exit(7 if "make a new one in the child" in str(ended) and not received else 10)

    assert (received, codes) == (["1", "2", "3"], [7, 7, 7])
