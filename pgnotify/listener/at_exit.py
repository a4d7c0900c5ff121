"""The end of the process stops the listeners that nobody has stopped.

When the main thread has ended, Python waits for all threads that are not daemons, for ever if one of them waits for
notifications. So a listener that such a thread waits for is stopped before that. All others are stopped after it, in an
`atexit` function, so that the server is told of their end and no connection stays open.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from typing import Protocol

from pgnotify.atomic import WeakSet
from pgnotify.program.forks import in_each_child, notice_fork
from pgnotify.threads import may_be_daemons

# For all listeners together, as long as one stop() waits.
PATIENCE_SECONDS = 5.0


class Stoppable(Protocol):
    """A listener."""

    def request_stop(self, deadline: float) -> None:
        """Ask it to end, and do not wait."""

    def stop(self, timeout: float | None) -> object:
        """Wait until it has ended."""

    def is_waited_for_by(self, threads: Collection[int]) -> bool:
        """Have its threads check again; return whether one of these reads, and so may never end by itself."""


_listeners: WeakSet[Stoppable] = WeakSet()
_registered: set[bool] = set()
_main_thread_has_ended = False


def stop_at_exit(listener: Stoppable) -> None:
    """Stop a listener at the end of the process, unless it was stopped or deleted by then."""
    _listeners.add(listener)


def prepare() -> None:
    """Make sure that this module is called at the end. Called whenever a thread begins to wait for notifications."""
    # Functions are called in reverse order. That of a thread pool waits for its threads, so ours must be a later one.
    has_pools = "concurrent.futures.thread" in sys.modules
    if has_pools in _registered:
        return
    if not _registered:
        atexit.register(stop_all)
    _registered.add(has_pools)
    register = getattr(threading, "_register_atexit", None)
    if register is not None:  # since Python 3.9, for thread pools; there is nothing public at this moment
        try:
            register(_end_main_thread)
        except RuntimeError:  # the main thread has already ended
            _end_main_thread()


def keeps_process_alive() -> bool:
    """Return whether the main thread has ended, and the process waits for the end of this thread."""
    return _main_thread_has_ended and threading.get_ident() in _joined_threads()


def stop_all() -> None:
    """Stop all listeners."""
    notice_fork()  # those of the parent are not stopped here
    _stop(_listeners)


def _end_main_thread() -> None:
    global _main_thread_has_ended
    notice_fork()
    _main_thread_has_ended = True  # first: a thread that begins to read after the look below sees this
    # Such a child calls no atexit functions. Where our own threads are not daemons, they are waited for before that.
    if _is_child_of_multiprocessing() or not may_be_daemons():
        stop_all()
    else:
        threads = _joined_threads()
        _stop([each for each in _listeners if each.is_waited_for_by(threads)])


def _joined_threads() -> set[int]:
    """Return the threads whose end the end of the process waits for."""
    main = threading.main_thread()
    return {each.ident for each in threading.enumerate() if each.ident and not each.daemon and each is not main}


def _is_child_of_multiprocessing() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _stop(listeners: Iterable[Stoppable]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    with ExitStack() as stack:  # calls each, whatever another has raised
        for listener in listeners:
            listener.request_stop(deadline)
            stack.callback(_end, listener, deadline)


def _end(listener: Stoppable, deadline: float) -> None:
    listener.stop(max(0.0, deadline - time.monotonic()))


def _forget_in_child() -> None:
    global _main_thread_has_ended
    _listeners.clear()
    _main_thread_has_ended = False


in_each_child(_forget_in_child)
