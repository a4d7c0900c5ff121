"""Counts what pgnotify does instead of timing it: a count is the same on every machine and in every run.

A profiler sees each call of a Python function, each generator that goes on, and each C function that an
instruction calls. It does not see what C calls in C, such as the popleft() of a starmap(), or the lock that
a ``with`` takes; that it is given back is seen.
"""

from __future__ import annotations

import gc
import inspect
import logging
import os
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pgnotify
from pgnotify.notification import Notification

_OURS = f"{Path(pgnotify.__file__).parent}{os.sep}"
_MAKES_A_NOTIFICATION = Notification.__new__.__code__  # by namedtuple(), in no file


class Call(NamedTuple):
    """A function that is called, or a generator that goes on."""

    name: str
    ours: bool
    """Whether it is a Python function of pgnotify's."""
    by_us: bool
    """Whether it is pgnotify that calls it."""


@contextmanager
def counting_calls() -> Iterator[list[Call]]:
    """Collect the calls of this thread."""
    calls: list[Call] = []

    def note(frame: FrameType, event: str, function: Any) -> None:
        if event == "call":
            name = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}"
            by_us = frame.f_back is not None and _is_ours(frame.f_back.f_code)
            calls.append(Call(name, _is_ours(frame.f_code), by_us))
        elif event == "c_call":
            calls.append(Call(function.__qualname__, False, _is_ours(frame.f_code)))

    before = sys.getprofile()
    with _no_collection():
        sys.setprofile(note)
        try:
            yield calls
        finally:
            sys.setprofile(before)


@contextmanager
def counting_instructions() -> Iterator[Counter[str]]:
    """Count the instructions of pgnotify's functions, by the function's name."""
    counted: Counter[str] = Counter()

    def note(code: CodeType) -> None:
        if _is_ours(code):
            counted[code.co_name] += 1

    with _no_collection(), _monitoring(note) if sys.version_info >= (3, 12) else _tracing(note):
        yield counted


@contextmanager
def _tracing(note: Callable[[CodeType], None]) -> Iterator[None]:
    def enter(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if not _is_ours(frame.f_code):
            return None
        frame.f_trace_opcodes = True
        return step

    def step(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
        if event == "opcode":
            note(frame.f_code)
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def _monitoring(note: Callable[[CodeType], None]) -> Iterator[None]:
    """Do the same from Python 3.12 on, where f_trace_opcodes comes too late for some calls (seen with 3.13.0)."""
    monitoring = sys.monitoring
    tool, instruction = monitoring.PROFILER_ID, monitoring.events.INSTRUCTION
    monitoring.use_tool_id(tool, __name__)
    monitoring.register_callback(tool, instruction, lambda code, _: note(code))
    monitoring.set_events(tool, instruction)
    try:
        yield
    finally:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, instruction, None)
        monitoring.free_tool_id(tool)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Have no garbage collected, which calls destructors, and whoever has asked for that, such as hypothesis."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(_OURS) or code is _MAKES_A_NOTIFICATION


def rewritten(function: Any, old: str, new: str) -> Any:
    """Return a function that is as if one piece of it stood otherwise in its file."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{function.__qualname__} has {old!r} {source.count(old)} times"
    names: dict[str, Any] = {
        **function.__globals__,
        "LOCK": threading.Lock(),
        "LOGGER": logging.getLogger(__name__),
        "Notification": Notification,
    }
    exec(compile(source.replace(old, new), function.__code__.co_filename, "exec"), names)
    return names[function.__name__]
