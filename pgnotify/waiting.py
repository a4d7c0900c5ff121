"""Waiting for a descriptor, and being woken: the only code that calls poll().

A backend whose driver has a descriptor waits with `wait_readable`. A `Wakeup` ends such a wait from
another thread or from a signal handler.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Collection
from functools import partial
from threading import get_ident
from typing import TypeVar

from pgnotify.threads import original

T = TypeVar("T")

_set_wakeup_fd = partial(signal.set_wakeup_fd, warn_on_full_buffer=False)
_signal = getattr(signal.signal, "__wrapped__", signal.signal)  # without its enums
_NONE = [-1]

_signal_thread: int | None = None
"""The thread that `runs_signal_handlers`; None until that was called there."""

# poll() takes its time-out as a C int of milliseconds. A longer wait ends early, and looks like a
# false alarm to the caller.
_LONGEST_WAIT_SECONDS = 2_000_000.0


def wait_readable(descriptor: int, timeout: float | None, wakeup: int | None = None) -> bool:
    """Block until ``descriptor`` or ``wakeup`` is readable, at its end, or broken.

    Args:
        descriptor: of a socket; may be any number: select()'s limit of 1,023 does not apply.
        timeout: seconds from now; None waits for ever, 0 or less only looks.
        wakeup: a second descriptor to watch.

    Returns:
        False if the timeout passed first.
    """
    watched = [descriptor] if wakeup is None else [descriptor, wakeup]
    if timeout:
        timeout = max(0.0, min(timeout, _LONGEST_WAIT_SECONDS))
    if not hasattr(select, "poll"):  # Windows
        try:
            return any(select.select(watched, [], watched, timeout))
        except OSError:  # one of them is closed
            return True
    # A new one each time: a connection's descriptor may change, and its number may be used again.
    poller = select.poll()
    for each in watched:
        poller.register(each, select.POLLIN)
    return bool(poller.poll(None if timeout is None else timeout * 1000))


def readable_among(descriptors: Collection[int], timeout: float) -> set[int]:
    """Block until one of these descriptors is readable, at its end, broken or closed; return those that are.

    It is always the system's wait, and never that of a green thread.

    Args:
        descriptors: of sockets; may be any numbers.
        timeout: seconds from now.
    """
    timeout = max(0.0, min(timeout, _LONGEST_WAIT_SECONDS))
    try:
        poller = original("select", "poll")()
    except AttributeError:  # Windows
        try:
            readable, _, broken = original("select", "select")(descriptors, [], descriptors, timeout)
        except OSError:  # one of them is closed
            return set(descriptors)
        return {*readable, *broken}
    for each in descriptors:
        poller.register(each, select.POLLIN)
    return {each for each, _ in poller.poll(timeout * 1000)}


def is_cut_off(descriptor: int) -> bool:
    """Return whether a socket's connection has ended in both directions, as after an RST.

    Bytes that had arrived before can still be read, and until then a driver may not have noticed. False where the
    system cannot tell.
    """
    if not hasattr(select, "poll"):  # Windows
        return False
    poller = select.poll()
    poller.register(descriptor, 0)  # POLLHUP, POLLERR and POLLNVAL are always reported
    return bool(poller.poll(0))


def runs_signal_handlers() -> bool:
    """Return whether Python runs signal handlers in this thread: it is the main one of the main interpreter.

    `threading.main_thread()` may be another one. Up to Python 3.12 it is the thread that has imported `threading`
    first, such as the first one that serves a request where a server embeds Python; and every subinterpreter has one.
    """
    global _signal_thread
    if _signal_thread is None:
        try:
            _signal(signal.SIGINT, None)  # changes nothing: the thread is checked first, and then the handler
        except TypeError:
            _signal_thread = get_ident()
        except ValueError:
            return False
    return get_ident() == _signal_thread


def _forget_signal_thread() -> None:
    """Find it again in a forked child, where it is the thread that has forked."""
    global _signal_thread
    _signal_thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_signal_thread)
runs_signal_handlers()  # most programs import this in that thread, so that nothing is left to find out


class Wakeup:
    """Ends a `wait_readable` from any thread, or from a signal handler.

    It is a socket pair, not a pipe, so that it also works where only sockets can be polled.
    """

    def __init__(self) -> None:
        import socket  # a sixth of the time to import pgnotify, and only a wait needs it

        self._waiting, self._waking = socket.socketpair()
        self._waiting.setblocking(False)
        self._waking.setblocking(False)
        self._waking_descriptor = (self._waking.fileno(),)
        self._displaced: list[int] = []
        """The descriptor to which signals wrote before, -1 if none; empty unless they write to ours."""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable with `wake`."""
        return self._waiting.fileno()

    def wake(self) -> None:
        """End the current wait, or the next one if none is under way. Takes no lock and never blocks."""
        try:
            self._waking.send(b"\0")
        except OSError:
            # Full: thousands of wake-ups are pending, and one is enough. Closed: nobody waits any longer.
            return

    def wait(self, wait: Callable[[float | None, int], T], timeout: float | None) -> T:
        """Call ``wait(timeout, self.fileno())``, and have each signal end it where Python runs the handlers.

        So the signal's Python handler runs at once. Without this, a signal that arrives just before
        poll() blocks would be handled only when poll() returns: that gap lies between two bytecodes,
        where Python runs no handler. Signals do not end it in other threads, nor if somebody else, such
        as an event loop, already uses signal.set_wakeup_fd().
        """
        displaced = self._displaced
        try:
            if get_ident() == _signal_thread or (_signal_thread is None and runs_signal_handlers()):
                # In C from the call to the list: a signal handler that raises must not lose the descriptor.
                displaced[:] = map(_set_wakeup_fd, self._waking_descriptor)
                if displaced > _NONE:
                    _set_wakeup_fd(displaced[0])
                    del displaced[:]
            return wait(timeout, self._waiting.fileno())
        finally:
            if displaced:  # no signal handler runs before the next call has returned
                _set_wakeup_fd(displaced[0])
                del displaced[:]

    def clear(self) -> bool:
        """Undo `wake`; look for the reason *after* this, so that none is missed.

        Always reads the socket, never a flag in memory: the byte may come from a forked child.

        Returns:
            Whether there was anything to undo.
        """
        woken = False
        try:
            while taken := len(self._waiting.recv(4096)):
                woken = True
                if taken < 4096:
                    break
        except BlockingIOError:
            return woken
        return woken

    def close(self) -> None:
        """Close both descriptors; may be called twice."""
        if self._displaced and runs_signal_handlers():  # closed by a signal handler, during a wait
            _set_wakeup_fd(self._displaced[0])
            del self._displaced[:]
        self._waiting.close()
        self._waking.close()
