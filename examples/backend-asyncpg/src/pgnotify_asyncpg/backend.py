"""A backend of pgnotify over asyncpg: the five verbs and close(), on a loop in another thread.

Everything said about asyncpg here was seen with 0.32.0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import asyncpg

from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.notification import Notification
from pgnotify.protocol import Health
from pgnotify.waiting import wait_readable
from pgnotify_asyncpg.blocking import BlockingConnection
from pgnotify_asyncpg.inbox import inbox_of

T = TypeVar("T")

BATCH = 500  # a few hundred, as the protocol requires

# After this many turns of the loop asyncpg has reported the end: one turn reads the server's last words, one reads
# the end, and the others pass it on. Five were needed, six with TLS.
TURNS = 10

# Every name has its schema. Otherwise anybody who may create a function in a schema of the search_path can have us call
# it. (Only without its schema does unnest() take two arrays at once.)
_NOTIFY = "SELECT pg_catalog.pg_notify($1, $2)"
_NOTIFY_MANY = """\
SELECT pg_catalog.count(pg_catalog.pg_notify(channel, payload))
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
    AS pair (channel, payload)"""
_HEALTH = """\
SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_notification_queue_usage(), pg_catalog.pg_backend_pid(),
    ARRAY(SELECT pg_catalog.pg_listening_channels())"""


def wrap(connection: Any) -> AsyncpgBackend:
    """Return the backend of a connection.

    Args:
        connection: a `BlockingConnection`, or asyncpg's own whose loop runs in another thread and keeps running.

    Raises:
        TypeError: it is something else of asyncpg's, or its loop does not run elsewhere.
    """
    if isinstance(connection, BlockingConnection):
        return AsyncpgBackend(connection)
    # Not isinstance(): it accepts a connection from a pool, too, which would lose its LISTENs on release.
    if asyncpg.Connection not in type(connection).__mro__:
        raise TypeError(f"pass pgnotify_asyncpg.connect(dsn), not a {type(connection).__qualname__} of asyncpg")
    loop = connection._loop  # there is no public way to ask
    if not loop.is_running() or _runs_here(loop):
        raise TypeError(
            "the event loop of this connection must run in another thread, or nobody reads while we wait: "
            "pass pgnotify_asyncpg.connect(dsn), which sees to that"
        )
    return AsyncpgBackend(BlockingConnection(connection, loop))


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


class AsyncpgBackend:
    """LISTEN and NOTIFY on an asyncpg connection; the verbs are those of `pgnotify.protocol.Backend`."""

    DatabaseError = asyncpg.PostgresError

    def __init__(self, blocking: BlockingConnection) -> None:
        self._blocking = blocking
        self._inbox = inbox_of(blocking)

    @property
    def connection(self) -> asyncpg.Connection:
        """The connection of asyncpg, however it was wrapped."""
        return self._blocking.connection

    @property
    def busy(self) -> bool:
        """Whether a call has begun and not ended, so that a signal handler must not make another."""
        return self._blocking.busy

    def listen(self, channel: str) -> None:
        """Listen to a channel; in force on return."""
        self._refuse_transaction("LISTEN")
        self._call(self._listen(channel))

    def unlisten(self, channel: str) -> None:
        """Stop listening to a channel, for other callbacks of the connection too; in force on return."""
        self._refuse_transaction("UNLISTEN")
        self._call(self._unlisten(channel))

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        """Block until there is something to fetch, or ``wakeup`` is readable."""
        # Clear old wake-ups first, then look: a later notification finds an empty inbox, and wakes us.
        self._inbox.news.clear()
        if self._blocking.closed and self._inbox.arrived:
            return True  # notifications from before the end are fetched first
        self._refuse_transaction("waiting")
        if timeout == 0:
            self._look()
        return bool(self._inbox.arrived) or wait_readable(self._inbox.news.fileno(), timeout, wakeup)

    def fetch(self) -> list[Notification]:
        """Return the notifications that have arrived, in batches."""
        arrived = self._inbox.arrived
        if not arrived:
            self._look()
        # Asked before the inbox is emptied: if the connection has ended, every notification is in there.
        closed = self._blocking.closed
        batch = [arrived.popleft() for _ in range(min(len(arrived), BATCH))]
        if closed and not batch:
            self._refuse_loss()
        return batch

    def notify(self, channel: str, payload: str = "") -> None:
        """Send a notification."""
        self._call(self.connection.execute(_NOTIFY, channel, payload))

    def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """Send (channel, payload) pairs in one statement."""
        pairs = list(notifications)
        channels, payloads = [channel for channel, _ in pairs], [payload for _, payload in pairs]
        self._call(self.connection.execute(_NOTIFY_MANY, channels, payloads))

    def query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> list[tuple[str | None, ...]]:
        """Run a statement, with texts in and out. asyncpg begins no transactions by itself, so it joins none."""
        if any("\0" in text for text in parameters if text is not None):
            raise ValueError("a parameter has a NUL, and no text of PostgreSQL's may have one")
        return self._call(self._query(sql, parameters, prepare))

    def check(self) -> Health:
        """Ask for the server's state, and for the channels that this connection listens to."""
        self._refuse_transaction("a health check")
        return Health(*self._call(self._ask_for_health()))

    @property
    def server_pid(self) -> int:
        """The server process that asyncpg was connected to."""
        return self.connection.get_server_pid()

    def fileno(self) -> int:
        """Return the socket's descriptor: a shutdown() of it ends every call, though the loop reads from it."""
        self._refuse_loss()
        return self.connection._transport.get_extra_info("socket").fileno()  # there is no public way to ask

    def close(self) -> None:
        """Close the connection."""
        self._blocking.close()

    async def _listen(self, channel: str) -> None:
        await self.connection.add_listener(channel, self._inbox.receive)
        # add_listener() sends LISTEN only for the first callback of a channel. asyncpg does not notice when the
        # server forgets the LISTEN: after UNLISTEN *, DISCARD ALL, or the rollback of the transaction it was in.
        await self.connection.execute(f"LISTEN {_quoted(channel)}")

    async def _unlisten(self, channel: str) -> None:
        # remove_listener() sends it, too, but drops the callback first: notifications in between would be lost.
        await self.connection.execute(f"UNLISTEN {_quoted(channel)}")
        await self.connection.remove_listener(channel, self._inbox.receive)

    async def _query(self, sql: str, parameters: Sequence[str | None], prepare: bool) -> list[tuple[str | None, ...]]:
        if prepare:
            records = await self.connection.fetch(sql, *parameters)  # asyncpg keeps the statement prepared
        else:
            records = await (await self.connection.prepare(sql, name="")).fetch(*parameters)
        return [tuple(record) for record in records]

    async def _ask_for_health(self) -> tuple[bool, float, int, frozenset[str]]:
        in_recovery, queue_usage, pid, channels = await self.connection.fetchrow(_HEALTH)
        return in_recovery, queue_usage, pid, frozenset(channels)

    def _look(self) -> None:
        """Have the loop read the socket: it may be a little behind, and then an empty inbox proves nothing."""
        if not self._blocking.closed:
            self._call(_turns())

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return self._blocking.call(coroutine)
        except Exception as error:
            if self._blocking.closed:
                raise ConnectionLost("the connection to the server is lost") from error
            raise

    def _refuse_loss(self) -> None:
        # asyncpg keeps no reason for an end that no statement met. Its error for the next statement is the cause.
        if self._blocking.closed:
            self._call(self.connection.execute(""))

    def _refuse_transaction(self, what: str) -> None:
        self._refuse_loss()  # an aborted connection cannot say whether it is in a transaction
        if self.connection.is_in_transaction():
            raise TransactionError(f"{what} is not possible inside an open transaction: commit or roll back first")


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _quoted(channel: str) -> str:
    return '"' + channel.replace('"', '""') + '"'
