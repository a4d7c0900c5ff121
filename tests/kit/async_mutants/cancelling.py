"""Faults in a cancellation."""

from __future__ import annotations

import asyncio

from pgnotify.errors import ConnectionLost
from tests.kit.async_mutants.base import AsyncMutant


class KeepsItsLock(AsyncMutant):
    """The next call hangs."""

    caught_by = "test_a_call_that_is_cancelled_at_any_turn_of_the_loop_leaves_a_usable_connection"

    def __init__(self, connection):
        super().__init__(connection)
        self.lock = asyncio.Lock()

    async def listen(self, channel):
        await self.lock.acquire()
        await self.sound.listen(channel)
        self.lock.release()


class ClosesWhatWasCancelled(AsyncMutant):
    """As a driver does that cannot tell where its protocol stands."""

    caught_by = "test_a_call_that_is_cancelled_at_any_turn_of_the_loop_leaves_a_usable_connection"

    async def notify(self, channel, payload=""):
        try:
            await self.sound.notify(channel, payload)
        except asyncio.CancelledError:
            await self.sound.close()
            raise


class TakesTheAnswerForItsOwn(AsyncMutant):
    """The answer to a call that was cancelled is that to the next one."""

    caught_by = "test_a_call_that_is_cancelled_at_any_turn_of_the_loop_leaves_a_usable_connection"
    pending = None

    async def notify(self, channel, payload=""):
        if self.pending is not None:
            pending, self.pending = self.pending, None
            return await pending
        self.pending = asyncio.ensure_future(self.sound.notify(channel, payload))
        await asyncio.shield(self.pending)
        self.pending = None
        return None


class DropsWhatHasArrivedInItsWait(AsyncMutant):
    caught_by = "test_a_wait_that_is_cancelled_as_something_arrives_loses_nothing"

    async def wait(self, timeout, wakeup):
        try:
            return await self.sound.wait(timeout, wakeup)
        except asyncio.CancelledError:
            self.sound.fetch()
            raise


class DropsWhatCameAlong(AsyncMutant):
    """It takes what has arrived before its call, and gives it back only after that."""

    caught_by = "test_a_call_that_is_cancelled_at_any_turn_of_the_loop_loses_nothing_that_has_arrived"

    def __init__(self, connection):
        super().__init__(connection)
        self.kept = []

    async def wait(self, timeout, wakeup):
        return bool(self.kept) or await self.sound.wait(timeout, wakeup)

    def fetch(self):
        kept, self.kept = self.kept, []
        return kept or self.sound.fetch()

    async def check(self):
        before = self.fetch()
        health = await self.sound.check()
        self.kept = before
        return health

    fetch_plain = fetch

    def fetch_into(self, queue):
        queue.extend(self.fetch())


class SwallowsTheCancellationOfItsWait(AsyncMutant):
    caught_by = "test_a_wait_that_is_cancelled_ends_and_the_next_one_sees_what_arrives"

    async def wait(self, timeout, wakeup):
        try:
            return await self.sound.wait(timeout, wakeup)
        except asyncio.CancelledError:
            return False


class WaitsOn(AsyncMutant):
    caught_by = "test_a_wait_that_is_cancelled_ends_and_the_next_one_sees_what_arrives"

    async def wait(self, timeout, wakeup):
        waiting = asyncio.ensure_future(self.sound.wait(timeout, wakeup))
        while not waiting.done():
            try:
                await asyncio.shield(waiting)
            except asyncio.CancelledError:
                continue
        return waiting.result()


class SwallowsTheCancellationOfAStatement(AsyncMutant):
    caught_by = "test_a_call_that_is_cancelled_before_the_server_answers_ends_and_loses_nothing"

    async def check(self):
        checking = asyncio.ensure_future(self.sound.check())
        try:
            return await asyncio.shield(checking)
        except asyncio.CancelledError:
            return await checking


class IsLostByTheCancellationOfAStatement(AsyncMutant):
    caught_by = "test_a_call_that_is_cancelled_before_the_server_answers_ends_and_loses_nothing"

    async def listen(self, channel):
        try:
            await self.sound.listen(channel)
        except asyncio.CancelledError:
            raise ConnectionLost("the server has not answered") from TimeoutError()


class ClosesOnce(AsyncMutant):
    """A close() that was cancelled counts as done."""

    caught_by = "test_a_close_or_an_end_that_is_cancelled_can_be_made_again"
    closed = False

    async def close(self):
        if not self.closed:
            self.closed = True
            await asyncio.sleep(0)
            await self.sound.close()

    end = close


class EndsOnce(ClosesOnce):
    async def close(self):
        await self.sound.close()


class LeavesATask(AsyncMutant):
    """It waits for two things with a task for each, and cancels them only after the wait."""

    caught_by = "test_what_was_cancelled_leaves_nothing_on_the_loop"

    async def wait(self, timeout, wakeup):
        beside = asyncio.ensure_future(asyncio.sleep(3_600))
        ended = await self.sound.wait(timeout, wakeup)
        beside.cancel()
        return ended


class LeavesAnError(AsyncMutant):
    """Nobody looks at the error of the task that goes on."""

    caught_by = "test_what_was_cancelled_leaves_nothing_on_the_loop"

    async def check(self):
        forsaken = []

        async def check():
            health = await self.sound.check()
            if forsaken:
                raise LookupError("nobody looks")
            return health

        checking = asyncio.ensure_future(check())
        try:
            await asyncio.wait((checking,))
        except asyncio.CancelledError as cancelled:
            forsaken.append(cancelled)
            raise
        return checking.result()
