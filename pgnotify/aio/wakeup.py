"""Ends a wait on the event loop, from anywhere, and watches the socket of a connection meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable

from pgnotify.aio.loop import Future, Loop, Reader, Timer


class LoopWakeup:
    """The `pgnotify.async_protocol.AsyncWakeup` of one connection after another. One task at a time waits.

    Args:
        loop: the event loop.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.advance: Callable[[], bool] | None = None
        """Called, if there is one, when a wait is about to end before its timeout. It may do what the waiting task
        would do next, which saves the loop a turn, and returns whether the wait goes on."""
        self._is_woken = False
        self._is_ringing = False
        """Whether the loop is about to call `_ring`."""
        self._waiter: Future[bool] | None = None
        self._reader: Reader | None = None
        self._was_readable = False
        """Whether the socket has ended the latest wait."""
        self._deadline = math.inf
        """When the current wait ends, by the loop's clock."""
        self._timer: Timer | None = None
        """Ends a wait at its deadline, or looks again if that is later by then. It outlives a wait."""
        self._timer_at = math.inf
        """When it ends that, by the loop's clock. uvloop's timers do not always know."""

    def wake(self) -> None:
        """End the current wait, or the next one if none is under way. For the loop's thread."""
        self._is_woken = True
        if self._waiter is not None and not self._is_ringing:
            self._is_ringing = True
            self._loop.call_soon(self._ring)

    def wake_from_anywhere(self) -> None:
        """Do the same from any thread, or in a signal handler."""
        self._loop.call_from_anywhere(self.wake)

    async def wait(self, timeout: float | None) -> bool:
        """Wait until it is woken; return False if the timeout, in seconds, passed first."""
        if not self._is_woken and (timeout is None or timeout > 0):
            if self._waiter is not None:
                raise RuntimeError("another task waits here already")
            waiter = self._waiter = self._loop.create_future()
            try:
                self.limit(timeout)
                woken: bool = await waiter
                return woken
            finally:
                self._waiter = None
        was_woken, self._is_woken = self._is_woken, False
        return was_woken

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
            woken, self._is_woken = self._is_woken, False
            return woken or reader.is_readable()
        reader.resume()
        return await self.wait(timeout)

    def limit(self, timeout: float | None) -> None:
        """Have the current wait end after this many seconds from now; None and infinity set no limit."""
        if timeout is None or timeout == math.inf:
            self._deadline = math.inf
            return
        self._deadline = self._loop.time() + timeout
        if self._timer is not None and self._timer_at > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._set_timer(timeout)

    def watches(self, descriptor: int) -> bool:
        """Return whether the current wait watches the socket of a descriptor."""
        return self._reader is not None and self._reader.is_of(descriptor)

    def forget(self) -> None:
        """Release the socket that was watched. A second call does nothing."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        self._cancel_timer()

    def forget_from_anywhere(self) -> None:
        """Do the same from any thread, soon."""
        if self._loop.is_closed():
            self.forget()
        else:
            self._loop.call_from_anywhere(self.forget)

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
        elif self._goes_on(waiter):
            reader.resume()
        else:
            self._was_readable = True

    def _ring(self) -> None:
        self._is_ringing = False
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self._is_woken:
            self._is_woken = False
            self._goes_on(waiter)

    def _goes_on(self, waiter: Future[bool]) -> bool:
        """End the current wait, unless that is not necessary; return whether it goes on."""
        if self.advance is not None and self.advance():
            return True
        if not waiter.done():
            waiter.set_result(True)
        return False

    def _on_time(self) -> None:
        self._timer = None
        waiter = self._waiter
        if waiter is None or waiter.done() or self._deadline == math.inf:
            return
        left = self._deadline - self._loop.time()
        if left > 0:
            self._set_timer(left)
        else:
            waiter.set_result(False)

    def _set_timer(self, seconds: float) -> None:
        self._timer_at = self._loop.time() + seconds
        self._timer = self._loop.call_later(seconds, self._on_time)

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
