"""Ctrl-C, held back while a program or a driver is at work in the main thread.

Python's own handler of SIGINT raises KeyboardInterrupt between two instructions, wherever that is. A driver may have
read half a message there, or swallow the error. So while a runner runs in the main thread, SIGINT is ours: it raises at
once while the user's code runs or a statement waits for its answer, and at the next step of the program otherwise. The
second one always raises at once. A handler of the user's own, or of an event loop, is never replaced.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Protocol

# A statement usually has its answer sooner, and then it ends by itself. So it is interrupted only after this.
GRACE_SECONDS = 0.1

# Without their enums these take 0.5 µs instead of 13 µs, and every step of an iteration may call them.
_signal = getattr(signal.signal, "__wrapped__", signal.signal)
_getsignal = getattr(signal.getsignal, "__wrapped__", signal.getsignal)


class Interruptible(Protocol):
    """A runner, as Ctrl-C sees it."""

    engaged: bool
    """Whether the program or the backend is at work, and not the user's code."""
    held_back: bool
    """Set by a Ctrl-C that is held back. The runner raises it at the program's next step."""

    def is_blocked(self, frame: FrameType | None, seconds: float) -> bool:
        """Return whether a call that `wake` does not end waits for the server, and for this long."""

    def wake(self) -> None:
        """End the current wait."""


running: Interruptible | None = None
"""The innermost runner of the main thread. Only that thread may set it."""


def hold_back(runner: Interruptible) -> None:
    """Hold back Ctrl-C from now on, in whatever this runner does. For the thread that runs signal handlers."""
    global running
    if _getsignal(signal.SIGINT) is signal.default_int_handler:
        _signal(signal.SIGINT, _interrupt)
    running = runner


def release() -> None:
    """Give SIGINT back to Python's own handler, unless somebody has replaced ours. A second call does nothing."""
    if _getsignal(signal.SIGINT) is _interrupt:
        _signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    runner = running
    if runner is not None and runner.engaged and not runner.held_back:
        runner.held_back = True  # before anything that takes time: a second one comes through
        if not runner.is_blocked(frame, GRACE_SECONDS):
            runner.wake()
            return
    if runner is not None:
        runner.held_back = False
    signal.default_int_handler(number, frame)
