"""A thread that watches sockets for an event loop that cannot: that of Windows only knows finished requests."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from pgnotify.threads import background
from pgnotify.waiting import Wakeup, readable_among


class Calls(Protocol):
    """A loop, for a thread that calls functions on it."""

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> object:
        """Call a function in the loop's thread soon."""


class SelectorThread:
    """Watches sockets for one loop. The thread runs while there are readers, each of which joins and leaves.

    Args:
        loop: runs the functions.
    """

    def __init__(self, loop: Calls) -> None:
        self._loop = weakref.ref(loop)
        self._lock = threading.RLock()  # reentrant: the garbage collector may delete a reader at any moment
        self._watched: dict[int, weakref.WeakMethod[Callable[[], object]]] = {}
        self._wakeup = Wakeup()
        self._readers = 0
        self._is_running = False

    def join(self) -> None:
        """Keep the thread running until `leave`.

        Raises:
            RuntimeError: there are no more threads.
        """
        with self._lock:
            if not self._is_running:
                background(self._run, "pgnotify selector").start()
                self._is_running = True
            self._readers += 1

    def leave(self) -> None:
        """Undo one `join`."""
        with self._lock:
            self._readers -= 1
        self._wakeup.wake()

    def watch(self, descriptor: int, callback: Callable[[], object]) -> None:
        """Call a method in the loop's thread, once, when a descriptor is readable. Its object is not kept alive."""
        with self._lock:
            self._watched[descriptor] = weakref.WeakMethod(callback)
        self._wakeup.wake()

    def unwatch(self, descriptor: int) -> None:
        """Do not call the method of a descriptor. After this the descriptor may be closed."""
        with self._lock:
            self._watched.pop(descriptor, None)
        self._wakeup.wake()

    def _run(self) -> None:
        waking = self._wakeup.fileno()
        while True:
            with self._lock:
                if not self._readers:
                    self._is_running = False
                    return
                watched = [*self._watched, waking]
            # If one of them is closed by now, and its number is used again, that is a false alarm at the worst.
            readable = readable_among(watched, math.inf)
            self._wakeup.clear()
            for descriptor in readable - {waking}:
                with self._lock:
                    callback = self._watched.pop(descriptor, _dead)()
                if callback is not None:
                    self._call(callback)
                    del callback  # it would keep the reader alive during the next wait

    def _call(self, callback: Callable[[], object]) -> None:
        loop = self._loop()
        if loop is not None:
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(callback)

    def __del__(self) -> None:
        if "_wakeup" in vars(self):  # otherwise there were no more descriptors
            self._wakeup.close()


def _dead() -> None:
    """Stand in for the reference to a method whose object is gone."""


_threads: weakref.WeakKeyDictionary[Any, SelectorThread] = weakref.WeakKeyDictionary()


def selector_thread_of(loop: Calls) -> SelectorThread:
    """Return the selector thread of a loop, which all of its readers share."""
    thread = _threads.get(loop)
    if thread is None:
        thread = _threads[loop] = SelectorThread(loop)
    return thread


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.clear)  # no thread of the parent runs there
