"""What is needed of an event loop: watch a descriptor, be woken, run a task, run a call in a thread.

Another kind of event loop would have a module with the same names.
"""

from __future__ import annotations

import _socket
import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from pgnotify.aio.selector_thread import SelectorThread, selector_thread_of
from pgnotify.threads import background
from pgnotify.waiting import wait_readable

T = TypeVar("T")

Future = asyncio.Future
Timer = asyncio.TimerHandle


def start_task(coroutine: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Run a coroutine as a task of the event loop that runs now.

    It begins at the next turn of the loop, even if the loop's task factory makes eager tasks, which begin at once. So
    its caller can remember the task before the coroutine runs.
    """
    return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), name=name)


def as_failure(error: asyncio.CancelledError, what: str) -> RuntimeError:
    """Return the failure of a user's function that has raised a CancelledError, although nobody cancelled this task.

    So it does when something that it awaits was cancelled. Otherwise raise the error. Before Python 3.11 a task does
    not know whether it was cancelled, so the error is always raised.

    Args:
        error: the error.
        what: names the function, in the error message.
    """
    task: Any = asyncio.current_task()
    if task is None or not hasattr(task, "cancelling") or task.cancelling():
        raise error
    failure = RuntimeError(f"{what} has raised CancelledError, although nobody cancelled its task")
    failure.__cause__ = error
    return failure


class Loop:
    """The event loop that runs now.

    Raises:
        RuntimeError: none runs in this thread.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.create_future = self._loop.create_future
        self.call_later = self._loop.call_later
        self.call_soon = self._loop.call_soon
        self.time = self._loop.time

    def is_running_here(self) -> bool:
        """Return whether it is the loop that runs in this thread."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def check_is_running(self, what: str) -> None:
        """Raise an error if it is not the loop that runs in this thread.

        Args:
            what: names the object that belongs to it, in the error message.

        Raises:
            RuntimeError: it is not, or none runs here.
        """
        if asyncio.get_running_loop() is not self._loop:
            state = ", which is closed" if self.is_closed() else ""
            raise RuntimeError(f"{what} belongs to another event loop{state}: make a new one for this loop")

    def is_closed(self) -> bool:
        """Return whether it is closed, so that nothing runs on it any more."""
        return self._loop.is_closed()

    def call_from_anywhere(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the loop's thread soon; from any thread, and in a signal handler. Not if it is closed."""
        with suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(function, *arguments)

    def watch(self, descriptor: int, callback: Callable[[], object]) -> Reader:
        """Return what calls a function, in the loop's thread, when a socket is readable; it does not watch yet.

        Raises:
            OSError: there are no more descriptors.
        """
        return Reader(self._loop, descriptor, callback)

    def in_thread(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Call a function in a thread of its own, and return the future result. If that is cancelled, it runs on.

        Not in the loop's executor: that has a few threads for all, and a server that does not answer keeps them busy.

        Raises:
            RuntimeError: there are no more threads.
        """
        future: Future[T] = self._loop.create_future()

        def run() -> None:
            try:
                settled = future.set_result, function(*arguments)
            except BaseException as error:
                settled = future.set_exception, _for_a_future(error)  # type: ignore[assignment]
            self.call_from_anywhere(_settle, future, *settled)

        background(run, "pgnotify call").start()
        return future


def _settle(future: Future[Any], set_outcome: Callable[[Any], object], outcome: Any) -> None:
    if not future.done():  # it was cancelled
        set_outcome(outcome)


def _for_a_future(error: BaseException) -> BaseException:
    return RuntimeError(f"the call raised {error!r}") if isinstance(error, StopIteration) else error


class Reader:
    """Calls a function while a socket is readable, at its end, or broken, as long as it is `resume`d.

    It watches a duplicate of the descriptor: the driver may watch its own one, and its number may be closed and be used
    again at any time.

    Args:
        loop: runs the function.
        descriptor: the socket's.
        callback: the function.

    Raises:
        OSError: there are no more descriptors.
    """

    _duplicate: _Duplicate | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, callback: Callable[[], object]) -> None:
        self._loop = loop
        self._callback = callback
        self._is_watching = False
        self._thread: SelectorThread | None = None
        self.identity = _identity_of(descriptor)
        """Tells this socket from others; see `is_of`."""
        self._duplicate = _Duplicate(descriptor)

    def is_of(self, descriptor: int) -> bool:
        """Return whether a descriptor is of the same socket."""
        try:
            return _identity_of(descriptor) == self.identity
        except OSError:
            return False

    def is_readable(self) -> bool:
        """Return whether the socket is readable at this moment."""
        return self._duplicate is not None and wait_readable(self._duplicate.number, 0)

    def resume(self) -> None:
        """Call the function from now on. A second call does nothing.

        Raises:
            RuntimeError: there are no more threads, and this loop needs one for this.
        """
        if self._is_watching or self._duplicate is None:
            return
        if self._thread is None:
            try:
                self._loop.add_reader(self._duplicate.number, self._callback)
                self._is_watching = True
                return
            except NotImplementedError:
                thread = selector_thread_of(self._loop)
                thread.join()
                self._thread = thread
        self._is_watching = True
        self._thread.watch(self._duplicate.number, self._call_back_once)

    def pause(self) -> None:
        """Do not call the function until `resume`."""
        if not self._is_watching or self._duplicate is None:
            return
        self._is_watching = False
        if self._thread is not None:
            self._thread.unwatch(self._duplicate.number)
        elif not self._loop.is_closed():
            self._loop.remove_reader(self._duplicate.number)

    def close(self) -> None:
        """Release the duplicate. From any thread, and once the loop is closed, too. A second call does nothing."""
        if self._loop.is_running() and not self._is_here():
            with suppress(RuntimeError):  # it is closed by now
                self._loop.call_soon_threadsafe(self._close)
                return
        self._close()

    def close_in_child(self) -> None:
        """Release the duplicate in a forked child, whose loop is not ours."""
        duplicate, self._duplicate = self._duplicate, None
        if duplicate is not None:
            duplicate.close()

    def __del__(self) -> None:
        if self._duplicate is not None:
            self.close()

    def _is_here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _close(self) -> None:
        self.pause()
        duplicate, self._duplicate = self._duplicate, None
        if duplicate is None:
            return
        if self._thread is not None:
            self._thread.leave()
        # Not at once: uvloop stops watching at its next turn, and would spin if the descriptor were closed by then. If
        # the loop has no further turn, the duplicate is closed when it is deleted.
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon(self._loop.call_soon, duplicate.close)

    def _call_back_once(self) -> None:
        if self._is_watching:
            self._is_watching = False
            self._callback()


class _Duplicate:
    """A duplicate of a socket's descriptor. It is closed when it is deleted, at the latest."""

    number = -1

    def __init__(self, descriptor: int) -> None:
        self.number = _socket.dup(descriptor)

    def close(self) -> None:
        """Close it. A second call does nothing."""
        number, self.number = self.number, -1
        if number >= 0:
            _socket.close(number)

    def __del__(self) -> None:
        self.close()


def _identity_of(descriptor: int) -> tuple[int, int]:
    if os.name == "nt":  # where a socket is not a file
        return descriptor, 0
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
