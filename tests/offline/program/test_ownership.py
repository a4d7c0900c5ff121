"""One thread at a time touches the connection; who asks for it must never wait for who waits for them."""

from __future__ import annotations

import sys
import threading

import pytest

from pgnotify import NotificationHandler
from pgnotify.program.state import State
from tests.helpers.canned import Running
from tests.helpers.waiting import eventually


@pytest.mark.parametrize("method", ["close", "unlisten"])
def test_a_signal_handler_does_not_wait_while_its_own_thread_holds_the_lock(canned, method):
    handler = NotificationHandler(canned(), "jobs", lambda arg_dict: None)
    loop = Running(handler)
    eventually(lambda: handler.listening)

    with handler._ownership._lock:  # here the signal comes in, in the thread that holds this
        handler.stop()
        eventually(lambda: "release" in _functions_of(loop))  # the loop wants it too
        handler._watch.in_force[:] = ["jobs"]  # there is still something to do
        getattr(handler, method)()
    loop.ended()

    assert handler._watch.state is (State.CLOSED if method == "close" else State.IDLE)
    assert handler._watch.in_force == []
    handler.close()


def _functions_of(thread: threading.Thread) -> set[str]:
    frame, names = sys._current_frames().get(thread.ident or 0), set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names
