"""One thread at a time touches the connection; who asks for it must never wait for who waits for them."""

from __future__ import annotations

import pytest

from pgnotify import NotificationHandler
from pgnotify.program.state import State
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
        handler._watch.in_force[:] = ["jobs"]  # there is still something to do
        getattr(handler, method)()
    loop.ended()

    assert handler._watch.state is (State.CLOSED if method == "close" else State.IDLE)
    assert handler._watch.in_force == []
    handler.close()
