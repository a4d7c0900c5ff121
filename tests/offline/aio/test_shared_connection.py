"""Several tasks use one connection of a driver that blocks: one waits, and others call."""

from __future__ import annotations

import asyncio
import socket

import pytest

from pgnotify.aio.loop import Loop
from pgnotify.aio.threaded import ThreadedBackend
from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.notification import Notification
from pgnotify.waiting import wait_readable
from tests.helpers.waiting import IN_MEMORY


class Buffering:
    """A backend whose driver reads notifications along with the answer of a call: nothing is left at the socket."""

    def __init__(self):
        self.socket, self._server = socket.socketpair()
        self._arrived = []

    def notify(self, channel, payload=""):
        self._arrived.append(Notification(channel, payload, 1))

    def fetch(self):
        arrived, self._arrived = self._arrived, []
        return arrived

    def wait(self, timeout, wakeup=None):
        return bool(self._arrived) or wait_readable(self.socket.fileno(), timeout, wakeup)

    def listen(self, channel):
        pass

    def unlisten(self, channel):
        pass

    def close(self):
        self.socket.close()
        self._server.close()


class WithDescriptor(Buffering):
    def fileno(self):
        return self.socket.fileno()


@pytest.mark.parametrize("cls", [Buffering, WithDescriptor])
def test_what_a_call_of_another_task_brings_ends_the_wait(cls):
    async def main():
        loop, blocking = Loop(), cls()
        waiting, calling = ThreadedBackend(blocking, loop), ThreadedBackend(blocking, loop)
        for number in range(20):
            wait = asyncio.create_task(waiting.wait(None, LoopWakeup(loop)))
            await asyncio.sleep(0)
            await calling.notify("jobs", str(number))
            assert await wait
            assert [each.payload for each in waiting.fetch()] == [str(number)]
        await waiting.close()

    asyncio.run(asyncio.wait_for(main(), IN_MEMORY))
