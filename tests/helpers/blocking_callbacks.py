"""Callbacks of an event loop that block, and use the handler meanwhile: functions of tests.

Each call runs in a thread of its own, and asks for coroutines to be awaited, in the task that has called it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any

here = threading.local()
"""`visit` is the visit that runs in this thread."""


class PlainCallback:
    """Calls a function from the loop's thread. It returns an awaitable only if the function uses the handler."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        self.function = function

    def __call__(self, argument: Any) -> Any:
        visit = Visit(self.function, argument)
        step = visit.next_step()
        return self._go_on(visit, step) if step.asks else step.outcome()

    async def _go_on(self, visit: Visit, step: Step) -> Any:
        while step.asks:
            await visit.answer(step)
            step = visit.next_step()
        return step.outcome()


class CoroutineCallback:
    """Calls a function from a coroutine; the loop goes on meanwhile."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        self.function = function

    async def __call__(self, argument: Any) -> Any:
        visit = Visit(self.function, argument)
        while (step := await asyncio.to_thread(visit.next_step)).asks:
            await visit.answer(step)
        return step.outcome()


class Step:
    """What a visit came to: it asks for a coroutine to be awaited, or it has returned or raised."""

    def __init__(self, value: Any, asks: bool = False, raises: bool = False) -> None:
        self.value = value
        self.asks = asks
        self.raises = raises

    def outcome(self) -> Any:
        """Return the result, or raise the error."""
        if self.raises:
            raise self.value
        return self.value


class Visit:
    """A call of a function in a thread of its own, in which the function asks for coroutines to be awaited."""

    def __init__(self, function: Callable[[Any], object], argument: Any) -> None:
        self._function = function
        self._argument = argument
        self._steps: queue.SimpleQueue[Step] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Step] = queue.SimpleQueue()
        self.next_step = self._steps.get
        worker = _idle.pop() if _idle else _Worker()
        worker.visits.put(self)

    def run(self) -> Step:
        """Call the function, in its thread."""
        try:
            return Step(self._function(self._argument))
        except BaseException as error:
            return Step(error, raises=True)

    def end(self, step: Step) -> None:
        """Tell the outcome."""
        self._steps.put(step)

    def ask(self, make: Callable[[], Awaitable[Any]]) -> Any:
        """Have a coroutine awaited, from the function; return its result."""
        self._steps.put(Step(make, asks=True))
        return self._answers.get().outcome()

    async def answer(self, step: Step) -> None:
        """Await what the function has asked for."""
        try:
            answer = Step(await step.value())
        except BaseException as error:
            answer = Step(error, raises=True)
        self._answers.put(answer)


class _Worker(threading.Thread):
    """Runs one visit after another."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="a callback")
        self.visits: queue.SimpleQueue[Visit] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        """Run visits for ever."""
        while True:
            visit = here.visit = self.visits.get()
            step = visit.run()
            here.visit = None
            _idle.append(self)
            visit.end(step)
            del visit, step


_idle: list[_Worker] = []
