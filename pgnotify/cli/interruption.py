"""Ctrl-C, SIGTERM and SIGHUP, for commands that run until then."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
HANG_UP = getattr(signal, "SIGHUP", None)
"""The end of the terminal, which `nohup` has a command ignore; None on Windows."""


def _nothing() -> None:
    """Do nothing."""


class Interruption:
    """A block that Ctrl-C, SIGTERM and SIGHUP end quietly.

    The first of them raises a KeyboardInterrupt, and the second only hurries the end. (The third raises again:
    perhaps the first came during a destructor, in which Python drops every exception.) The end of the block is not
    interrupted: neither after `ending`, nor after the function that `run` calls.
    """

    def __init__(self) -> None:
        self._hurry: Callable[[], object] = _nothing
        self._is_ending = False
        self._signals = 0
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        if HANG_UP is not None and signal.getsignal(HANG_UP) is not signal.SIG_IGN:
            self._before[HANG_UP] = signal.signal(HANG_UP, self._handle)
        return self

    def run(self, function: Callable[[], T]) -> T | None:
        """Call a function; return its result, or None if a signal has ended it."""
        try:
            return function()
        except KeyboardInterrupt:
            return None
        finally:
            self.ending()

    def ending(self, hurry: Callable[[], object] = _nothing) -> None:
        """Raise nothing from now on. If there is a further signal, or was one, call `hurry`."""
        self._hurry, self._is_ending = hurry, True
        if self._signals > 1:
            hurry()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._is_ending:
            self._hurry()
        elif self._signals != 2:
            raise KeyboardInterrupt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Restore the signal handlers; suppress the KeyboardInterrupt.

        If the process ends because of a signal, it ignores further ones: they would change its exit code.
        """
        self.ending()
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if self._signals else handler)  # type: ignore[arg-type]
        return isinstance(error, KeyboardInterrupt)
