"""What is needed of an event loop: watch a descriptor, be woken, run a call in a thread.

Another kind of event loop would have a module with the same names.
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import socket
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from pgnotify.threads import background

T = TypeVar("T")

Future = asyncio.Future
Timer = asyncio.TimerHandle


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

    async def open_in_thread(self, function: Callable[[], T], close: Callable[[T], object]) -> T:
        """Call a function in a thread. If this is cancelled, the object that it returns is closed, in a thread, too."""
        call = self.in_thread(function)
        try:
            await asyncio.wait((call,))
        except asyncio.CancelledError:
            call.add_done_callback(partial(self._close_result, close))
            raise
        return call.result()

    def _close_result(self, close: Callable[[T], object], call: Future[T]) -> None:
        if call.exception() is None and not self.is_closed():
            self.in_thread(close, call.result()).add_done_callback(Future.exception)


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
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, callback: Callable[[], object]) -> None:
        self._loop = loop
        self._duplicate = os.dup(descriptor)
        self._callback = callback
        self._is_watching = False
        self._thread: _SelectorThread | None = None
        self.identity = _identity_of(self._duplicate)
        """Tells this socket from others; see `is_of`."""

    def is_of(self, descriptor: int) -> bool:
        """Return whether a descriptor is of the same socket."""
        try:
            return _identity_of(descriptor) == self.identity
        except OSError:
            return False

    def is_readable(self) -> bool:
        """Return whether the socket is readable at this moment."""
        if not hasattr(select, "poll"):  # Windows
            return bool(select.select([self._duplicate], [], [], 0)[0])
        poller = select.poll()
        poller.register(self._duplicate, select.POLLIN)
        return bool(poller.poll(0))

    def resume(self) -> None:
        """Call the function from now on. A second call does nothing."""
        if self._is_watching:
            return
        self._is_watching = True
        if self._thread is None:
            try:
                self._loop.add_reader(self._duplicate, self._callback)
                return
            except NotImplementedError:  # as on Windows, where this loop only knows requests that are finished
                self._thread = _selector_thread_of(self._loop)
        self._thread.watch(self._duplicate, self._call_back_once)

    def pause(self) -> None:
        """Do not call the function until `resume`."""
        if not self._is_watching:
            return
        self._is_watching = False
        if self._thread is not None:
            self._thread.unwatch(self._duplicate)
        elif not self._loop.is_closed():
            self._loop.remove_reader(self._duplicate)

    def close(self) -> None:
        """Release the duplicate, for the loop's thread, or once the loop is closed. A second call does nothing."""
        if self._duplicate < 0:
            return
        self.pause()
        duplicate, self._duplicate = self._duplicate, -1
        try:
            # Not at once: uvloop stops watching at its next turn, and would spin if the descriptor were closed by then.
            self._loop.call_soon(self._loop.call_soon, os.close, duplicate)
        except RuntimeError:  # it is closed
            os.close(duplicate)

    def close_in_child(self) -> None:
        """Release the duplicate in a forked child, whose loop is not ours."""
        duplicate, self._duplicate, self._is_watching = self._duplicate, -1, False
        if duplicate >= 0:
            os.close(duplicate)

    def _call_back_once(self) -> None:
        if self._is_watching:
            self._is_watching = False
            self._callback()


def _identity_of(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


class _Calls(Protocol):
    """A loop, for a thread that calls functions on it."""

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> object:
        """Call a function in the loop's thread soon."""


class _SelectorThread:
    """Watches sockets for a loop that cannot. It runs while there is anything to watch.

    Args:
        loop: runs the functions.
    """

    def __init__(self, loop: _Calls) -> None:
        self._loop = weakref.ref(loop)
        self._lock = threading.Lock()
        self._watched: dict[int, Callable[[], object]] = {}
        self._waiting, self._waking = socket.socketpair()
        for each in (self._waiting, self._waking):
            each.setblocking(False)
        self._is_running = False

    def watch(self, descriptor: int, callback: Callable[[], object]) -> None:
        """Call a function once, in the loop's thread, when a descriptor is readable."""
        with self._lock:
            self._watched[descriptor] = callback
            started, self._is_running = self._is_running, True
        if started:
            self._wake()
        else:
            background(self._run, "pgnotify selector").start()

    def unwatch(self, descriptor: int) -> None:
        """Do not call the function of a descriptor."""
        with self._lock:
            self._watched.pop(descriptor, None)
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it has been woken thousands of times
            self._waking.send(b"\0")

    def _run(self) -> None:
        while True:
            with self._lock:
                watched = dict(self._watched)
                if not watched:
                    self._is_running = False
                    return
            for descriptor in self._readable_among([*watched, self._waiting.fileno()]):
                if descriptor == self._waiting.fileno():
                    with suppress(BlockingIOError):
                        self._waiting.recv(4096)
                    continue
                with self._lock:
                    callback = self._watched.pop(descriptor, None)
                self._call(callback)

    def _readable_among(self, descriptors: list[int]) -> list[int]:
        with selectors.DefaultSelector() as selector:
            for descriptor in descriptors:
                with suppress(OSError, ValueError):  # closed by now, and unwatched
                    selector.register(descriptor, selectors.EVENT_READ)
            return [key.fd for key, _ in selector.select()]

    def _call(self, callback: Callable[[], object] | None) -> None:
        loop = self._loop()
        if loop is not None and callback is not None:
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(callback)

    def __del__(self) -> None:
        self._waiting.close()
        self._waking.close()


_selector_threads: weakref.WeakKeyDictionary[Any, _SelectorThread] = weakref.WeakKeyDictionary()


def _selector_thread_of(loop: asyncio.AbstractEventLoop) -> _SelectorThread:
    thread = _selector_threads.get(loop)
    if thread is None:
        thread = _selector_threads[loop] = _SelectorThread(loop)
    return thread
