"""An asynchronous backend on top of a sound one; the mutants derive from it."""

from __future__ import annotations

from typing import Any

from pgnotify import wrap
from pgnotify.aio.loop import Loop
from pgnotify.aio.threaded import ThreadedBackend
from pgnotify.async_protocol import AsyncBackend


class AsyncMutant(AsyncBackend):
    """Does the same as the sound backend of the connection; a mutant changes one thing."""

    caught_by: str
    """The test of the conformance class that must fail on it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.sound: Any = ThreadedBackend(wrap(connection).backend, Loop())

    async def listen(self, channel):
        await self.sound.listen(channel)

    async def unlisten(self, channel):
        await self.sound.unlisten(channel)

    async def wait(self, timeout, wakeup):
        return await self.sound.wait(timeout, wakeup)

    def fetch(self):
        return self.sound.fetch()

    async def notify(self, channel, payload=""):
        await self.sound.notify(channel, payload)

    async def close(self):
        await self.sound.close()

    async def listen_many(self, channels):
        await self.sound.listen_many(channels)

    async def unlisten_many(self, channels):
        await self.sound.unlisten_many(channels)

    async def notify_many(self, notifications):
        await self.sound.notify_many(notifications)

    async def check(self):
        return await self.sound.check()

    async def end(self):
        await self.sound.end()

    def fetch_plain(self):
        return self.sound.fetch_plain()

    def fetch_into(self, queue):
        self.sound.fetch_into(queue)

    def fileno(self):
        return self.sound.fileno()
