"""An asyncpg connection for code without an event loop: the loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")

# By itself asyncpg waits for ever for the server's answer to its goodbye.
CLOSE_SECONDS = 5


class LoopThread(threading.Thread):
    """A thread that runs an event loop until `end` is called."""

    def __init__(self) -> None:
        super().__init__(name="pgnotify-asyncpg", daemon=True)  # a program that forgets to close may still exit
        self._begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self.start()
        self.loop, self._ending = self._begun.result()

    def run(self) -> None:
        """Run the loop; asyncio.run() cancels the tasks that are left at the end."""
        asyncio.run(self._until_end())

    def end(self) -> None:
        """End the loop and the thread; may be called twice."""
        if self.is_alive():
            self.loop.call_soon_threadsafe(self._ending.set)
            self.join()

    async def _until_end(self) -> None:
        ending = asyncio.Event()
        self._begun.set_result((asyncio.get_running_loop(), ending))
        await ending.wait()


class BlockingConnection:
    """An asyncpg connection whose loop runs in another thread. One thread at a time may use it.

    Attributes:
        connection: asyncpg's own, for everything else, by way of `call`.
        loop: the event loop that it belongs to.
        busy: whether a call has begun and not ended.
    """

    def __init__(
        self, connection: asyncpg.Connection, loop: asyncio.AbstractEventLoop, thread: LoopThread | None = None
    ) -> None:
        self.connection = connection
        self.loop = loop
        self.busy = False
        self._thread = thread

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, or the loop that it belongs to."""
        return self.connection.is_closed() or not self.loop.is_running()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and return its result or raise its error.

        Raises:
            asyncpg.InterfaceError: the loop no longer runs.
        """
        if not self.loop.is_running():  # the call would wait in a queue for ever
            coroutine.close()
            raise asyncpg.InterfaceError("connection is closed: its event loop does not run")
        self.busy = True
        try:
            return _result(asyncio.run_coroutine_threadsafe(coroutine, self.loop))
        finally:
            self.busy = False

    def run(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Run a statement and return its rows."""
        return self.call(self.connection.fetch(sql, *args))

    def close(self) -> None:
        """Close the connection, and end the thread that `connect` has started. May be called twice."""
        with suppress(Exception):  # asyncpg cuts off a connection that cannot be closed in good order
            self.call(self.connection.close(timeout=CLOSE_SECONDS))
        if self._thread is not None:
            self._thread.end()

    def __enter__(self) -> BlockingConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(dsn: str | None = None, **options: Any) -> BlockingConnection:
    """Connect in a new thread with an event loop of its own; close the connection to end both.

    Args:
        dsn: as for `asyncpg.connect`.
        options: the same.

    Raises:
        Exception: any error of asyncpg, or OSError; no thread is left behind.
    """
    thread = LoopThread()
    try:
        connecting = asyncio.run_coroutine_threadsafe(asyncpg.connect(dsn, **options), thread.loop)
        return BlockingConnection(_result(connecting), thread.loop, thread)
    except BaseException:
        thread.end()
        raise


def _result(future: Future[T]) -> T:
    try:
        return future.result()
    except BaseException:
        # Ctrl-C has only ended the waiting. If the call went on, asyncpg would refuse the next one. Cancelled,
        # it has the server cancel the statement, and the next call waits for that.
        future.cancel()
        raise
