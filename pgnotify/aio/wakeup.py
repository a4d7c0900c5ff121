"""Ends a wait on the event loop, from anywhere, and watches the socket of a connection meanwhile."""

from __future__ import annotations

import math

from pgnotify.aio.loop import Future, Loop, Reader


class LoopWakeup:
    """The `pgnotify.async_protocol.AsyncWakeup` of one connection after another. One task at a time waits.

    Args:
        loop: the event loop.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._is_woken = False
        self._waiter: Future[None] | None = None
        self._reader: Reader | None = None
        self._was_readable = False
        """Whether the socket has ended the latest wait."""

    def wake(self) -> None:
        """End the current wait, or the next one if none is under way. For the loop's thread."""
        self._is_woken = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def wake_from_anywhere(self) -> None:
        """Do the same from any thread, or in a signal handler."""
        self._loop.call_from_anywhere(self.wake)

    async def wait(self, timeout: float | None) -> bool:
        """Wait until it is woken; return False if the timeout, in seconds, passed first."""
        if not self._is_woken and (timeout is None or timeout > 0):
            if self._waiter is not None:
                raise RuntimeError("another task waits here already")
            waiter = self._waiter = self._loop.create_future()
            timer = None
            try:
                if timeout is not None and timeout != math.inf:
                    timer = self._loop.call_later(timeout, _end, waiter)
                await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        woken, self._is_woken = self._is_woken, False
        return woken

    async def wait_readable(self, descriptor: int, timeout: float | None) -> bool:
        """Wait until it is woken, or a socket is readable; return False if the timeout passed first.

        Raises:
            OSError: there are no more descriptors.
        """
        reader = self._reader
        if reader is None or not reader.is_of(descriptor):
            self.forget()
            reader = self._reader = self._loop.watch(descriptor, self._on_readable)
            self._was_readable = False
        if timeout is not None and timeout <= 0:
            return self._is_woken or reader.is_readable()
        reader.resume()
        return await self.wait(timeout)

    def forget(self) -> None:
        """Release the socket that was watched. A second call does nothing."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def forget_in_child(self) -> None:
        """Do the same in a forked child."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close_in_child()

    def _on_readable(self) -> None:
        reader, waiter = self._reader, self._waiter
        if reader is None:
            return
        if waiter is None or waiter.done():
            # Nobody waits: a call is under way, or a callback. It would be called at each turn of the loop.
            reader.pause()
        elif self._was_readable and not reader.is_readable():
            # asyncio had looked at the socket once more before the task that was woken read from it.
            self._was_readable = False
            reader.resume()  # a thread that watches for the loop reports once
        else:
            self._was_readable = True
            self.wake()


def _end(waiter: Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
