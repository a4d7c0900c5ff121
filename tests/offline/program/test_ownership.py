"""One thread at a time touches the connection; who asks for it must never wait for who waits for them."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from pgnotify import NotificationHandler
from pgnotify.program import ownership as module
from pgnotify.program.ownership import Ownership, is_held_here
from pgnotify.program.state import State
from tests.helpers.interrupting import AVAILABLE, Interruption
from tests.helpers.threads import Running, is_in
from tests.helpers.waiting import eventually


@pytest.mark.parametrize("method", ["close", "unlisten"])
def test_a_signal_handler_does_not_wait_while_its_own_thread_holds_the_lock(canned, method):
    handler = NotificationHandler(canned(), "jobs", lambda arg_dict: None)
    loop = Running(handler)
    eventually(lambda: handler.listening)

    with handler._ownership._lock:  # here the signal comes in, in the thread that holds this
        handler.stop()
        eventually(lambda: is_in(loop, "release"))  # the loop wants it too
        handler._watch.in_force["jobs"] = None  # there is still something to do
        getattr(handler, method)()
    loop.ended()

    assert handler._watch.state is (State.CLOSED if method == "close" else State.IDLE)
    assert handler._watch.in_force == {}
    handler.close()


def interrupt():
    raise KeyboardInterrupt


def release_twice(ownership):
    try:
        ownership.release()
    except BaseException:
        ownership.release()
        raise


@pytest.mark.skipif(not AVAILABLE, reason="not applicable: this Python runs signal handlers at other places")
def test_a_release_that_is_interrupted_wakes_those_that_wait():
    place, was_reached = 0, True
    while was_reached:
        place += 1
        ownership, interruption = Ownership(), Interruption(place, interrupt)
        assert ownership.try_to_take()
        waiting = Running(lambda: ownership.wait(ownership.by_nobody, None))  # noqa: B023  # it ends in this turn
        eventually(lambda: is_in(waiting, "wait_for"))  # noqa: B023
        with interruption.here(), suppress(KeyboardInterrupt):
            release_twice(ownership)
        was_reached = interruption.where is not None
        waiting.ended()

    assert place > 5


def test_a_thread_of_the_system_beside_green_ones_cannot_wait_for_their_locks(monkeypatch):
    ownership = Ownership()
    monkeypatch.setattr(module, "has_no_event_loop", lambda: True)

    assert not ownership.cannot_wait()
    Running(ownership.try_to_take).ended()
    assert ownership.cannot_wait()


def test_a_lock_is_held_here_or_elsewhere():
    lock = threading.RLock()

    assert not is_held_here(lock)
    with lock:
        assert is_held_here(lock)
        assert not Running(is_held_here, lock).ended()


def test_a_lock_that_cannot_tell_is_not_held():
    lock = threading.Lock()

    with lock:
        assert not is_held_here(lock)
    assert not is_held_here(None)
