"""Event loops of all kinds."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Coroutine
from typing import Any

import pytest


class RefusingLoop(asyncio.SelectorEventLoop):
    """A loop that watches no descriptors, as Windows' Proactor does not."""

    def add_reader(self, *_: object) -> None:
        raise NotImplementedError

    def remove_reader(self, *_: object) -> bool:
        raise NotImplementedError


def new_uvloop() -> asyncio.AbstractEventLoop:
    """Return one of uvloop's."""
    import uvloop

    return uvloop.new_event_loop()


def debugging_loop() -> asyncio.AbstractEventLoop:
    """Return one that checks which thread calls it."""
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 60.0
    return loop


def eager_loop() -> asyncio.AbstractEventLoop:
    """Return one whose tasks begin at once."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


LOOPS = [
    pytest.param(asyncio.new_event_loop, id="selector"),
    pytest.param(RefusingLoop, id="refusing"),
    pytest.param(debugging_loop, id="debug"),
    pytest.param(
        eager_loop,
        id="eager",
        marks=pytest.mark.skipif(
            not hasattr(asyncio, "eager_task_factory"), reason="not applicable: there are none before Python 3.12"
        ),
    ),
    pytest.param(
        new_uvloop,
        id="uvloop",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("uvloop") is None, reason="not applicable: uvloop is not installed"
        ),
    ),
]


def run_on(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine as `asyncio.run` does, and close the loop. Fail if a task is left, or an error was reported."""
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        result = loop.run_until_complete(asyncio.wait_for(main, 30))
        left = asyncio.all_tasks(loop)
        loop.run_until_complete(asyncio.sleep(0))
        assert not left, f"tasks are left: {left}"
        assert not reported, f"errors were reported: {reported}"
        return result
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def selector_threads() -> int:
    """Return how many threads watch for a loop that cannot."""
    return sum(each.name == "pgnotify selector" for each in threading.enumerate())
