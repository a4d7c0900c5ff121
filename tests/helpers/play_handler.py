"""Plays the runner's part, so that a program is tested step by step: no server, no thread, no clock.

    handler = documented("jobs")

    delivered = play(run(handler), ("listen", None), ("listen", None), ("fetch", [stop]), ("unlisten", None), ...)

A step is the verb that the program must ask for next, and what becomes of it: an exception is
raised inside the program, a function is called (something happens meanwhile) and its result sent,
anything else is sent. `Deliver` and `ReportTimeout` are played without a step. The script must end
where the program ends, unless its last outcome is `LEFT`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pgnotify.handler.loop import handler_loop
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.program.watch import Watch

LEFT = object()
"""As the outcome of the last step: the program is left where it stands."""


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now

    def passes(self, seconds: float) -> Callable[[], bool]:
        """Return what a step does while so much time passes."""

        def pass_time() -> bool:
            self.now += seconds
            return True

        return pass_time


class Documented:
    """The documented handler without its front: a watch, the settings, and what the callback got."""

    def __init__(self, event: str, timeout: float | None = None, stop_event: str | None = None) -> None:
        self.event = event
        self.stop_event = stop_event or f"stop_{event}"
        self.timeout = timeout
        self.clock = Clock()
        self.watch = Watch(self.event, self.stop_event)
        self.callback: Callable[[Notification | None], object] = lambda notification: None
        self.delivered: list[Notification | None] = []
        """None stands for a reported time-out."""
        self.actions: list[p.Action] = []

    def deliver(self, at_most: int) -> None:
        """Do what the front does."""
        assert 0 < at_most <= len(self.watch.queue), f"Deliver({at_most}) with {len(self.watch.queue)} queued"
        for _ in range(at_most):
            notification = self.watch.queue.popleft()
            self.delivered.append(notification)
            self.callback(notification)
            if self.watch.interrupted:
                return

    def report_timeout(self) -> None:
        """Do what the front does."""
        self.delivered.append(None)
        self.callback(None)

    def asked(self, verb: type[p.Action]) -> list[Any]:
        """Return the actions of one kind, in order."""
        return [action for action in self.actions if isinstance(action, verb)]


class Run(NamedTuple):
    """A program and whose it is."""

    handler: Documented
    program: p.Program[Any]


def documented(event: str, timeout: float | None = None, stop_event: str | None = None) -> Documented:
    """Return a handler that listens to nothing yet."""
    return Documented(event, timeout, stop_event)


def run(handler: Documented, program: Callable[[Watch], p.Program[Any]] | None = None) -> Run:
    """Return the handler's loop, or another program over its watch, before its first step."""
    if program is not None:
        return Run(handler, program(handler.watch))
    return Run(handler, handler_loop(handler.watch, handler, handler.clock))


def play(a_run: Run, *steps: tuple[str, object]) -> list[Notification | None]:
    """Play a script; return what the callback got during it. What the program raises is raised here."""
    handler, program = a_run
    before = len(handler.delivered)
    try:
        _play(handler, program, list(steps))
    finally:
        program.close()
    return handler.delivered[before:]


def _play(handler: Documented, program: p.Program[Any], steps: list[tuple[str, object]]) -> None:
    outcome: object = None
    while True:
        try:
            action = program.throw(outcome) if _is_error(outcome) else program.send(outcome)
        except StopIteration:
            assert not steps, f"the program has ended, but the script goes on with {steps}"
            return
        except BaseException:
            assert not steps, f"the program has raised, but the script goes on with {steps}"
            raise
        handler.actions.append(action)
        outcome = _outcome(handler, action, steps)
        if outcome is LEFT:
            return


def _outcome(handler: Documented, action: p.Action, steps: list[tuple[str, object]]) -> object:
    if isinstance(action, p.Deliver):
        return handler.deliver(action.at_most)
    if isinstance(action, p.ReportTimeout):
        return handler.report_timeout()
    assert steps, f"the script has ended, but the program asks for {action}"
    verb, outcome = steps.pop(0)
    assert type(action).__name__.lower() == verb, f"the program asks for {action}, not for {verb!r}"
    if callable(outcome) and not _is_error(outcome):
        return outcome()
    return outcome


def _is_error(outcome: object) -> bool:
    return isinstance(outcome, BaseException) or (isinstance(outcome, type) and issubclass(outcome, BaseException))
