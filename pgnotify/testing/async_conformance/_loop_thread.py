"""An event loop in a thread of its own, and calls on it from the test's thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from inspect import isawaitable
from typing import Any

from pgnotify.threads import background

_SHOWN_FRAMES = 4


class LoopThread:
    """Runs an event loop until `close`. All methods are for other threads.

    Args:
        loop: a new one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.complaints: list[str] = []
        """What the loop has reported, such as an exception that nobody has looked at."""
        self._loop.set_exception_handler(self._complain)
        self._thread = background(self._run, "conformance loop")
        self._thread.start()

    def is_here(self) -> bool:
        """Return whether this is the loop's thread."""
        return self._thread is threading.current_thread()

    def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call a function on the loop, and return its result; if that is awaitable, it is awaited there."""
        return self.start(function, *arguments).join()

    def start(self, function: Callable[..., Any], *arguments: object) -> Running:
        """Start the same call as a task, so that the test can go on."""
        if self.is_here():
            raise RuntimeError("this would wait for itself: await it instead")
        return Running(self._loop, function, arguments)

    def cancel_after(self, turns: int, function: Callable[..., Any], *arguments: object) -> Running:
        """Start a call, and cancel it after a number of turns of the loop, unless it has ended by then."""
        running = self.start(function, *arguments)
        running.cancel(turns)
        return running

    def turns(self, seconds: float) -> bool:
        """Return whether the loop takes a turn within this time."""
        turned = threading.Event()
        self._loop.call_soon_threadsafe(turned.set)
        return turned.wait(seconds)

    def tasks(self) -> set[str]:
        """Return a description of each task that has not ended."""
        described: set[str] = self.call(lambda: {repr(each) for each in asyncio.all_tasks(self._loop)})
        return {each for each in described if _called.__qualname__ not in each}

    def close(self) -> None:
        """Cancel all tasks, and close the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _complain(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context['message']}: {context.get('exception')!r}")

    def _run(self) -> None:
        loop = self._loop
        try:
            loop.run_forever()
            for _ in range(2):  # those of the first round may have started others
                loop.run_until_complete(_cancelled(asyncio.all_tasks(loop)))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


async def _cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _called(function: Callable[..., Any], arguments: tuple[object, ...]) -> Any:
    result = function(*arguments)
    return await result if isawaitable(result) else result


class Running:
    """A call under way on an event loop, as a task of its own. All methods are for other threads."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, function: Callable[..., Any], arguments: tuple[object, ...]
    ) -> None:
        self._loop = loop
        self._ended = threading.Event()
        self._task: asyncio.Task[Any] | None = None
        loop.call_soon_threadsafe(self._start, _called(function, arguments))

    def cancel(self, turns: int = 0) -> None:
        """Cancel it after a number of turns of the loop."""
        self._loop.call_soon_threadsafe(self._cancel, turns)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def until_blocked(self, patience: float) -> None:
        """Return when the loop has taken a few turns, and so the call waits, or has ended."""
        deadline = time.monotonic() + patience
        for _ in range(10):
            turned = threading.Event()
            self._loop.call_soon_threadsafe(turned.set)
            turned.wait(max(0.0, deadline - time.monotonic()))

    def join(self, patience: float | None = None, otherwise: str = "the call goes on") -> Any:
        """Return its result, or raise its error; fail if it takes more than ``patience`` seconds."""
        self._until_ended(patience, otherwise)
        assert self._task is not None
        if self._task.cancelled():
            raise AssertionError("it raised CancelledError, though nobody has cancelled it")
        return self._task.result()

    def join_cancelled(self, patience: float, name: str) -> None:
        """Return when it has ended; fail if it has not raised CancelledError."""
        self._until_ended(patience, f"{name} goes on after it was cancelled")
        assert self._task is not None
        if not self._task.cancelled():
            error = self._task.exception()
            outcome = f"raised {error!r}" if error is not None else f"returned {self._task.result()!r}"
            raise AssertionError(f"{name} {outcome} when it was cancelled: it must let the CancelledError pass")

    def join_either(self, patience: float, name: str) -> None:
        """Return when it was cancelled or has returned, whichever was first; raise its error."""
        self._until_ended(patience, f"{name} goes on after it was cancelled")
        assert self._task is not None
        if not self._task.cancelled():
            self._task.result()

    def _until_ended(self, patience: float | None, otherwise: str) -> None:
        __tracebackhide__ = True
        if not self._ended.wait(patience):
            raise AssertionError(f"{otherwise}: it still runs after {patience:g} seconds, here:\n{self._place()}")

    def _place(self) -> str:
        with suppress(Exception):  # it goes on meanwhile
            frames = self._task.get_stack(limit=_SHOWN_FRAMES) if self._task is not None else []
            return "\n".join(f"  {each.f_code.co_filename}:{each.f_lineno} in {each.f_code.co_name}" for each in frames)
        return ""

    def _start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._task = self._loop.create_task(coroutine)
        self._task.add_done_callback(self._has_ended)

    def _cancel(self, turns: int) -> None:
        assert self._task is not None
        if turns:
            self._loop.call_soon(self._cancel, turns - 1)
        else:
            self._task.cancel()

    def _has_ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # otherwise the loop would complain that nobody has looked at it
        self._ended.set()
