"""Where an AsyncListener's connections come from: all that a Listener takes, and what is asynchronous.

Functions that block run in threads. Their results may be awaitable, as that of a lambda around a coroutine function is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from typing import Any, NamedTuple

from pgnotify.aio.backend import Unbound, unbound
from pgnotify.aio.loop import Loop, as_failure, start_task
from pgnotify.aio.opening import open_in_thread
from pgnotify.async_protocol import AsyncBackend, end
from pgnotify.connecting.source import AnySource
from pgnotify.errors import SourceError
from pgnotify.limits import check_runs, is_async
from pgnotify.protocol import NamesPool, connection_of
from pgnotify.registry import connect_async_with

_CLOSED = "the pool is closed: a listener needs one that is open"


class _Pool(NamedTuple):
    """How an asynchronous pool lends its connections."""

    lend: Callable[[], Awaitable[object]]
    take_back: Callable[[Any], Awaitable[object]]
    is_closed: Callable[[], object]


class AsyncSource(AnySource):
    """A way to get connections for an event loop. `open` needs the loop, which `use` sets.

    Besides a connection string, a function and a connection of any driver, it takes a coroutine function, and a pool
    whose method ``acquire`` or ``getconn`` is one.
    """

    def __init__(self, source: Any, driver: str | None, name: str | None, answer_timeout: float) -> None:
        self._awaits = is_async(source)
        """Whether the function is a coroutine function, which is called on the loop."""
        self._lending = _pool_of(source)
        self._loop: Loop | None = None
        self._found: dict[int, Unbound | Exception] = {}
        """By the id() of a connection that was just opened: its backend, or why it has none."""
        super().__init__(source if self._lending is None else self._lending.lend, driver, name, answer_timeout)
        self._awaits = self._awaits or self._lending is not None
        if isinstance(self.only_backend, Unbound):
            self.only_backend = self.only_backend.backend

    def use(self, loop: Loop) -> None:
        """Open connections for this loop from now on."""
        self._loop = loop

    async def open(self) -> AsyncBackend:
        """Return the backend of a new connection, or of the only one.

        If this is cancelled, a connection that is opened by then is discarded. Errors of the driver, or of the user's
        function, pass through.

        Raises:
            SourceError: it is the same connection as the latest one, or the pool is closed.
        """
        if not self.can_reconnect:
            return self._bound(self._open())
        return await self._open_one(self._taken)

    async def open_another(self) -> AsyncBackend:
        """Return the backend of an additional connection, for a second session; see `open`."""
        return await self._open_one(self._taken_in_addition)

    async def discard(self, backend: AsyncBackend) -> None:
        """Close a connection from `open` for good, and return what is left of it to its pool, which replaces it."""
        pool = self._pool or (backend.pool if isinstance(backend, NamesPool) else None)
        try:
            await end(backend)
        finally:
            opened = self._take_out(backend)
            if opened is not None and (
                self._lending is not None or pool is not None or opened is not connection_of(backend)  # type: ignore[arg-type]
            ):
                await self._give_back(opened, pool)

    async def _open_one(self, take: Callable[[object], AsyncBackend]) -> AsyncBackend:
        if self._lending is not None and self._lending.is_closed():
            raise SourceError(_CLOSED)
        opened = await self._opened()
        try:
            return take(opened)
        except SourceError:
            raise
        except BaseException:
            if self._lending is not None or self._pool is not None:  # otherwise it may be anything of the user's
                await self._give_back(opened, self._pool)
            raise

    async def _opened(self) -> object:
        """Call the user's function, or connect. Not even the addresses of a host are looked up on the loop."""
        if self._awaits and not self.from_dsn:
            return await self._open()
        assert self._loop is not None, "use() comes first"
        opened: object = await open_in_thread(self._loop, self._open_with_backend, self._close)
        return await opened if _is_awaitable(opened) else opened  # type: ignore[misc]

    def _open_with_backend(self) -> object:
        """Open one, and find its backend in the same thread: an object that connects on first use connects there."""
        opened = self._open()
        if not _is_awaitable(opened):
            try:
                self._found[id(opened)] = unbound(opened)
            except Exception as error:
                self._found[id(opened)] = error
        return opened

    def _close(self, opened: object) -> None:
        """Close a connection that nobody waits for any more, and return what is left of it to its pool, in a thread."""
        self._found.pop(id(opened), None)
        close = getattr(opened, "close", None)
        try:
            if close is not None and not is_async(close):
                close()
        finally:
            if self._pool is not None and not is_async(self._pool.putconn):
                self._pool.putconn(opened)

    async def _give_back(self, opened: Any, pool: Any) -> None:
        """Return a connection to its pool: to the given one, or to the one that ``close`` of a proxy returns it to.

        A pool that blocks may reset the connection, or wait for its lock, so it is called in a thread.
        """
        with suppress(Exception):  # the pool is closed by now; or the object, which needs nothing more
            if self._lending is not None:
                await self._lending.take_back(opened)
                return
            give = opened.close if pool is None else partial(pool.putconn, opened)
            assert self._loop is not None, "use() comes first"
            given = give() if is_async(give) else await self._loop.in_thread(give)
            if isawaitable(given):
                await given

    # What differs from blocking code.

    def _connect_with(self, driver: str | None) -> Callable[[dict[str, str]], object]:
        connect, self._awaits = connect_async_with(driver)
        return connect

    def _check_function(self, source: Any) -> None:
        check_runs("source", source, may_be_async=True)

    def _backend_for(self, connection: object) -> Any:
        made = self._found.pop(id(connection), None) or unbound(connection)
        if isinstance(made, Exception):
            raise made
        return made if self._loop is None else made.bound(self._loop)

    def _bound(self, made: Unbound | AsyncBackend) -> AsyncBackend:
        """Return the backend of the user's only connection, which was passed before the loop ran."""
        if isinstance(made, Unbound):
            assert self._loop is not None, "use() comes first"
            return made.bound(self._loop)
        return made


class AsyncAttempt:
    """One attempt to connect, as a task. It is abandoned if it takes too long.

    Args:
        source: where the connection comes from.
        done: called when there is a result.
    """

    def __init__(self, source: AsyncSource, done: Callable[[], object]) -> None:
        self._source = source
        self.started = time.monotonic()
        """When it began, of the monotonic clock."""
        self._task = start_task(source.open(), "pgnotify connect")
        self._task.add_done_callback(lambda _: done())

    @property
    def finished(self) -> bool:
        """Whether there is a result."""
        return self._task.done()

    def result(self) -> AsyncBackend:
        """Return the backend of the new connection, or raise the error of the attempt."""
        try:
            return self._task.result()
        except asyncio.CancelledError as error:
            raise as_failure(error, "the source") from error

    async def abandon(self) -> None:
        """Give up the attempt. A connection that it has opened is closed."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))
        if not self._task.cancelled() and self._task.exception() is None and self._source.can_reconnect:
            with suppress(Exception):  # nobody has used it
                await self._source.discard(self._task.result())


def _is_awaitable(opened: object) -> bool:
    """Return whether to await something. Only its class is asked: a closed connection of PyGreSQL refuses that."""
    return hasattr(type(opened), "__await__")


def _pool_of(source: Any) -> _Pool | None:
    """Return how a source lends connections, if it is an asynchronous pool, or a method of one; None if it is not."""
    owner = getattr(getattr(source, "func", source), "__self__", source)  # functools.partial() has a func
    lend, take_back = getattr(owner, "getconn", None), getattr(owner, "putconn", None)
    if is_async(lend) and is_async(take_back):
        return _Pool(lend, take_back, lambda: getattr(owner, "closed", False))  # type: ignore[arg-type]
    lend, take_back = getattr(owner, "acquire", None), getattr(owner, "release", None)
    if callable(lend) and is_async(take_back):
        return _Pool(lend, take_back, lambda: getattr(owner, "_closed", False))  # type: ignore[arg-type]
    return None
