"""What other threads, or tasks, ask of a loop that is in its callback."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from pgnotify import ConnectionLost, HandlerClosed
from tests.helpers import handler_fronts
from tests.helpers.notifications import note
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = pytest.mark.handler_fronts("blocking", "coroutine", why=handler_fronts.ONE_TASK)


class Busy:
    """A loop that is in its callback until it is released."""

    def __init__(self, handler, backend, received):
        self.entered, self.leave = threading.Event(), threading.Event()
        self.handler = handler
        self.then = lambda: None
        """What the callback does when it is released."""
        received.then = self._while_listening
        backend.arrive(note("1"), note("2"))
        self.loop = Running(handler)
        assert self.entered.wait(10)

    def _while_listening(self):
        self.entered.set()
        assert self.leave.wait(10)
        self.then()

    def asked_by_another_thread(self, function):
        """Have another thread call a function, and return when it has put its command."""
        commands = self.handler._watch.commands
        before = len(commands)
        asking = Running(function)
        eventually(lambda: len(commands) > before, patience=IN_MEMORY)
        return asking


@pytest.fixture
def busy(handler, backend, received):
    made = Busy(handler, backend, received)
    yield made
    made.leave.set()
    handler.stop()
    with suppress(ZeroDivisionError):  # the test's own
        made.loop.ended()


def test_a_stop_while_the_callback_runs_ends_the_loop_after_it(busy, handler, received):
    handler.stop()
    busy.leave.set()

    busy.loop.ended()

    assert received.payloads == ["1"]


@pytest.mark.parametrize("method", ["unlisten", "close"])
def test_what_ends_the_loop_waits_for_the_callback(busy, handler, backend, received, method):
    asking = busy.asked_by_another_thread(getattr(handler, method))
    assert asking.is_alive()
    busy.leave.set()

    asking.ended()
    busy.loop.ended()

    assert received.payloads == ["1"]
    assert backend.listened == set()
    assert backend.closed is (method == "close")


def test_a_notify_while_the_callback_runs_is_sent_after_it(busy, handler, backend):
    asking = busy.asked_by_another_thread(lambda: handler.notify(payload="3"))
    assert backend.sent == []
    busy.leave.set()

    asking.ended()

    assert backend.sent == [("jobs", "3")]


@pytest.mark.parametrize("callback", ["raises", "closes", "unlistens"])
def test_who_has_asked_is_answered_however_the_loop_ends(busy, handler, callback):
    asking = busy.asked_by_another_thread(handler.unlisten)
    busy.then = {"raises": lambda: 1 / 0, "closes": handler.close, "unlistens": handler.unlisten}[callback]
    busy.leave.set()

    asking.ended()
    assert not handler.listening


def test_who_has_asked_behind_one_that_fails_is_answered_though_the_loop_has_ended(
    busy, handler, backend, handler_front
):
    first = busy.asked_by_another_thread(handler.notify)
    second = busy.asked_by_another_thread(handler.unlisten)
    backend.during("notify", ConnectionLost("gone"))
    busy.then = lambda: 1 / 0
    busy.leave.set()

    with pytest.raises(ConnectionLost, match="gone"):
        first.ended()
    second.ended()
    # A thread whose loop has ended carries out what it was asked for. On an event loop, each task does so for itself.
    with pytest.raises(ZeroDivisionError if handler_front.is_async else ConnectionLost):
        busy.loop.ended()


def test_a_lost_connection_is_raised_in_all_threads_and_left_by_them(busy, handler, backend):
    for nth in range(1, 5):
        backend.during("notify", ConnectionLost(f"gone {nth}"), nth)
    asking = [busy.asked_by_another_thread(handler.notify) for _ in range(4)]

    busy.leave.set()

    for each in asking:
        with pytest.raises(ConnectionLost, match="gone"):
            each.ended()
    with pytest.raises(ConnectionLost, match="gone"):
        busy.loop.ended()
    Running(handler.close).ended()
    assert backend.closed


@pytest.mark.parametrize("method", ["notify", "listen"])
def test_who_asks_behind_a_close_is_told_that_the_handler_is_closed(busy, handler, backend, method):
    if method == "listen":
        busy.asked_by_another_thread(handler.unlisten)
    closing = busy.asked_by_another_thread(handler.close)
    asking = busy.asked_by_another_thread(lambda: handler._do(lambda: _program_of(handler, method)))
    busy.leave.set()

    closing.ended()
    with pytest.raises(HandlerClosed):
        asking.ended()
    busy.loop.ended()


def _program_of(handler, method):
    from pgnotify.program import verbs

    return verbs.listen(handler._watch) if method == "listen" else verbs.notify(handler._watch, "jobs", "")


def test_two_threads_may_close_at_once(busy, handler, backend):
    first = busy.asked_by_another_thread(handler.close)
    second = busy.asked_by_another_thread(handler.close)
    busy.leave.set()

    first.ended()
    second.ended()

    assert backend.verbs().count("close") == 1
