"""Opens something in a thread; it is closed if nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from pgnotify.aio.loop import Future, Loop
from pgnotify.threads import background

T = TypeVar("T")


async def open_in_thread(loop: Loop, open_one: Callable[[], T], close: Callable[[T], object]) -> T:
    """Open something in a thread. If this is cancelled, it is closed there as soon as it is open.

    That needs no event loop any more: a Ctrl-C cancels all tasks, and closes the loop.
    """
    opening = _Opening(open_one, close)
    call = loop.in_thread(opening.run)
    try:
        await asyncio.wait((call,))
    except asyncio.CancelledError:
        call.add_done_callback(Future.exception)  # nobody else will look at it
        opening.abandon()
        raise
    return call.result()


class _Opening(Generic[T]):
    """Opens something in a thread, which another thread may abandon at any moment. Then it is closed.

    Args:
        open_one: returns it.
        close: closes it.
    """

    def __init__(self, open_one: Callable[[], T], close: Callable[[T], object]) -> None:
        self._open_one = open_one
        self._close = close
        self._opened: T | None = None
        self._may_be_first = [True]  # pop() is atomic. Of the two, the second one closes.

    def run(self) -> T:
        """Open it and return it."""
        opened = self._opened = self._open_one()
        if not self._is_first():
            self._close(opened)
        return opened

    def abandon(self) -> None:
        """Have it closed in a thread."""
        if not self._is_first():
            background(self._close_opened, "pgnotify close").start()

    def _close_opened(self) -> None:
        with suppress(Exception):  # nobody has used it, and nobody could be told
            self._close(self._opened)  # type: ignore[arg-type]

    def _is_first(self) -> bool:
        try:
            return self._may_be_first.pop()
        except IndexError:
            return False
