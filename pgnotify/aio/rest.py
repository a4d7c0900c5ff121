"""What is left to do when an AsyncListener ends: deliver what has arrived, and wait for coroutine functions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pgnotify.aio.delivery import TURN, AsyncDelivery
from pgnotify.aio.reconnecting import AsyncReconnectingRunner
from pgnotify.listener.draining import deliver_queue, fetch_after_unlisten, fetch_arrived
from pgnotify.listener.policy import Policy
from pgnotify.program.state import State

# How often a stop that waits looks whether a call waits for the server, and whether a gap was reached.
LOOK_EACH_SECONDS = 0.05


class Rest:
    """Delivers what is left, and waits for the callbacks.

    Args:
        policy: the loop's.
        delivery: receives notifications and events, and knows the watch and the tasks.
    """

    def __init__(self, policy: Policy, delivery: AsyncDelivery) -> None:
        self._policy = policy
        self._delivery = delivery
        self._watch = delivery.watch
        self.deadline: float | None = None
        """Until when to deliver and to wait, of the monotonic clock; None for ever. A further stop may change it."""

    async def deliver(self, runner: AsyncReconnectingRunner) -> None:
        """Deliver everything that has arrived, here and in tasks, and announce the gaps of the queues."""
        watch, lost = self._watch, None
        self._delivery.inner.drop_nothing()
        for what_arrived in (fetch_arrived, fetch_after_unlisten):
            try:
                if watch.state is State.LISTENING and self._has_time():
                    await runner.run(what_arrived(watch, self._policy), self._delivery)
            except Exception as error:
                if error is self._delivery.reporter.raised:
                    raise
                lost = error
            await runner.run(deliver_queue(watch, self._has_time, TURN), self._delivery)
            if lost is not None:
                break
        await self._tell_of_gaps()
        await self.wait_for_callbacks()  # not before UNLISTEN: more would arrive in the meantime
        if lost is not None and not self._policy.can_reconnect:
            raise lost

    async def wait_for_callbacks(self, ends: Callable[[], bool] = lambda: False, spare: float = 0.0) -> None:
        """Wait until no coroutine function has anything left to do, and tell of the gaps that are reached.

        Args:
            ends: ends the wait if it returns True, as the deadline does.
            spare: how many seconds before the deadline to end, but not before half of the time is over.
        """
        begun = time.monotonic()
        while tasks := self._delivery.tasks.callbacks():
            now = time.monotonic()
            left = LOOK_EACH_SECONDS
            if self.deadline is not None:  # which another stop may have changed
                left = self.deadline - min(spare, max(0.0, self.deadline - begun) / 2) - now
            if left <= 0 or ends():
                break
            await self._tell_of_gaps()
            await asyncio.wait(tasks, timeout=min(left, LOOK_EACH_SECONDS), return_when=asyncio.FIRST_COMPLETED)

    async def cancel_callbacks(self) -> None:
        """Cancel the coroutine functions that still run."""
        if tasks := self._delivery.tasks.callbacks():
            self._delivery.tasks.cancel(tasks)
            await asyncio.wait(tasks, timeout=LOOK_EACH_SECONDS)

    def _has_time(self) -> bool:
        return self.deadline is None or self._policy.clock() < self.deadline

    async def _tell_of_gaps(self) -> None:
        """Tell of the gaps of dropped notifications that no loop will tell of."""
        while self._watch.dropped_gaps and not self._watch.dropped_gaps[0].begun:
            await self._delivery.tell_of(self._watch.dropped_gaps[0])
