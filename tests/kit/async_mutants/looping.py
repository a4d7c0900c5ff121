"""Faults about the event loop."""

from __future__ import annotations

import select
import socket
import threading

from pgnotify.aio.loop import Loop
from pgnotify.aio.threaded import ThreadedBackend
from pgnotify.errors import ConnectionLost
from tests.kit.async_mutants.base import AsyncMutant


class FetchesAsACoroutine(AsyncMutant):
    caught_by = "test_what_asks_the_server_is_awaited_and_what_fetches_is_not"

    async def fetch(self):
        return self.sound.fetch()


class ListensAsAFunction(AsyncMutant):
    caught_by = "test_what_asks_the_server_is_awaited_and_what_fetches_is_not"

    def listen(self, channel):
        self.sound.blocking.listen(channel)


class HoldsUpTheLoop(AsyncMutant):
    """A coroutine function that blocks: each of the following in one verb."""

    caught_by = "test_no_call_holds_up_the_loop_while_the_server_does_not_answer"

    async def listen(self, channel):
        self.sound.blocking.listen(channel)


class HoldsUpTheLoopInNotify(AsyncMutant):
    caught_by = HoldsUpTheLoop.caught_by

    async def notify(self, channel, payload=""):
        self.sound.blocking.notify(channel, payload)


class HoldsUpTheLoopInCheck(AsyncMutant):
    caught_by = HoldsUpTheLoop.caught_by

    async def check(self):
        return self.sound.blocking.check()


class HoldsUpTheLoopInWait(AsyncMutant):
    caught_by = HoldsUpTheLoop.caught_by

    async def wait(self, timeout, wakeup):
        return self.sound.blocking.wait(3 if timeout is None else timeout)


class HoldsUpTheLoopInClose(AsyncMutant):
    """It asks the server first."""

    caught_by = HoldsUpTheLoop.caught_by

    async def close(self):
        if not self.connection.closed:
            select.select([self.connection.fileno()], [], [], 3)
        await self.sound.close()


class WaitsForTheRestInFetch(AsyncMutant):
    """As a driver does that reads whole messages."""

    caught_by = "test_a_fetch_leaves_a_message_that_has_not_arrived_in_full"
    is_due = False

    async def wait(self, timeout, wakeup):
        if select.select([self.sound.fileno()], [], [], min(0.1, timeout or 0))[0]:
            with socket.fromfd(self.sound.fileno(), socket.AF_INET, socket.SOCK_STREAM) as connection:
                begun = connection.recv(4096, socket.MSG_PEEK)
                self.is_due = len(begun) <= int.from_bytes(begun[1:5], "big")
        return await self.sound.wait(timeout, wakeup)

    def fetch(self):
        fetched = self.sound.fetch()
        if self.is_due and not fetched:
            select.select([self.sound.fileno()], [], [], 3)
        return fetched


class SleepsThroughTheEnd(AsyncMutant):
    """As a driver does that only calls back for notifications."""

    caught_by = "test_a_wait_under_way_returns_true_when_the_server_ends_the_connection"

    kept = ()

    async def wait(self, timeout, wakeup):
        try:
            while not self.kept:
                if not await self.sound.wait(timeout, wakeup):
                    return False
                self.kept = self.sound.fetch()
        except ConnectionLost:
            return await self.wait_at_the_end(timeout, wakeup)
        return True

    async def wait_at_the_end(self, timeout, wakeup):
        return await wakeup.wait(timeout)

    def fetch(self):
        kept, self.kept = self.kept, ()
        return kept or self.sound.fetch()


class RaisesAtTheEnd(SleepsThroughTheEnd):
    async def wait_at_the_end(self, timeout, wakeup):
        raise ConnectionLost("the server is gone") from OSError()


class SleepsThroughTheEndOfTheNetwork(SleepsThroughTheEnd):
    caught_by = "test_a_wait_under_way_returns_true_when_the_network_ends_the_connection"


class WakesInItsThread(AsyncMutant):
    """As the callback of a driver does that reads in a thread of its own."""

    caught_by = "test_a_wakeup_is_woken_in_the_loops_thread_only"

    async def wait(self, timeout, wakeup):
        if timeout is not None or self.sound.blocking.wait(0):
            return await self.sound.wait(timeout, wakeup)

        def watch():
            select.select([descriptor], [], [], 3)
            wakeup.wake()

        descriptor = self.sound.fileno()
        threading.Thread(target=watch, daemon=True).start()
        return await wakeup.wait(None)


class KeepsTheFirstLoop(AsyncMutant):
    """What belongs to one loop is kept for the whole process."""

    caught_by = "test_connections_on_two_loops_do_not_know_of_each_other"
    loop = None

    def __init__(self, connection):
        super().__init__(connection)
        if KeepsTheFirstLoop.loop is None or KeepsTheFirstLoop.loop.is_closed():
            KeepsTheFirstLoop.loop = Loop()
        self.sound = ThreadedBackend(self.sound.blocking, KeepsTheFirstLoop.loop)


class KnowsOneConnection(AsyncMutant):
    """A registry of what was made, by something that two loops have in common."""

    caught_by = "test_connections_on_two_loops_do_not_know_of_each_other"
    latest = None

    def __init__(self, connection):
        super().__init__(connection)
        KnowsOneConnection.latest = self.sound

    def fetch(self):
        return KnowsOneConnection.latest.fetch()
