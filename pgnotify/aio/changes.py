"""Tasks that wait until something has changed. It is to tasks what a condition is to threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pgnotify.aio.loop import Future


class Changes:
    """Wakes the tasks that wait for a change. For one event loop."""

    def __init__(self) -> None:
        self._waiters: list[Future[None]] = []

    def notify(self) -> None:
        """Have all waiting tasks check again."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def wait(self, predicate: Callable[[], object], deadline: float | None = None) -> bool:
        """Wait until a predicate is true.

        Args:
            predicate: called now and after each `notify`.
            deadline: of the monotonic clock; None waits for ever.

        Returns:
            False if the deadline passed first.
        """
        loop = asyncio.get_running_loop()
        while not predicate():
            waiter = loop.create_future()
            self._waiters.append(waiter)
            timer = None
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    self._waiters.remove(waiter)
                    return False
                timer = loop.call_later(left, _end, waiter)
            try:
                await waiter
            finally:
                if timer is not None:
                    timer.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return True


def _end(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
