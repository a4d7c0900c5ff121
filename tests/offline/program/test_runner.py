"""The blocking runner: performs what a program asks for, and decides nothing."""

from __future__ import annotations

import contextlib
import weakref
from collections import deque

import pytest

from pgnotify.errors import ConnectionLost
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.program.runner import BlockingRunner
from tests.helpers.threads import Running

OLDER = Notification("jobs", "0", 7)
NOTE = Notification("jobs", "1", 7)


class Front:
    """Remembers what it was called with; raises what it is told to."""

    def __init__(self, error=None):
        self.calls = []
        self.error = error

    def deliver(self, at_most):
        self._called(("deliver", at_most))

    def tell(self, action):
        self._called(("tell", action))

    def _called(self, call):
        self.calls.append(call)
        if self.error is not None:
            raise self.error


@pytest.fixture
def runner(backend):
    made = BlockingRunner(backend)
    yield made
    made.close()


def doing(*actions, outcomes=None, ended=None):
    """A program that asks for actions, remembers their outcomes and how it has ended."""
    try:
        for action in actions:
            try:
                outcome = yield action
            except Exception as error:
                outcome = error
            if outcomes is not None:
                outcomes.append(outcome)
    except GeneratorExit:
        if ended is not None:
            ended.append("closed")
        raise
    return "the result"


def test_the_result_of_the_program_is_returned(runner):
    assert runner.run(doing(), Front()) == "the result"


def test_each_call_reaches_the_backend_with_its_arguments(runner, backend):
    program = doing(p.Listen("jobs"), p.Fetch(deque()), p.Notify("jobs", "1"), p.Unlisten("jobs"), p.Close())

    runner.run(program, Front())

    assert backend.calls == [
        ("listen", "jobs"),
        ("fetch",),
        ("notify", "jobs", "1"),
        ("unlisten", "jobs"),
        ("close",),
    ]


@pytest.mark.parametrize(("action", "verb"), [(p.ListenMany, "listen"), (p.UnlistenMany, "unlisten")])
def test_a_call_for_many_reaches_a_backend_that_can_do_only_one_as_one_for_each(runner, backend, action, verb):
    def for_all():
        left = ("jobs", "other", "third")
        while left:
            left = yield action(left)  # one answer of the server for each
            calls.append((*backend.calls, left))

    calls = []
    runner.run(for_all(), Front())

    assert calls == [
        ((verb, "jobs"), ("other", "third")),
        ((verb, "jobs"), (verb, "other"), ("third",)),
        ((verb, "jobs"), (verb, "other"), (verb, "third"), ()),
    ]


def test_what_is_fetched_reaches_the_program(runner, backend):
    backend.arrive(NOTE)
    queue = deque([OLDER])

    runner.run(doing(p.Fetch(queue)), Front())

    assert queue == deque([OLDER, NOTE])


def test_deliveries_and_timeouts_reach_the_front(runner, backend):
    front = Front()

    runner.run(doing(p.Deliver(5), p.ReportTimeout()), front)

    assert front.calls == [("deliver", 5), ("tell", p.ReportTimeout())]
    assert backend.calls == []


@pytest.mark.parametrize("verb", ["listen", "unlisten", "fetch", "notify", "close"])
def test_an_error_of_the_backend_is_raised_in_the_program(runner, backend, verb):
    error = ConnectionLost("gone")
    backend.during(verb, error)
    action = {
        "listen": p.Listen("jobs"),
        "unlisten": p.Unlisten("jobs"),
        "fetch": p.Fetch(deque()),
        "notify": p.Notify("jobs", ""),
        "close": p.Close(),
    }[verb]
    outcomes = []

    result = runner.run(doing(action, p.Fetch(deque()), outcomes=outcomes), Front())

    assert outcomes == [error, None]
    assert result == "the result"


def test_an_error_of_a_wait_is_raised_in_the_program(runner, backend):
    error = ConnectionLost("gone")
    backend.during("wait", error)
    outcomes = []

    runner.run(doing(p.Wait(0), p.Wait(0), p.Wait(0), outcomes=outcomes), Front())

    assert error in outcomes


@pytest.mark.parametrize("error", [ConnectionLost("gone"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_that_the_program_leaves_alone_is_raised(runner, backend, error):
    backend.during("fetch", error)

    def fetching():
        yield p.Fetch(deque())

    with pytest.raises(type(error)) as caught:
        runner.run(fetching(), Front())

    assert caught.value is error


def test_an_error_of_the_program_is_raised(runner):
    def failing():
        yield p.Fetch(deque())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        runner.run(failing(), Front())


@pytest.mark.parametrize("action", [p.Deliver(1), p.ReportTimeout()])
@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError(), ConnectionLost("of another connection"), StopIteration(5), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_front_passes_through_and_closes_the_program(runner, error, action):
    outcomes, ended = [], []
    caught = None
    try:
        runner.run(doing(action, p.Fetch(deque()), outcomes=outcomes, ended=ended), Front(error))
    except BaseException as passed:
        caught = passed

    assert caught is error
    assert outcomes == []
    assert ended == ["closed"]


def test_a_stop_iteration_of_the_backend_does_not_end_the_program(runner, backend, monkeypatch):
    monkeypatch.setattr(backend, "listen", lambda channel: next(iter(())))
    outcomes = []

    assert runner.run(doing(p.Listen("jobs"), p.Fetch(deque()), outcomes=outcomes), Front()) == "the result"

    assert [type(outcome) for outcome in outcomes] == [StopIteration, type(None)]


# engaged


@pytest.mark.parametrize("error", [None, ConnectionLost("gone")])
def test_it_is_engaged_all_the_time_but_while_the_front_is_called(runner, backend, error):
    in_calls, in_program, in_front = [], [], []

    def look():
        in_calls.append(runner.engaged)
        if error is not None:
            raise error

    class Looking(Front):
        def _called(self, call):
            in_front.append(runner.engaged)

    for verb in ("listen", "wait", "fetch", "notify", "unlisten", "close"):
        backend.during(verb, look)
    actions = [p.Listen("a"), p.Wait(0), p.Wait(0), p.Fetch(deque()), p.Notify("a", ""), p.Unlisten("a"), p.Close()]

    def asking():
        for action in actions:
            in_program.append(runner.engaged)
            with contextlib.suppress(ConnectionLost):
                yield action
            in_program.append(runner.engaged)
            yield p.Deliver(1)
            yield p.ReportTimeout()

    runner.run(asking(), Looking())

    assert in_calls == [True] * 6
    assert set(in_program) == {True}
    assert set(in_front) == {False}
    assert runner.engaged is False


def test_it_is_engaged_again_when_a_front_has_run_another_program(runner):
    seen = []

    class Nesting(Front):
        def _called(self, call):
            runner.run(looking(), Front())
            seen.append(("front", runner.engaged))

    def looking():
        seen.append(("nested", runner.engaged))
        yield p.Fetch(deque())

    def delivering():
        yield p.Deliver(1)
        seen.append(("program", runner.engaged))

    runner.run(delivering(), Nesting())

    assert seen == [("nested", True), ("front", False), ("program", True)]
    assert runner.engaged is False


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_it_is_not_engaged_after_an_error(runner, error):
    with pytest.raises(error):
        runner.run(doing(p.Deliver(1)), Front(error()))

    assert runner.engaged is False


# References


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_the_front_keeps_nothing_alive(runner, no_gc, error):
    front = Front(error())
    alive = weakref.ref(front)

    with pytest.raises(error):
        runner.run(doing(p.Deliver(1)), front)
    front.error = None
    del front

    assert alive() is None


def test_an_error_of_the_backend_keeps_nothing_alive(runner, backend, no_gc):
    front = Front()
    alive = weakref.ref(front)
    backend.during("fetch", lambda: 1 / 0)

    def fetching():
        yield p.Fetch(deque())

    with pytest.raises(ZeroDivisionError):
        runner.run(fetching(), front)
    del front

    assert alive() is None


def test_an_error_that_the_program_deals_with_keeps_nothing_alive(runner, backend, no_gc):
    front = Front()
    alive = weakref.ref(front)
    backend.during("fetch", lambda: 1 / 0)

    def dealing_with_it():
        with contextlib.suppress(ZeroDivisionError):
            yield p.Fetch(deque())

    runner.run(dealing_with_it(), front)
    del front

    assert alive() is None


# Waking


def waiting_for_ever(found_by_program):
    """Wait until `found_by_program` says why; false alarms are expected."""
    while not found_by_program:
        yield p.Wait(None)


def test_wake_ends_a_wait(runner, backend):
    reasons = []
    running = Running(lambda: runner.run(waiting_for_ever(reasons), Front()))
    assert backend.waiting.wait(10)

    reasons.append("stop")
    runner.wake()

    running.ended()


def test_a_wake_that_comes_before_the_wait_is_not_lost(runner, backend):
    reasons = []
    backend.during("wait", lambda: (reasons.append("stop"), runner.wake()))

    runner.run(waiting_for_ever(reasons), Front())


def test_a_reason_that_came_before_there_was_a_wakeup_is_found_before_the_first_wait(runner, backend):
    reasons = []

    def given_too_early():
        runner.wake()  # wakes nobody: nothing has been waited for yet
        outcome = yield p.Wait(None)
        assert outcome is None
        reasons.append("stop")
        yield from waiting_for_ever(reasons)

    runner.run(given_too_early(), Front())

    assert backend.calls == []


def test_one_wake_ends_one_wait(runner, backend):
    runner.run(doing(p.Wait(0)), Front())
    backend.during("wait", runner.wake)

    # The second only takes the wake-up back, so that the program looks once more.
    runner.run(doing(p.Wait(0.01), p.Wait(0.01), p.Wait(0.01)), Front())

    assert backend.waits == [True, False]


def test_a_wake_before_a_wait_has_the_program_look_once_more_instead(runner, backend):
    runner.run(doing(p.Wait(0)), Front())
    runner.wake()

    runner.run(doing(p.Wait(0.01), p.Wait(0.01)), Front())

    assert backend.waits == [False]


def test_a_timeout_reaches_the_backend(runner, backend):
    runner.run(doing(p.Wait(0), p.Wait(0.01)), Front())

    assert backend.calls[-1] == ("wait", 0.01)


def test_waking_before_the_first_wait_and_after_close_does_nothing(runner):
    runner.wake()
    runner.close()
    runner.wake()
    runner.close()


def test_a_runner_without_a_wait_opens_no_descriptor(runner, backend):
    runner.run(doing(p.Listen("jobs"), p.Fetch(deque()), p.Unlisten("jobs")), Front())

    assert runner._wakeup is None
