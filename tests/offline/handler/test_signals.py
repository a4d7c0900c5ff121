"""Signal handlers use the documented handler, whose loop runs in the main thread."""

from __future__ import annotations

import signal
import threading

import pytest

from pgnotify import TransactionError
from tests.helpers import handler_fronts
from tests.helpers.handlers import Recorder
from tests.helpers.notifications import note
from tests.helpers.threads import Running

pytestmark = pytest.mark.handler_fronts("blocking", why=handler_fronts.SIGNALS)

STOP = note(channel="stop_jobs")


@pytest.fixture
def on_signal():
    """A function that says what a signal does; the signal is SIGUSR1."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda function: signal.signal(signal.SIGUSR1, lambda number, frame: function())
    signal.signal(signal.SIGUSR1, before)


def send_signal():
    signal.raise_signal(signal.SIGUSR1)


ENDING = ["stop", "unlisten", "close"]


@pytest.mark.parametrize(
    ("method", "verb"),
    [*((method, verb) for method in ENDING for verb in ("wait", "fetch")), ("stop", "listen"), ("close", "listen")],
)
def test_a_signal_handler_that_comes_in_during_a_call_ends_the_loop(handler, backend, on_signal, method, verb):
    on_signal(getattr(handler, method))
    backend.during(verb, send_signal)

    handler()

    assert backend.listened == set()
    assert backend.closed is (method == "close")
    assert (handler.db is None) is (method == "close")


@pytest.mark.parametrize("method", ENDING)
def test_a_signal_that_comes_while_the_loop_is_blocked_ends_it(handler, backend, on_signal, method):
    on_signal(getattr(handler, method))
    here, over = threading.get_ident(), threading.Event()

    def kill():
        assert backend.waiting.wait(10)
        while not over.wait(0.05):  # see the test below for why one signal may not do
            signal.pthread_kill(here, signal.SIGUSR1)

    killing = Running(kill)

    handler()

    over.set()
    killing.ended()
    assert backend.listened == set()


# CPython runs signal handlers between bytecodes, and poll() begins some instructions after the last of these. A
# signal in between sets a mark in C and poll() blocks all the same (29 of 300 with this timing). That gap is
# closed by signal.set_wakeup_fd() while the main thread waits (0 of 600).
def test_a_signal_that_comes_just_before_poll_is_not_lost(canned, on_signal, handler_on):
    lost = 0
    here = threading.get_ident()
    for _ in range(100):
        backend = canned(patience=0.2)
        handler = handler_on(backend)
        on_signal(handler.stop)
        killing = Running(
            lambda backend=backend: backend.waiting.wait(10) and signal.pthread_kill(here, signal.SIGUSR1)
        )
        try:
            handler()
        except AssertionError:
            backend.violations.clear()
            lost += 1
        killing.ended()
        handler.close()

    assert lost == 0


@pytest.mark.parametrize("method", ENDING)
def test_a_signal_handler_that_comes_in_during_a_callback_ends_the_loop_after_it(
    handler, backend, received, on_signal, method
):
    on_signal(getattr(handler, method))
    received.then = send_signal
    backend.arrive(note("1"), note("2"))

    handler()

    assert received.payloads == ["1"]
    assert backend.listened == set()
    assert backend.closed is (method == "close")


@pytest.mark.parametrize("method", ["unlisten", "close", "notify"])
def test_a_signal_handler_does_not_touch_a_driver_that_the_callback_is_using(
    handler, backend, received, on_signal, method
):
    on_signal(getattr(handler, method))

    def query():
        backend.busy = True
        calls = list(backend.calls)
        send_signal()
        assert backend.calls == calls
        backend.busy = False
        handler.stop()

    received.then = query
    backend.arrive(note("1"))

    handler()

    assert backend.closed is (method == "close")
    assert backend.sent == ([("jobs", "")] if method == "notify" else [])


def test_a_signal_handler_may_notify_while_the_loop_waits(handler, backend, received, on_signal):
    on_signal(lambda: handler.notify(payload="from a signal"))
    received.then = handler.stop
    backend.during("wait", send_signal)

    handler()

    assert received.payloads == ["from a signal"]


def test_an_error_of_what_a_signal_handler_has_asked_for_comes_out_of_the_loop(handler, backend, on_signal):
    on_signal(handler.unlisten)
    backend.during("wait", send_signal)
    backend.during("unlisten", TransactionError("in the way"))

    with pytest.raises(TransactionError, match="in the way"):
        handler()

    assert handler.listening


def test_a_keyboard_interrupt_ends_the_wait_and_leaves_it_listening(handler, backend, received):
    backend.during("wait", KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        handler()

    assert handler.listening
    backend.arrive(note("1"), STOP)
    handler()
    assert received.payloads == ["1", ""]


def test_a_signal_handler_may_stop_a_loop_that_runs_in_another_thread(waiting, handler, on_signal):
    on_signal(handler.stop)

    send_signal()

    waiting.ended()


def test_a_signal_handler_cannot_call_the_handler_while_the_driver_works(backend, handler_on):
    backend.fetch = lambda: handler()  # in there a signal handler calls it
    handler = handler_on(backend, Recorder(), timeout=0)

    with pytest.raises(RuntimeError, match=f"^this handler is already running, in thread {threading.get_ident()}$"):
        handler()

    handler.close()
