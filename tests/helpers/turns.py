"""An event loop that counts its turns, so that a test can cancel a task at each of them, and always at the same ones.

    with turning() as loop:
        loop.run_until_complete(main())

No time passes and no thread runs. The loop's clock, which `time.monotonic` shows in the block, jumps to the next timer
when there is nothing else to do. What pgnotify calls in a thread is called by the loop, as many turns or seconds later
as `TurningLoop.takes` says.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgnotify.aio import loop as aio_loop
from pgnotify.aio import opening
from pgnotify.testing.memory import MemoryConnection

SLOW = 3.0
"""For `TurningLoop.takes`: seconds, which is more than a cancelled call is waited for."""


class WaitsForEver(AssertionError):
    """There is nothing to do, and no timer: a wake-up was lost."""


class _Selector(selectors.DefaultSelector):
    """Lets time pass instead of waiting."""

    loop: TurningLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None and not self.loop.later:
            raise WaitsForEver
        if not ready and timeout:
            self.loop.now += min(timeout, 1.0) if self.loop.later else timeout  # something comes at a later turn
        return ready


class TurningLoop(asyncio.SelectorEventLoop):
    """Counts its turns."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.turns = 0
        self.later: dict[int, list[Callable[[], object]]] = {}
        """What is called at the beginning of a turn."""
        self.takes: int | float = 0
        """How long a call in a thread takes: turns if it is an integer, and otherwise seconds."""
        self.busy: set[MemoryConnection] = set()
        """The connections on which a call is under way."""
        self.reported: list[dict[str, Any]] = []
        """What was reported to the exception handler."""
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.set_exception_handler(lambda _, context: self.reported.append(context))

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        self.turns += 1
        assert self.turns < 3000, "it never ends"
        for function in self.later.pop(self.turns, ()):
            function()
        super()._run_once()  # type: ignore[misc]

    def after_turns(self, count: int, function: Callable[[], object]) -> None:
        """Call a function this many turns after the next one has begun."""
        self.later.setdefault(self.turns + 1 + count, []).append(function)

    def in_thread(self, function: Callable[..., Any], *arguments: object) -> asyncio.Future[Any]:
        """Stand in for `pgnotify.aio.loop.Loop.in_thread`."""
        future = self.create_future()
        on = set(filter(_is_connection, (getattr(each, "__self__", each) for each in (function, *arguments))))
        assert not on & self.busy, "two calls at the same time on one connection"
        self.busy |= on

        def run() -> None:
            self.busy -= on
            try:
                settled = future.set_result, function(*arguments)
            except BaseException as error:
                settled = future.set_exception, error
            if not future.done():
                settled[0](settled[1])

        if isinstance(self.takes, int):
            self._soon(self.takes, run)
        else:
            self.call_later(self.takes, run)
        return future

    def _soon(self, turns: int, function: Callable[[], object]) -> None:
        self.call_soon(*(self._soon, turns - 1, function) if turns else (function,))


def _is_connection(thing: object) -> bool:
    return isinstance(thing, MemoryConnection)


class _Later:
    """Stands in for a thread."""

    def __init__(self, loop: TurningLoop, target: Callable[[], object]) -> None:
        self.start = lambda: loop.call_soon(target)


@contextmanager
def turning(eager: bool = False) -> Iterator[TurningLoop]:
    """Give a loop that counts its turns. In the end, no task is left, and nothing was reported."""
    loop = TurningLoop()
    if eager:
        loop.set_task_factory(asyncio.eager_task_factory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", loop.time)
        patch.setattr(aio_loop.Loop, "in_thread", lambda _, *call: loop.in_thread(*call))
        patch.setattr(opening, "background", lambda target, _: _Later(loop, target))
        try:
            yield loop
            left = [task for task in asyncio.all_tasks(loop) if not task.done()]
            assert not left, f"left: {left}"
            assert not loop.reported, loop.reported
        finally:
            loop.close()


async def cancelled_after(turns: int | None, operation: Callable[[], Awaitable[Any]]) -> tuple[bool, Any]:
    """Run an operation as a task, and cancel it after this many turns of the loop.

    Returns:
        Whether it was cancelled, and its result; an error that it raises is its result, too.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TurningLoop)

    async def run() -> Any:
        return await operation()

    task = loop.create_task(run())
    if turns is not None:
        loop.after_turns(turns, task.cancel)
    await asyncio.wait((task,))
    if task.cancelled():
        return True, None
    return False, task.exception() or task.result()


def at_each_turn(play: Callable[[int], bool]) -> int:
    """Play with a cancellation after 0, 1, 2, … turns, until the operation ends before it is cancelled.

    Returns:
        How many plays were cancelled.
    """
    for turns in range(500):
        if not play(turns):
            return turns
    raise AssertionError("it never ends")
