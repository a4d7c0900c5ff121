"""psycopg 3, from 3.1.

Its own `notifies()` is not used: it holds the connection's lock while it waits, and drops the rest
of a batch when it is left early. Instead, the libpq layer's `notify_handler` collects the notifications
that any statement reads along the way, undecoded, and `fetch` reads the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.pq.misc import PGnotify
from psycopg.rows import tuple_row
from psycopg.types.string import StrDumperUnknown, TextLoader

from pgnotify.atomic import then
from pgnotify.backends._collecting import CollectingBackend, Inbox
from pgnotify.backends._driver import MORE_TO_READ
from pgnotify.backends._steps import BATCH
from pgnotify.backends._transactions import STATUS_OF, TransactionStatus, in_autocommit
from pgnotify.errors import TransactionError
from pgnotify.notification import Plain


def wrap(connection: Any) -> PsycopgBackend:
    """Return the backend of a `psycopg.Connection`.

    Raises:
        TypeError: it is an asynchronous connection, a cursor, a pool, or anything else.
    """
    if isinstance(connection, psycopg.Connection):
        return PsycopgBackend(connection)
    if isinstance(connection, psycopg.AsyncConnection):
        raise TypeError("an AsyncConnection cannot be used in blocking code: pass a psycopg.Connection")
    if isinstance(connection, (psycopg.Cursor, psycopg.ServerCursor)):
        raise TypeError("pass the psycopg.Connection, not a cursor: cursor.connection")
    name = type(connection).__name__
    if name.endswith("Pool"):
        raise TypeError(
            f"pass one psycopg.Connection, not a {name}: with pool.connection() as connection. To listen for long, "
            "open one of its own. A Listener can take the function pool.getconn itself, and returns what it takes"
        )
    raise TypeError(f"pass a psycopg.Connection, not a {type(connection).__module__}.{name}")


def connect(parameters: dict[str, str]) -> psycopg.Connection[Any]:
    """Open a connection in autocommit mode."""
    return psycopg.connect(**parameters, autocommit=True)  # type: ignore[arg-type]  # all are libpq's


_encodings: dict[bytes, str] = {b"UTF8": "utf-8"}
"""Python's names by PostgreSQL's; asking psycopg for one takes longer than delivering a notification."""


class PsycopgBackend(CollectingBackend):
    """LISTEN and NOTIFY on a `psycopg.Connection`.

    From the first listen, wait, fetch or check until the last unlisten, all notifications of the connection
    come here; its own `notifies()` and notify handlers receive none.
    """

    DatabaseError = psycopg.DatabaseError
    placeholders = ("%s", "%s")
    own_close = psycopg.Connection.close

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @property
    def busy(self) -> bool:
        """Whether a statement is running, or somebody holds the connection's lock."""
        return self._connection.lock.locked() or super().busy

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        try:
            descriptor: int = self._connection.pgconn.socket
        except psycopg.Error as error:
            raise self._lost() from error
        return descriptor

    @property
    def server_pid(self) -> int:
        """See `pgnotify.protocol.NamesServerPid.server_pid`; libpq forgets it with the connection."""
        self._refuse_loss()
        pid: int = self._connection.pgconn.backend_pid
        return pid

    def transaction_status(self) -> TransactionStatus:
        """Return libpq's status."""
        return STATUS_OF[self._connection.pgconn.transaction_status]

    def query(self, sql: str, parameters: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        """Run a statement, through psycopg's lock and interruptible by Ctrl-C."""
        try:
            with self._own_transaction_if_idle():
                # Not connection.execute(): the user's cursor factory may do anything. No parameters
                # are passed as None: with an empty tuple, each % in a name would be a placeholder.
                cursor = psycopg.Cursor(self._connection, row_factory=tuple_row)
                # Nor what the user's adapters make of text. This is for this cursor only.
                cursor.adapters.register_dumper(str, StrDumperUnknown)
                cursor.adapters.register_loader("text", TextLoader)
                cursor.execute(sql.encode(self._encoding()), parameters or None, prepare=False)
                return cursor.fetchall() if cursor.description else []
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):  # after that psycopg reads on, and its place is unknown
                self._shared_inbox.raw.extend(_in_the_making(error))
            if isinstance(error, psycopg.Error) and self._has_ended():
                with suppress(psycopg.Error):  # closed by hand
                    self._move_what_libpq_has(self._inbox())  # its holder may close it next
                raise self._lost() from error
            raise

    @property
    def pool(self) -> Any:
        """See `pgnotify.protocol.NamesPool.pool`."""
        return getattr(self._connection, "_pool", None)  # private, but other libraries rely on it, too

    def end(self) -> None:
        """Close the connection, and not what ``close_returns`` of its pool makes of that."""
        connection, pool = self._connection, self.pool
        if pool is None:
            psycopg.Connection.close(connection)
            return
        connection._pool = None
        try:
            psycopg.Connection.close(connection)
        finally:
            connection._pool = pool

    def _closes_for_good(self) -> bool:
        return super()._closes_for_good() and not getattr(self.pool, "close_returns", False)

    def _return_to_pool(self) -> None:
        pool = self.pool
        if self._connection.closed and getattr(pool, "close_returns", False):
            pool.putconn(self._connection)  # close() does nothing by now, and the pool would wait for it for ever
            self._connection._pool = None
        else:
            super()._return_to_pool()

    @contextmanager
    def _own_transaction_if_idle(self) -> Iterator[None]:
        connection = self._connection
        if connection.pgconn.pipeline_status:
            raise TransactionError("a connection in pipeline mode cannot listen or notify: leave the pipeline first")
        if connection.autocommit or self.transaction_status() is not TransactionStatus.IDLE:
            yield
            return
        self._refuse_prepared("a statement")
        with in_autocommit(connection, self._has_ended):  # costs no round trip
            yield

    def _in_prepared_transaction(self) -> bool:
        return bool(self._connection._tpc)  # private; one that is not prepared has begun at the server, too

    def _receiver(self) -> Any:
        return self._connection.pgconn.notify_handler

    def _divert(self, receive: Callable[[Any], None]) -> None:
        # psycopg's own handler decodes. A payload that cannot be decoded, or a registered handler that
        # raises, leaves the connection unusable during a statement.
        self._connection.pgconn.notify_handler = receive

    def _restore(self, previous: Any) -> None:
        self._connection.pgconn.notify_handler = previous

    def _move_backlog(self, taker: list[Plain]) -> None:
        backlog = getattr(self._connection, "_notifies_backlog", None)  # private; since 3.2.4
        if backlog:
            taken = [(notify.channel, notify.payload, notify.pid) for notify in backlog]
            taker.extend(then(taken, backlog.clear))

    def _buffered(self) -> bool:
        inbox = self._inbox()
        if not inbox.raw:
            self._move_what_libpq_has(inbox)
        return bool(inbox.raw or inbox.decoded)

    def _move_what_libpq_has(self, inbox: Inbox) -> None:
        # Notifications that came along with a statement that was run below psycopg, with pgconn.exec_().
        with self._connection.lock:
            _take(self._connection.pgconn, inbox.raw)

    def _read(self, queue: deque[Plain]) -> int:
        inbox = self._inbox()
        failure = self._consume(inbox.raw)
        count = self._move(inbox, queue)
        if failure is not None and not count:
            raise self._lost() from failure
        return count

    def _consume(self, raw: list[Any]) -> Exception | None:
        """Read from the socket until a batch is full or nothing new comes; return the error if that failed."""
        try:
            with self._connection.lock:
                pgconn = self._connection.pgconn
                while (before := len(raw)) < BATCH:
                    try:
                        pgconn.consume_input()  # at most 16 kB
                    finally:  # after the end of the connection, libpq still has what it had read before
                        _take(pgconn, raw)
                    if len(raw) - before < MORE_TO_READ:
                        break
        except psycopg.Error as error:
            return error
        return None

    def _decoded(self, raw: Sequence[Any]) -> list[Plain]:
        encoding = self._encoding()
        return [
            (
                notify.relname.decode(encoding, "surrogateescape"),
                notify.extra.decode(encoding, "surrogateescape"),
                notify.be_pid,
            )
            for notify in raw
        ]

    def _encoding(self) -> str:
        try:
            name = self._connection.pgconn.parameter_status(b"client_encoding") or b"UTF8"
        except psycopg.Error:  # closed; the notifications that had arrived must still be returned
            name = b"UTF8"
        encoding = _encodings.get(name)
        if encoding is None:
            # For SQL_ASCII psycopg says "ascii", but encodes to UTF-8.
            said = self._connection.info.encoding
            encoding = _encodings[name] = "utf-8" if said == "ascii" else said
        return encoding

    def _reason_of_loss(self) -> Exception:
        return psycopg.OperationalError("the connection is closed")


def _take(pgconn: Any, raw: list[Any]) -> None:
    """Take the notifications that libpq has."""
    try:
        # In C from end to end, so no signal handler comes between taking a notification and keeping it: only into the
        # making of the object, which is Python code.
        raw.extend(iter(pgconn.notifies, None))
    except BaseException as error:
        raw.extend(_in_the_making(error))
        raise


def _in_the_making(error: BaseException) -> list[PGnotify]:
    """Return the notification that psycopg was making when a signal handler raised. libpq no longer has it."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code is PGnotify.__new__.__code__:
            given = traceback.tb_frame.f_locals
            return [PGnotify(given["relname"], given["be_pid"], given["extra"])]
        traceback = traceback.tb_next
    return []
