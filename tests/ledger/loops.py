"""The event loops that listeners are tested on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any


class WithoutReaders(asyncio.SelectorEventLoop):
    """One that watches no descriptors, as the one of Windows."""

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        """Refuse."""
        raise NotImplementedError

    def remove_reader(self, fd: Any) -> bool:
        """Refuse."""
        raise NotImplementedError


def _uvloop() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": _uvloop,
    "without readers": WithoutReaders,
}


def run(coroutine: Coroutine[Any, Any, None], loop: str) -> None:
    """Run a coroutine on a new event loop of a kind, as asyncio.run() does; Python 3.10 has its own kind only."""
    if sys.version_info < (3, 11):
        asyncio.run(coroutine)
    else:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(coroutine)
