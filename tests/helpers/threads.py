"""Functions that run in threads of their own, and where a thread is."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers.handler_fronts import call_of
from tests.helpers.waiting import IN_MEMORY, PATIENCE


class Background(threading.Thread):
    """A function that runs in a thread of its own; it ends within bounds, or the test fails."""

    patience = PATIENCE

    def __init__(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        super().__init__(daemon=True)
        self._call = (function, args, kwargs)
        self._result: object = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Call the function."""
        function, args, kwargs = self._call
        try:
            self._result = function(*args, **kwargs)
        except BaseException as error:
            self._error = error

    def ended(self) -> Any:
        """Wait until it has ended; return what it returned, or raise what it raised."""
        self.join(self.patience)
        if self.is_alive():
            stack = "".join(traceback.format_stack(sys._current_frames()[self.ident or 0]))
            pytest.fail(f"the thread did not end within {self.patience:.0f} s; it is here:\n{stack}")
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._result


class Running(Background):
    """The same where there is no server."""

    patience = IN_MEMORY


def functions_of(thread: threading.Thread) -> list[str]:
    """Return the names of the functions that a thread is in, the innermost first; none if it does not run."""
    frame = sys._current_frames().get(thread.ident or 0)
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def is_in(thread: threading.Thread, *names: str) -> bool:
    """Whether a thread is in functions of all these names."""
    return {*names} <= {*functions_of(thread)}


def waits(thread: threading.Thread) -> bool:
    """Whether a thread is blocked in the wait of a backend or an event loop, or in a handler's that waits on a loop."""
    call = call_of(thread)
    if call is not None:
        return call.face is not None and call.face.is_waiting
    if is_in(thread, "run_forever"):
        return functions_of(thread)[0] == "select"
    return is_in(thread, "wait_readable", "wait") and not is_in(thread, "fetch")


def waits_for_answer(thread: threading.Thread) -> bool:
    """Whether a thread has asked the loop in another thread, or task, for something, and waits until it is done."""
    call = call_of(thread)
    if call is not None:
        return call.has_begun
    return is_in(thread, "_ask")
