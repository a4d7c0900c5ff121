"""Plays the runner's and the front's part for the documented handler's loop: no server, no thread, no clock.

    handler = documented("jobs")

    delivered = play(run(handler), ("listen", None), ("listen", None), ("fetch", [stop]), ("unlisten", None), ...)

The steps are those of `tests.helpers.play`; `Deliver` and `ReportTimeout` are played without one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pgnotify.handler.loop import handler_loop
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.program.watch import Watch
from tests.helpers.play import Clock, Step, play_script


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


def play(a_run: Run, *steps: Step) -> list[Notification | None]:
    """Play a script; return what the callback got during it. What the program raises is raised here."""
    handler, program = a_run
    before = len(handler.delivered)
    front = {
        p.Deliver: lambda action: handler.deliver(action.at_most),
        p.ReportTimeout: lambda _: handler.report_timeout(),
    }
    play_script(program, steps, handler.actions, front)
    return handler.delivered[before:]
