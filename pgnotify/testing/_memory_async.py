"""An asynchronous connection to `MemoryServer`, which is its own backend, as the one that blocks.

Everything is decided there (`_memory_connection`). Here are the waits for the network, on the event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from pgnotify.aio.loop import Loop
from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.async_protocol import AsyncBackend, AsyncWakeup
from pgnotify.notification import Notification, Plain
from pgnotify.protocol import Health
from pgnotify.testing._memory_connection import MemoryConnection
from pgnotify.uncopyable import Uncopyable

T = TypeVar("T")


class AsyncMemoryConnection(Uncopyable, AsyncBackend):
    """A connection to a `MemoryServer`, and its own backend; `MemoryServer.connect_async` makes it.

    It does the same as `MemoryConnection`. One task at a time may use it. A statement that is cancelled before its
    answer, which a `MemoryServer.blackhole` holds back, is not carried out.
    """

    def __init__(self, blocking: MemoryConnection) -> None:
        self.blocking = blocking
        """The connection underneath, which `MemoryServer.connections` has."""

    # The verbs.

    async def listen(self, channel: str) -> None:
        """See `MemoryConnection.listen`."""
        await self._answered(self.blocking.listen, channel)

    async def listen_many(self, channels: Sequence[str]) -> None:
        """See `MemoryConnection.listen_many`."""
        await self._answered(self.blocking.listen_many, channels)

    async def unlisten(self, channel: str) -> None:
        """See `MemoryConnection.unlisten`."""
        await self._answered(self.blocking.unlisten, channel)

    async def unlisten_many(self, channels: Sequence[str]) -> None:
        """See `MemoryConnection.unlisten_many`."""
        await self._answered(self.blocking.unlisten_many, channels)

    async def wait(self, timeout: float | None, wakeup: AsyncWakeup) -> bool:
        """See `pgnotify.async_protocol.AsyncBackend.wait`."""
        with self.blocking.calling():
            return self.blocking.wait(0) or await wakeup.wait_readable(self.fileno(), timeout)

    def fetch(self) -> list[Notification]:
        """See `MemoryConnection.fetch`."""
        return self.blocking.fetch()

    def fetch_into(self, queue: deque[Plain]) -> None:
        """See `MemoryConnection.fetch_into`."""
        self.blocking.fetch_into(queue)

    async def notify(self, channel: str, payload: str = "") -> None:
        """See `MemoryConnection.notify`."""
        await self._answered(self.blocking.notify, channel, payload)

    async def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """See `MemoryConnection.notify_many`."""
        await self._answered(self.blocking.notify_many, list(notifications))

    async def check(self) -> Health:
        """See `MemoryConnection.check`."""
        return await self._answered(self.blocking.check)

    async def close(self) -> None:
        """See `MemoryConnection.close`; a call of another task ends, too."""
        self.blocking.close()

    # Transactions.

    async def begin(self) -> None:
        """See `MemoryConnection.begin`."""
        await self._answered(self.blocking.begin)

    async def commit(self) -> None:
        """See `MemoryConnection.commit`."""
        await self._answered(self.blocking.commit)

    async def rollback(self) -> None:
        """See `MemoryConnection.rollback`."""
        await self._answered(self.blocking.rollback)

    async def savepoint(self, name: str) -> None:
        """See `MemoryConnection.savepoint`."""
        await self._answered(self.blocking.savepoint, name)

    async def rollback_to(self, name: str) -> None:
        """See `MemoryConnection.rollback_to`."""
        await self._answered(self.blocking.rollback_to, name)

    async def release(self, name: str | None = None) -> None:
        """See `MemoryConnection.release`."""
        await self._answered(self.blocking.release, name)

    async def fail(self) -> None:
        """See `MemoryConnection.fail`."""
        await self._answered(self.blocking.fail)

    # Properties; none of them uses the network.

    @property
    def pid(self) -> int:
        """See `MemoryConnection.pid`."""
        return self.blocking.pid

    @property
    def server_pid(self) -> int:
        """See `MemoryConnection.server_pid`."""
        return self.blocking.server_pid

    @property
    def database(self) -> str:
        """See `MemoryConnection.database`."""
        return self.blocking.database

    @property
    def closed(self) -> bool:
        """See `MemoryConnection.closed`."""
        return self.blocking.closed

    @property
    def listening_channels(self) -> frozenset[str]:
        """See `MemoryConnection.listening_channels`."""
        return self.blocking.listening_channels

    @property
    def in_recovery(self) -> bool:
        """See `MemoryConnection.in_recovery`."""
        return self.blocking.in_recovery

    @property
    def connection(self) -> AsyncMemoryConnection:
        """See `pgnotify.protocol.NamesConnection.connection`: no other asynchronous connection is underneath."""
        return self

    @property
    def DatabaseError(self) -> type[Exception]:
        """See `MemoryConnection.DatabaseError`."""
        return self.blocking.DatabaseError

    @property
    def busy(self) -> bool:
        """See `MemoryConnection.busy`."""
        return self.blocking.busy

    @property
    def in_transaction(self) -> bool:
        """See `MemoryConnection.in_transaction`."""
        return self.blocking.in_transaction

    def fileno(self) -> int:
        """See `MemoryConnection.fileno`."""
        return self.blocking.fileno()

    def __repr__(self) -> str:
        return repr(self.blocking).replace(type(self.blocking).__name__, type(self).__name__)

    async def _answered(self, statement: Callable[..., T], *arguments: object) -> T:
        """Run a statement as soon as it gets through the network. Then it does not wait."""
        with self.blocking.calling():
            while True:
                with self.blocking.lock:  # until it is done: a blackhole may begin at any time
                    if self.blocking.gets_answers():
                        return statement(*arguments)
                wakeup = LoopWakeup(Loop())
                try:
                    await wakeup.wait_readable(self.fileno(), None)
                finally:
                    wakeup.forget()
