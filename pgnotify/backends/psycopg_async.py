"""psycopg 3, from 3.1: its AsyncConnection.

Its own `notifies()` is not used, for the reasons that `pgnotify.backends.psycopg` gives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import psycopg
from psycopg.generators import fetch_many
from psycopg.waiting import wait_async

from pgnotify.async_protocol import AsyncWakeup
from pgnotify.backends._async_driver import AsyncDriverBackend
from pgnotify.backends._psycopg import OverPsycopg
from pgnotify.backends._steps import Rows, Steps, T
from pgnotify.backends._transactions import TransactionStatus
from pgnotify.notification import Plain
from pgnotify.waiting import wait_readable

# Before 3.2, psycopg leaves the statement of a cancelled task running, or holds up the event loop until the server has
# cancelled it.
_CANCEL_BLOCKS = psycopg.__version__.startswith("3.1")


def wrap(connection: Any) -> AsyncPsycopgBackend | None:
    """Return the backend of a `psycopg.AsyncConnection`; None for an object that blocks.

    Raises:
        TypeError: it is a cursor or a pool of such connections.
    """
    if isinstance(connection, psycopg.AsyncConnection):
        return AsyncPsycopgBackend(connection)
    name = type(connection).__name__
    if isinstance(connection, (psycopg.AsyncCursor, psycopg.AsyncServerCursor)):
        raise TypeError(f"pass the psycopg.AsyncConnection, not a {name}: cursor.connection")
    if name.startswith("Async") and name.endswith("Pool"):
        raise TypeError(
            f"pass the {name} as the source of an AsyncListener, or one connection: "
            "async with pool.connection() as connection"
        )
    return None


async def connect(parameters: dict[str, str]) -> psycopg.AsyncConnection[Any]:
    """Open a connection in autocommit mode."""
    return await psycopg.AsyncConnection.connect(**parameters, autocommit=True)  # type: ignore[arg-type]  # as libpq's


class AsyncPsycopgBackend(OverPsycopg, AsyncDriverBackend):
    """LISTEN and NOTIFY on a `psycopg.AsyncConnection`.

    From the first listen, wait, fetch or check until the last unlisten, all notifications of the connection
    come here; its own `notifies()` and notify handlers receive none.
    """

    own_close = psycopg.AsyncConnection.close

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        # The lock is asyncio's. Between two awaits nobody else runs, so it is enough that it is not locked.
        super().__init__(connection, nullcontext())

    async def wait(self, timeout: float | None, wakeup: AsyncWakeup) -> bool:
        """See `pgnotify.async_protocol.AsyncBackend.wait`."""
        if self.has_news():
            return True
        self._shared_inbox.wake = wakeup.wake
        try:
            return await wakeup.wait_readable(self.fileno(), timeout)
        finally:
            self._shared_inbox.wake = None

    def has_news(self) -> bool:
        """See `pgnotify.async_protocol.HasNews.has_news`."""
        if self._in_use():
            # A statement of another task reads from the socket. Notifications that come along with it wake.
            inbox = self._inbox()
            return bool(inbox.raw or inbox.decoded)
        if self.transaction_status() is not TransactionStatus.IDLE:
            if self._lost_with_some_left():
                return True  # notifications from before the end are fetched first
            self._refuse_transaction("waiting")
        return self._buffered()

    def fetch_into(self, queue: deque[Plain]) -> None:
        """See `pgnotify.protocol.FetchesInto.fetch_into`."""
        if self._in_use():
            self._move(self._inbox(), queue)
            return
        while not self._read(queue):
            if not wait_readable(self.fileno(), 0):
                break

    async def _query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> Rows:
        """Run a statement, through psycopg's lock."""
        connection = self._connection
        try:
            async with connection.lock:
                wait = self._wait_until_answered if _CANCEL_BLOCKS else connection.wait
                rows: Rows = await wait(self._rows(sql, parameters, prepare, joins))
                return rows
        except psycopg.Error as error:
            if lost := self._loss_by(error):
                raise lost from error
            raise

    async def _wait_until_answered(self, results: Any) -> Rows:
        """Do the same as psycopg's `wait`; a task that is cancelled waits for the answer, which it drops."""
        pgconn = self._connection.pgconn
        try:
            rows: Rows = await wait_async(results, pgconn.socket)
            return rows
        except BaseException:
            if self.transaction_status() is TransactionStatus.ACTIVE:
                await wait_async(fetch_many(pgconn), pgconn.socket)
            raise

    async def end(self) -> None:
        """Close the connection, and not what ``close_returns`` of its pool makes of that."""
        connection, pool = self._connection, self.pool
        if pool is None:
            await psycopg.AsyncConnection.close(connection)
            return
        connection._pool = None
        try:
            await psycopg.AsyncConnection.close(connection)
        finally:
            connection._pool = pool

    async def _perform(self, steps: Steps[T]) -> T:
        if self._in_use():
            async with self._connection.lock:  # after this, the state of the transaction is known
                pass
        return await super()._perform(steps)

    async def _return_to_pool(self) -> None:
        pool = self.pool
        if self._connection.closed and getattr(pool, "close_returns", False):
            await pool.putconn(self._connection)  # close() does nothing by now, and the pool would wait for it for ever
            self._connection._pool = None
        else:
            await super()._return_to_pool()

    def _in_use(self) -> bool:
        """Whether a task runs a statement, so that nothing may be asked of libpq."""
        return bool(self._connection.lock.locked())

    def _buffered(self) -> bool:
        if self._in_use():
            inbox = self._inbox()
            return bool(inbox.raw or inbox.decoded)
        return super()._buffered()

    def _divert(self, receive: Callable[[Any], None]) -> None:
        inbox = self._shared_inbox

        def received(notify: Any) -> None:
            receive(notify)
            if inbox.wake is not None:
                inbox.wake()

        super()._divert(received)
