"""An event loop in a thread of its own, and calls on it from the test's thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from inspect import isawaitable
from types import FrameType
from typing import Any

from pgnotify.threads import background

_TURNS = 5
_SHOWN_FRAMES = 4
_PATIENCE_SECONDS = 20.0  # reached only if something is wrong


class LoopThread:
    """Runs an event loop until `close`. All methods are for other threads.

    Args:
        loop: a new one; None makes one of asyncio's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.new_event_loop()
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

    def start(self, function: Callable[..., Any], *arguments: object, cancelled_after: int | None = None) -> Running:
        """Start the same call as a task, so that the test can go on.

        Args:
            function: called on the loop.
            arguments: of the function.
            cancelled_after: after how many turns of the loop it is cancelled, unless it has ended by then.
        """
        if self.is_here():
            raise RuntimeError("this would wait for itself: await it instead")
        return Running(self._loop, _called(function, arguments), cancelled_after)

    def takes_turns(self, seconds: float) -> bool:
        """Return whether the loop takes a few turns within this time. By then, a call that was started waits."""
        deadline = time.monotonic() + seconds
        return all(self._takes_a_turn(max(0.0, deadline - time.monotonic())) for _ in range(_TURNS))

    def _takes_a_turn(self, seconds: float) -> bool:
        turned = threading.Event()
        self._loop.call_soon_threadsafe(turned.set)
        return turned.wait(seconds)

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Hold up the loop, so that several things happen before its next turn."""
        held, released = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            released.wait(_PATIENCE_SECONDS)

        self._loop.call_soon_threadsafe(hold)
        held.wait(_PATIENCE_SECONDS)
        try:
            yield
        finally:
            released.set()

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
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], cancelled_after: int | None
    ) -> None:
        self._loop = loop
        self._ended = threading.Event()
        self._task: asyncio.Task[Any] | None = None
        """While it is under way: after that, its error would keep alive everything that it has used."""
        self._was_cancelled = False
        self._result: Any = None
        self._error: BaseException | None = None
        loop.call_soon_threadsafe(self._start, coroutine, cancelled_after)

    def cancel(self, turns: int = 0) -> None:
        """Cancel it after a number of turns of the loop, unless it has ended by then."""
        self._loop.call_soon_threadsafe(self._cancel, turns)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    def join(self, patience: float | None = None, otherwise: str = "the call goes on") -> Any:
        """Return its result, or raise its error; fail if it takes more than ``patience`` seconds."""
        self._until_ended(patience, otherwise)
        if self._was_cancelled:
            raise AssertionError("it raised CancelledError, though nobody has cancelled it")
        if self._error is not None:
            raise self._error
        return self._result

    def join_cancelled(self, patience: float, name: str) -> None:
        """Return when it has ended; fail if it has not raised CancelledError."""
        self._until_ended(patience, f"{name} goes on after it was cancelled")
        if not self._was_cancelled:
            outcome = f"raised {self._error!r}" if self._error is not None else f"returned {self._result!r}"
            raise AssertionError(f"{name} {outcome} when it was cancelled: it must let the CancelledError pass")

    def join_either(self, patience: float, name: str) -> None:
        """Return when it was cancelled or has returned, whichever was first; raise its error."""
        self._until_ended(patience, f"{name} goes on after it was cancelled")
        if self._error is not None:
            raise self._error

    def _until_ended(self, patience: float | None, otherwise: str) -> None:
        __tracebackhide__ = True
        if not self._ended.wait(patience):
            raise AssertionError(f"{otherwise}: it still runs after {patience:g} seconds, here:\n{self._place()}")

    def _place(self) -> str:
        frames: list[FrameType] = []
        with suppress(Exception):  # it goes on meanwhile
            frames = self._task.get_stack(limit=_SHOWN_FRAMES) if self._task is not None else []
        return "\n".join(f"  {each.f_code.co_filename}:{each.f_lineno} in {each.f_code.co_name}" for each in frames)

    # On the loop.

    def _start(self, coroutine: Coroutine[Any, Any, Any], cancelled_after: int | None) -> None:
        self._task = self._loop.create_task(coroutine)
        self._task.add_done_callback(self._has_ended)
        if cancelled_after is not None:
            self._cancel(cancelled_after)

    def _cancel(self, turns: int) -> None:
        if turns:
            self._loop.call_soon(self._cancel, turns - 1)
        elif self._task is not None:
            self._task.cancel()

    def _has_ended(self, task: asyncio.Task[Any]) -> None:
        self._task = None
        if task.cancelled():
            self._was_cancelled = True
        elif (error := task.exception()) is not None:
            self._error = error
        else:
            self._result = task.result()
        self._ended.set()
