"""An exception of a signal handler, at each place of ours where CPython may run one: one after the other.

CPython runs signal handlers where a function begins, where a loop goes back, and after a call has returned. Between
other instructions nothing comes. See Python/ceval.c: CHECK_EVAL_BREAKER.
"""

from __future__ import annotations

import dis
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, Protocol

import pgnotify

_PACKAGE = Path(pgnotify.__file__).parent
_CHECKING = {
    dis.opmap[name] for name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME") if name in dis.opmap
}

# It is written in Python. Where we call it, its places are ours.
_CONDITION = {
    function.__code__ for function in vars(threading.Condition).values() if isinstance(function, FunctionType)
}

AVAILABLE = sys.version_info >= (3, 11)
"""Before, the places are others."""


class TimeLimit(Exception):
    """As a task queue raises it in its signal handler."""


def _raise(number: int, frame: FrameType | None) -> None:
    raise TimeLimit(f"signal {number}")


@contextmanager
def time_limit() -> Iterator[Callable[[], None]]:
    """Yield a function that raises TimeLimit as the handler of a signal does."""
    before = signal.signal(signal.SIGUSR1, _raise)
    try:
        yield lambda: _raise(signal.SIGUSR1, None)
    finally:
        signal.signal(signal.SIGUSR1, before)


class Interruption:
    """Does something at the nth place of pgnotify's in one thread; once.

    Args:
        place: counted from 1; 0 only counts.
        action: is called there, and may raise.
    """

    def __init__(self, place: int, action: Callable[[], object] = lambda: None) -> None:
        self.place = place
        self.action = action
        self.count = 0
        self.where: str | None = None
        """The place, once it was reached."""
        self._latest: dict[FrameType, int] = {}

    @contextmanager
    def here(self) -> Iterator[Interruption]:
        """Look at the places of this thread."""
        with _monitoring(self._step) if sys.version_info >= (3, 12) else _tracing(self._step):
            try:
                yield self
            finally:
                self._latest.clear()

    def _step(self, frame: FrameType, offset: int) -> None:
        code = frame.f_code
        before, self._latest[frame] = self._latest.get(frame, -1), offset
        if before < 0 or code.co_code[before] not in _CHECKING or _handler(code, before) != _handler(code, offset):
            return
        self.count += 1
        if self.count == self.place:
            self.where = f"{code.co_filename.removeprefix(f'{_PACKAGE}/')}:{frame.f_lineno} {code.co_name}"
            self.action()


class Scene(Protocol):
    """Something that is interrupted once, and goes on to its end."""

    def run(self, interruption: Interruption) -> Iterable[str]:
        """Do it, in the interruption's `here`; return what is wrong in the end."""

    def release(self) -> None:
        """Close everything."""


def faults_at_each_place(make: Callable[[], Scene], action: Callable[[], object], stride: slice = slice(None)) -> str:
    """Run a scene once for each place, which must not be wrong without an interruption; return what is wrong where.

    Args:
        make: makes the scene.
        action: is called at the place, and raises.
        stride: of the places, those that are taken.
    """
    scene, counting = make(), Interruption(0)
    assert list(scene.run(counting)) == []
    scene.release()
    assert counting.count > 20
    found = set()
    for place in range(1, counting.count + 1)[stride]:
        scene, interruption = make(), Interruption(place, action)
        found |= {f"{interruption.where}: {fault}" for fault in scene.run(interruption)}
        scene.release()
    return "\n".join(sorted(found))


@cache
def _table(code: CodeType) -> list[tuple[int, int, int]]:
    entries = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # there is no public way
    return [(entry.start, entry.end, entry.target) for entry in entries]


def _handler(code: CodeType, offset: int) -> int:
    """Return where an exception at an instruction would continue; -1 if the function ends."""
    return next((target for start, end, target in _table(code) if start <= offset < end), -1)


@cache
def _is_in_package(code: CodeType) -> bool:
    path = Path(code.co_filename)
    return path.is_relative_to(_PACKAGE) and not path.is_relative_to(_PACKAGE / "testing")


def _is_ours(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code in _CONDITION:
        frame = frame.f_back
    return frame is not None and _is_in_package(frame.f_code)


@contextmanager
def _tracing(step: Callable[[FrameType, int], None]) -> Iterator[None]:
    def enter(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if not _is_ours(frame):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return inside

    def inside(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
        if event == "opcode":
            step(frame, frame.f_lasti)
        return inside

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def _monitoring(step: Callable[[FrameType, int], None]) -> Iterator[None]:
    """Do the same from Python 3.12 on, where f_trace_opcodes comes too late for some calls."""
    monitoring = sys.monitoring
    tool, instruction = monitoring.PROFILER_ID, monitoring.events.INSTRUCTION
    thread = threading.get_ident()  # the events are those of all threads

    def note(code: CodeType, offset: int) -> None:
        if threading.get_ident() == thread and (_is_in_package(code) or code in _CONDITION):
            frame = sys._getframe(1)
            if _is_ours(frame):
                step(frame, offset)

    monitoring.use_tool_id(tool, __name__)
    monitoring.register_callback(tool, instruction, note)
    monitoring.set_events(tool, instruction)
    try:
        yield
    finally:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, instruction, None)
        monitoring.free_tool_id(tool)
