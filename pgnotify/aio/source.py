"""Where an AsyncListener's connections come from: everything that a Listener takes, and asynchronous sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pgnotify.aio.loop import Loop

T = TypeVar("T")


async def open_one(loop: Loop, connect: Callable[[], T]) -> T:
    """Connect in a thread. If this is cancelled, a connection that is opened by then is closed."""
    return await loop.in_thread(connect)
