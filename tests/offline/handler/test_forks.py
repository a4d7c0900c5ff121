"""The documented handler in a forked child."""

from __future__ import annotations

import gc
import os
import signal
import traceback
import warnings

import pytest

from pgnotify import HandlerClosed
from tests.helpers import handler_fronts
from tests.helpers.handlers import Recorder, warned_on_deletion
from tests.helpers.notifications import note

pytestmark = pytest.mark.handler_fronts("blocking", why=handler_fronts.FORKS)


forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="not applicable: no fork here")


def succeeds_in_a_child(function):
    """Run a function in a forked child; return whether it raised nothing."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@forking
@pytest.mark.parametrize("method", ["__call__", "listen", "unlisten", "notify"])
def test_a_forked_child_cannot_use_the_handler(backend, method, handler_on):
    handler = handler_on(backend, Recorder(), timeout=0)
    if method != "listen":
        handler.listen()
    backend.calls.clear()

    def use():
        with pytest.raises(HandlerClosed, match=f"this handler belongs to process {os.getppid()}, from which"):
            getattr(handler, method)()
        assert backend.calls == []

    assert succeeds_in_a_child(use)
    handler.close()


@forking
def test_a_forked_child_does_not_say_that_it_listens(backend, handler_on):
    handler = handler_on(backend)
    handler.listen()

    def look():
        assert not handler.listening
        assert repr(handler) == "<NotificationHandler event='jobs' lost>"

    assert succeeds_in_a_child(look)
    assert handler.listening
    handler.close()


@forking
def test_a_callback_that_returns_in_a_forked_child_ends_the_loop_there(backend, handler_on):
    parent, delivered, codes = os.getpid(), [], []

    def fork(arg_dict):
        delivered.append(arg_dict["extra"])
        child = os.fork()
        if not child:
            signal.alarm(60)
        if child:
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    handler = handler_on(backend, fork, timeout=0)
    for payload in ("1", "2"):
        backend.arrive(note(payload))

    ended = None
    try:
        handler()
    except HandlerClosed as error:
        ended = error
    if os.getpid() != parent:  # only the parent may go on with the tests
        told = "make a new connection and handler in the child" in str(ended)
        os._exit(delivered.index(delivered[-1]) if told else 10)

    assert (delivered, codes, ended) == (["1", "2"], [0, 1], None)
    handler.close()


@forking
def test_closing_in_a_forked_child_sends_nothing_and_lets_go_of_the_connection(backend, handler_on):
    handler = handler_on(backend, Recorder(), timeout=0)
    handler.listen()
    backend.calls.clear()

    def close():
        handler.close()
        assert backend.calls == []
        assert handler.db is None
        handler()
        handler.close()

    assert succeeds_in_a_child(close)
    handler.close()


@forking
def test_a_handler_closed_in_a_forked_child_is_not_listening_there(backend, handler_on):
    handler = handler_on(backend, Recorder(), timeout=0)
    handler.listen()

    def close():
        nonlocal handler
        handler.close()
        assert not handler.listening
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del handler
            gc.collect()
        assert caught == []

    assert succeeds_in_a_child(close)
    handler.close()


@forking
def test_a_child_does_not_keep_the_parent_from_listening(backend, handler_on):
    received = Recorder()
    handler = handler_on(backend, received, timeout=0.01)
    handler()
    handler.listen()

    assert succeeds_in_a_child(handler.close)

    backend.arrive(note("1"))
    handler()
    assert received.payloads == [None, "1", None]


@forking
def test_a_stop_in_a_forked_child_does_not_end_the_loop_of_the_parent(backend, handler_on):
    received = Recorder()
    handler = handler_on(backend, received, timeout=0.01)
    handler()
    assert succeeds_in_a_child(handler.stop)
    backend.arrive(note("1"))

    handler()

    assert received.payloads == [None, "1", None]


@forking
def test_a_handler_deleted_in_a_forked_child_sends_nothing(backend, no_gc, handler_on):
    handler = handler_on(backend)
    handler.listen()
    backend.calls.clear()

    def delete():
        nonlocal handler
        with warned_on_deletion("its connection belongs to the parent process", "lost"):
            del handler
        assert backend.calls == []

    assert succeeds_in_a_child(delete)
    handler.close()


@forking
def test_a_new_handler_in_a_forked_child_works(backend, canned, handler_on):
    handler = handler_on(backend)
    handler.listen()

    def start_anew():
        other = canned()
        received = Recorder()
        other.arrive(note("1"))
        handler_on(other, received, timeout=0)()
        assert received.payloads == ["1"]

    assert succeeds_in_a_child(start_anew)
    handler.close()
