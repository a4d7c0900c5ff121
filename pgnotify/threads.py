"""Threads of our own, as far as subinterpreters, gevent and eventlet allow them.

gevent and eventlet replace threads, locks and waits by green ones, which are not the system's. A driver that waits in C
stops all green threads of its thread. So whatever is to end such a wait must be the system's.

Neither of the two is imported here. Each is asked only if the program has replaced something with it.
"""

from __future__ import annotations

import _thread
import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any


def background(target: Callable[..., object], name: str, *args: object) -> threading.Thread:
    """Return a thread, not started yet, that does not keep the process alive.

    Some subinterpreters refuse such threads, as those with a GIL of their own do. There it is another one, and the end
    of the interpreter waits for it.
    """
    try:
        return threading.Thread(target=target, name=name, args=args, daemon=True)
    except RuntimeError:
        return threading.Thread(target=target, name=name, args=args, daemon=False)


def start_native(target: Callable[[], object], name: str) -> threading.Thread | NativeThread:
    """Start a thread of the system in the background, even where `background` makes a green one.

    Raises:
        RuntimeError: there are no more threads.
    """
    if is_green("_thread"):
        return NativeThread(target)
    thread = background(target, name)
    thread.start()
    return thread


def may_be_daemons() -> bool:
    """Return whether threads need not keep the process alive, or the subinterpreter."""
    allowed: Callable[[], bool] | None = getattr(_thread, "daemon_threads_allowed", None)  # since Python 3.12
    return allowed is None or allowed()


def is_green(module: str) -> bool:
    """Return whether gevent or eventlet has replaced what is in this module, ``_thread`` or ``select``."""
    return _green_by(module) is not None


def original(module: str, name: str) -> Any:
    """Return the function or class of this name as Python has it, whatever stands in its module now.

    Args:
        module: ``_thread`` or ``select``.
        name: of something in that module.
    """
    green_by = _green_by(module)
    if green_by == "gevent":
        return sys.modules["gevent.monkey"].get_original(module, name)
    if green_by == "eventlet":
        return getattr(sys.modules["eventlet.patcher"].original(module), name)
    return getattr(importlib.import_module(module), name)


def is_event_loop() -> bool:
    """Return whether this is the event loop of gevent or eventlet, which cannot wait for anything.

    Its own callbacks run there; and so do signal handlers, if all green threads wait when the signal arrives.
    """
    gevent, hub = sys.modules.get("gevent.hub"), _hub_of_eventlet()
    if gevent is not None and isinstance(gevent.getcurrent(), gevent.Hub):
        return True
    return hub is not None and hub.greenlet is sys.modules["greenlet"].getcurrent()


def has_no_event_loop() -> bool:
    """Return whether this is a thread of the system beside those of eventlet, where its locks cannot be waited for."""
    return _green_by("_thread") == "eventlet" and _hub_of_eventlet() is None


def _hub_of_eventlet() -> Any:
    """Return the event loop of this thread of the system; None if it has none. The public function would make one."""
    eventlet = sys.modules.get("eventlet.hubs")
    return None if eventlet is None else getattr(eventlet._threadlocal, "hub", None)


def _green_by(module: str) -> str | None:
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched(module):
        return "gevent"
    if eventlet is not None and eventlet.is_monkey_patched(module.removeprefix("_")):
        return "eventlet"
    return None


class NativeThread:
    """A thread of the system, where `threading.Thread` would be a green one. It does not keep the process alive.

    Args:
        target: what it runs.

    Raises:
        RuntimeError: there are no more threads.
    """

    def __init__(self, target: Callable[[], object]) -> None:
        self._target = target
        self._ident: int | None = None
        self._running = original("_thread", "allocate_lock")()
        self._running.acquire()
        original("_thread", "start_new_thread")(self._run, ())

    def _run(self) -> None:
        self._ident = original("_thread", "get_ident")()
        try:
            self._target()
        finally:
            self._running.release()

    def join(self, timeout: float) -> None:
        """Wait for its end, this many seconds at most. The green threads of this thread wait, too.

        Raises:
            RuntimeError: this thread is the one to wait for.
        """
        if self._ident == original("_thread", "get_ident")():
            raise RuntimeError("a thread cannot wait for itself")
        if self._running.acquire(timeout=timeout):
            self._running.release()
