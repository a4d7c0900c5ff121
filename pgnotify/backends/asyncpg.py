"""asyncpg, from 0.29.

Its own `add_listener` is not used: asyncpg drops a payload that it cannot decode, and `remove_listener` drops all that
comes before the server's answer. Instead, notifications are taken out of the stream of bytes; see `_asyncpg_tap`. The
user's own callbacks go on working.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from pgnotify.async_protocol import AsyncWakeup
from pgnotify.atomic import pops
from pgnotify.backends._async_driver import AsyncDriverBackend, OneTurn
from pgnotify.backends._asyncpg_connect import connect
from pgnotify.backends._asyncpg_tap import codec_of, mark_query, no_connection, taps
from pgnotify.backends._encodings import encoded
from pgnotify.backends._parameters import split
from pgnotify.backends._steps import BATCH, Rows, Steps, new_name, quoted
from pgnotify.backends._transactions import TransactionStatus
from pgnotify.errors import ConnectionLost, PgNotifyError, TransactionError
from pgnotify.notification import Plain
from pgnotify.protocol import Versions

__all__ = ["AsyncpgBackend", "connect", "wrap"]

# To a session without an encoding, asyncpg binds ASCII only as text.
_AS_BYTES = "pg_catalog.convert_from(${}::pg_catalog.bytea, pg_catalog.getdatabaseencoding())"

# What may be several statements, which asyncpg runs in one transaction if it has no parameters to bind.
_SCRIPTS = ("LISTEN ", "UNLISTEN ", "DEALLOCATE ")

# How long wait(0) looks, in seconds: until the event loop has looked once at all sockets.
_ONE_LOOK = 1e-6


def wrap(connection: Any) -> AsyncpgBackend:
    """Return the backend of an `asyncpg.Connection`, or of what a pool's `acquire` returns for one.

    Raises:
        TypeError: it is a pool, a cursor, a transaction, or anything else.
    """
    if isinstance(connection, (asyncpg.Connection, PoolConnectionProxy)):
        return AsyncpgBackend(connection)
    if isinstance(connection, asyncpg.Pool):
        raise TypeError(
            "pass the asyncpg.Pool as the source of an AsyncListener, or one connection: "
            "async with pool.acquire() as connection"
        )
    name = f"{type(connection).__module__}.{type(connection).__qualname__}"
    raise TypeError(f"pass an asyncpg.Connection, not a {name}")


class AsyncpgBackend(AsyncDriverBackend):
    """LISTEN and NOTIFY on an `asyncpg.Connection`.

    From the first listen, wait or check until the last unlisten, notifications come here. Those that a callback of the
    user's listens to go to this one as well.
    """

    DatabaseError = asyncpg.PostgresError
    own_close = asyncpg.Connection.close

    def __init__(self, connection: Any) -> None:
        self._connection = connection._con if isinstance(connection, PoolConnectionProxy) else connection
        if self._connection is None:
            raise ConnectionLost("the connection has been released back to the pool") from no_connection("released")
        self._releases = self._connection._pool_release_ctr
        protocol = self._connection._protocol
        self._server_pid: int | None = None if protocol is None else protocol.get_server_pid()
        self._tap = taps.of(self._connection)

    # The verbs.

    async def wait(self, timeout: float | None, wakeup: AsyncWakeup) -> bool:
        """See `pgnotify.async_protocol.AsyncBackend.wait`."""
        if not self._tap.in_step:
            self._may_wait()
            await self._perform(self._diverting())
        if self.has_news():
            return True
        tap = self._tap
        tap.wake = wakeup.wake
        try:
            return await wakeup.wait(timeout if timeout is None else max(timeout, _ONE_LOOK))
        finally:
            tap.wake = _nothing

    def has_news(self) -> bool:
        """See `pgnotify.async_protocol.HasNews.has_news`."""
        return not self._may_wait() or not self._tap.in_step or bool(self._tap.arrived)

    def _may_wait(self) -> bool:
        """Return whether notifications can arrive; False if the connection has ended and some were not fetched."""
        if self.transaction_status() is not TransactionStatus.IDLE:
            if self._lost_with_some_left():
                return False
            self._refuse_transaction("waiting")
        return True

    def fetch_into(self, queue: deque[Plain]) -> None:
        """See `pgnotify.protocol.FetchesInto.fetch_into`."""
        arrived = self._tap.arrived
        if arrived and self._is_ours():
            queue.extend(islice(pops(arrived), min(len(arrived), BATCH)))
        else:
            self._refuse_loss()

    # Beyond the verbs.

    async def end(self) -> None:
        """See `pgnotify.protocol.Ends.end`. It does not wait for the server."""
        if self._is_ours() and not self._connection.is_closed():
            self._connection.terminate()
            await OneTurn()  # the loop closes the socket

    @property
    def busy(self) -> bool:
        """Whether a statement that was cancelled is still under way."""
        protocol = self._connection._protocol
        return protocol is not None and bool(protocol._is_cancelling())

    @property
    def server_pid(self) -> int:
        """See `pgnotify.protocol.NamesServerPid.server_pid`."""
        if self._server_pid is None:
            raise self._lost() from self._reason_of_loss()
        return self._server_pid

    @property
    def versions(self) -> Versions:
        """See `pgnotify.protocol.NamesVersions.versions`."""
        return Versions(f"asyncpg {asyncpg.__version__}", None, "3.0")  # protocol/coreproto.pyx writes 3 and 0

    def fileno(self) -> int:
        """Return the descriptor of the transport's socket: for a shutdown() only, as the transport reads from it."""
        socket = self._connection._transport.get_extra_info("socket")
        descriptor: int = -1 if socket is None else socket.fileno()
        if descriptor < 0 or not self._is_ours():
            raise self._lost() from self._reason_of_loss()
        return descriptor

    def transaction_status(self) -> TransactionStatus:
        """Return the status that the server has reported last."""
        if self._has_ended() or not self._is_ours():
            return TransactionStatus.UNKNOWN
        return TransactionStatus.IN_TRANSACTION if self._connection.is_in_transaction() else TransactionStatus.IDLE

    async def _query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> Rows:
        """Run a statement. asyncpg begins no transactions by itself, so none is joined."""
        self._refuse_loss()
        try:
            if sql.startswith(_SCRIPTS):
                await self._connection.execute(sql)
                return []
            return await self._fetch(sql, parameters, prepare)
        except asyncpg.InternalClientError as error:  # its place in the stream of messages is unknown
            self._connection.terminate()
            raise self._lost() from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            if self._has_ended():
                raise self._lost() from error
            if isinstance(error, asyncpg.InterfaceError) and "another operation" in str(error):
                raise TransactionError(
                    "this is not possible now: the connection is busy with another statement"
                ) from error
            raise

    async def _fetch(self, sql: str, parameters: Sequence[str | None], prepare: bool) -> Rows:
        values: Sequence[str | bytes | None] = encoded(parameters, self._encoding())
        if not self._is_without_encoding():
            values = parameters
        elif parameters:
            sql = _in_bytes(sql)
        connection = self._connection
        with connection._stmt_exclusive_section:
            statement = await self._statement(sql, prepare)
            records = await connection._protocol.bind_execute(statement, values, "", 0, False, None)
            return list(map(tuple, records))

    async def _statement(self, sql: str, prepare: bool) -> Any:
        # Not connection.fetch(): codecs and record classes of the user's may do anything, and a statement with a name
        # would be left at the server, where a pooler may give it to another session.
        statement = self._statements.get(sql)
        if statement is None or not prepare:
            statement = await self._connection._get_statement(
                sql,
                None,
                named=prepare and new_name(),
                use_cache=False,
                ignore_custom_codec=True,
                record_class=asyncpg.Record,
            )
        if prepare:
            self._statements[sql] = statement
            self._prepared[sql] = statement.name
        return statement

    @cached_property
    def _statements(self) -> dict[str, Any]:
        """The statements that were prepared, by their text."""
        return {}

    def _is_without_encoding(self) -> bool:
        return not self._connection.is_closed() and self._connection.get_settings().client_encoding == "SQL_ASCII"

    def _diverting(self) -> Steps[None]:
        if not self._tap.in_step:
            yield mark_query(self._tap.install()), ()
            if not self._tap.in_step:
                raise PgNotifyError("the server's answer was changed on its way, so notifications cannot be read")

    def _begin_listening(self, channel: str) -> None:
        self._tap.channels.add(channel)

    def _end_listening(self, channel: str) -> None:
        self._tap.channels.discard(channel)
        if not self._tap.channels:
            self._tap.uninstall()

    def _drop_arrived(self) -> None:
        self._statements.clear()
        if not self._tap.channels:  # otherwise another backend on this connection still listens, and fetches them
            self._tap.arrived.clear()
            self._tap.uninstall()

    def _is_shared(self, channel: str) -> bool:
        return channel in self._connection._listeners

    def _quoted(self, channel: str) -> str:
        # asyncpg sends the text of a statement in UTF-8, whatever the client_encoding is.
        if channel.isascii() or self._encoding() == "utf-8":
            return quoted(channel)
        letters = (letter if letter.isascii() else f"\\+{ord(letter):06X}" for letter in channel.replace("\\", "\\\\"))
        return "U&" + quoted("".join(letters))

    def _encoding(self) -> str:
        return "utf-8" if self._connection.is_closed() else codec_of(self._connection.get_settings())

    def _buffered(self) -> bool:
        return bool(self._tap.arrived) and self._is_ours()

    def _has_ended(self) -> bool:
        return self._connection.is_closed() or self._tap.has_ended

    def _is_ours(self) -> bool:
        """Whether the connection has not gone back to its pool, where others may use it."""
        return bool(self._connection._pool_release_ctr == self._releases)

    def _reason_of_loss(self) -> Exception:
        if not self._is_ours():
            return no_connection("the connection has been released back to the pool")
        return self._tap.reason_of_loss() or no_connection("the connection is closed")


@lru_cache(maxsize=256)
def _in_bytes(sql: str) -> str:
    return "".join(_AS_BYTES.format(part) if isinstance(part, int) else part for part in split(sql))


def _nothing() -> None:
    pass
