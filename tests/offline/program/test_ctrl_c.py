"""Ctrl-C: held back while the program or the backend is at work, and never otherwise."""

from __future__ import annotations

import signal
import socket
import threading
from collections import deque

import pytest

from pgnotify.program import actions as p
from pgnotify.program import ctrl_c
from pgnotify.program.runner import BlockingRunner
from tests.helpers.threads import Running, waits
from tests.helpers.waiting import IN_MEMORY, eventually


class Front:
    """Calls a function for each delivery."""

    def __init__(self, call=lambda: None):
        self.call = call

    def deliver(self, at_most):
        self.call()

    def tell(self, action):
        """Nothing is told here."""


def press():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def python_s_own():
    """SIGINT is Python's own before and after."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert ctrl_c.running is None


@pytest.fixture
def runner(backend):
    made = BlockingRunner(backend)
    yield made
    made.close()


def one(action, after=None):
    yield action
    if after is not None:
        after.append("went on")
        yield p.Fetch(deque())


def test_during_a_fetch_it_is_held_back_until_the_next_action(runner, backend):
    done, after = [], []
    backend.during("fetch", lambda: (press(), done.append("fetched")))

    with pytest.raises(KeyboardInterrupt):
        runner.run(one(p.Fetch(deque()), after), Front())

    assert (done, after) == (["fetched"], ["went on"])
    assert backend.verbs() == ["fetch"]


def test_after_the_last_action_it_is_raised_at_the_end(runner, backend):
    backend.during("fetch", press)

    with pytest.raises(KeyboardInterrupt):
        runner.run(one(p.Fetch(deque())), Front())


def test_while_the_users_code_runs_it_is_raised_at_once(runner):
    after = []

    with pytest.raises(KeyboardInterrupt):
        runner.run(one(p.Deliver(1)), Front(lambda: (press(), after.append("never"))))

    assert after == []


def test_the_second_one_is_raised_at_once(runner, backend):
    after = []
    backend.during("fetch", lambda: (press(), press(), after.append("never")))

    with pytest.raises(KeyboardInterrupt):
        runner.run(one(p.Fetch(deque())), Front())

    assert after == []


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="not applicable: no signals to a thread here")
def test_a_wait_is_ended_at_once(runner, backend):
    def interrupt():
        eventually(lambda: waits(threading.main_thread()), patience=IN_MEMORY)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def waiting():
        yield p.Wait(None)  # the first one is a false alarm
        yield p.Wait(None)
        yield p.Wait(None)

    interrupting = Running(interrupt)
    with pytest.raises(KeyboardInterrupt):
        runner.run(waiting(), Front())
    interrupting.ended()


@pytest.mark.parametrize("answered", [True, False])
def test_a_statement_is_interrupted_if_its_answer_does_not_come_soon(runner, backend, answered):
    here, there = socket.socketpair()
    done = []
    with here, there:
        backend.fileno = here.fileno
        if answered:
            there.send(b"x")
        backend.during("listen", lambda: (press(), done.append("listened")))
        with pytest.raises(KeyboardInterrupt):
            runner.run(one(p.Listen("jobs")), Front())

    assert done == (["listened"] if answered else [])


def test_a_statement_of_a_backend_without_a_descriptor_is_interrupted_at_once(runner, backend):
    done = []
    backend.during("listen", lambda: (press(), done.append("never")))

    with pytest.raises(KeyboardInterrupt):
        runner.run(one(p.Listen("jobs")), Front())

    assert done == []


def test_in_a_run_within_a_run_the_inner_one_is_interrupted_first(runner, backend):
    inner, after = BlockingRunner(backend), []
    backend.during("fetch", press)

    def nested():
        try:
            inner.run(one(p.Fetch(deque())), Front())
        except KeyboardInterrupt:
            after.append("inner")
            raise

    with pytest.raises(KeyboardInterrupt):
        runner.run(one(p.Deliver(1)), Front(nested))

    assert after == ["inner"]
    inner.close()


def test_a_handler_of_the_users_own_is_left_in_place(runner, backend):
    came = []
    backend.during("fetch", press)
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        runner.run(one(p.Fetch(deque())), Front())
        assert came == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_handler_that_a_callback_installs_stays(runner, backend):
    mine = lambda number, frame: None  # noqa: E731
    try:
        runner.run(one(p.Deliver(1)), Front(lambda: signal.signal(signal.SIGINT, mine)))
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_run_in_another_thread_holds_nothing_back(runner, backend):
    seen = []
    backend.during("fetch", lambda: seen.append(signal.getsignal(signal.SIGINT)))

    Running(lambda: runner.run(one(p.Fetch(deque())), Front())).ended()

    assert seen == [signal.default_int_handler]
