"""Plays the runner's part, so that a program is tested step by step: no server, no thread, no clock.

A step is the verb that the program must ask for next, and its outcome: an exception is raised inside the program, a
function is called (something happens in the meantime) and its result sent, anything else is sent. The script must end
where the program ends, unless its last outcome is `LEFT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pgnotify.program import actions as p

Step = tuple[str, object]

LEFT = object()
"""As the outcome of the last step: the program is left where it is."""


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now

    def passes(self, seconds: float) -> Callable[[], bool]:
        """Return what a step does while this much time passes."""

        def pass_time() -> bool:
            self.now += seconds
            return True

        return pass_time


def play_script(
    program: p.Program[Any],
    steps: tuple[Step, ...],
    actions: list[p.Action],
    front: Mapping[type[p.Action], Callable[[Any], object]],
) -> object:
    """Play a script; return what the program has returned, or `LEFT`. What the program raises is raised here.

    Args:
        program: not yet begun; it is closed at the end.
        steps: the script.
        actions: to which all that the program asks for is appended.
        front: what the front does, which needs no step.
    """
    try:
        return _play(program, list(steps), actions, front)
    finally:
        program.close()


def _play(
    program: p.Program[Any],
    left: list[Step],
    actions: list[p.Action],
    front: Mapping[type[p.Action], Callable[[Any], object]],
) -> object:
    outcome: object = None
    while outcome is not LEFT:
        try:
            action = program.throw(outcome) if _is_error(outcome) else program.send(outcome)
        except StopIteration as end:
            assert not left, f"the program has ended, but the script goes on with {left}"
            return end.value
        except BaseException:
            assert not left, f"the program has raised, but the script goes on with {left}"
            raise
        actions.append(action)
        perform = front.get(type(action))
        outcome = _next_outcome(action, left) if perform is None else perform(action)
    return LEFT


def _next_outcome(action: p.Action, left: list[Step]) -> object:
    assert left, f"the script has ended, but the program asks for {action}"
    verb, outcome = left.pop(0)
    assert type(action).__name__.lower() == verb, f"the program asks for {action}, not for {verb!r}"
    if callable(outcome) and not _is_error(outcome):
        outcome = outcome()
    if isinstance(action, p.Fetch) and isinstance(outcome, Sequence):  # the notifications that have arrived
        action.queue.extend(outcome)
        return None
    if isinstance(action, (p.ListenMany, p.UnlistenMany)) and not _is_error(outcome):  # the channels that are left
        return outcome if isinstance(outcome, tuple) else ()
    return outcome


def _is_error(outcome: object) -> bool:
    return isinstance(outcome, BaseException) or (isinstance(outcome, type) and issubclass(outcome, BaseException))
