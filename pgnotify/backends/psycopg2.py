"""psycopg2, from 2.9.1."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import compress, islice, repeat, starmap
from operator import delitem
from typing import Any

import psycopg2
import psycopg2.extensions

from pgnotify.atomic import then
from pgnotify.backends._driver import DriverBackend
from pgnotify.backends._encodings import encoded
from pgnotify.backends._parameters import split
from pgnotify.backends._steps import BATCH, MORE_TO_READ, Rows, new_name
from pgnotify.backends._transactions import STATUS_OF, TransactionStatus, in_autocommit, in_open_transaction
from pgnotify.backends._versions import libpq_release, protocol_version
from pgnotify.notification import Plain
from pgnotify.protocol import Health, Versions


def wrap(connection: Any) -> Psycopg2Backend:
    """Return the backend of a psycopg2 connection.

    Raises:
        TypeError: it is an asynchronous connection, a cursor, a pool, or anything else.
    """
    if isinstance(connection, psycopg2.extensions.connection):
        if connection.async_:
            raise TypeError(
                "an asynchronous psycopg2 connection cannot be used: connect without async_=True. "
                "pgnotify.AsyncNotificationHandler and AsyncListener take such a connection, and hold up no event loop"
            )
        return Psycopg2Backend(connection)
    if isinstance(connection, psycopg2.extensions.cursor):
        raise TypeError("pass the psycopg2 connection, not a cursor: cursor.connection")
    name = type(connection).__name__
    if hasattr(connection, "getconn"):
        raise TypeError(
            f"pass one psycopg2 connection, not a {name}; to listen, open one of its own rather than take one from "
            "the pool for good. A Listener can take the function pool.getconn itself, and returns what it takes"
        )
    raise TypeError(f"pass a psycopg2 connection, not a {type(connection).__module__}.{name}")


def connect(parameters: dict[str, str]) -> Any:
    """Open a connection in autocommit mode."""
    try:
        connection = psycopg2.connect(**parameters) if parameters else psycopg2.connect("")
    except UnicodeDecodeError as error:  # libpq's message quotes the server, whose encoding nobody knows yet
        raise psycopg2.OperationalError(error.object.decode("utf-8", "backslashreplace").strip()) from error
    connection.autocommit = True
    return connection


_new_cursor = psycopg2.extensions.connection.cursor


@lru_cache(maxsize=256)
def _formatted(sql: str) -> str:
    """Return a statement with psycopg2's placeholders, which are named by the numbers of the parameters."""
    return "".join(f"%({part})s" if isinstance(part, int) else part.replace("%", "%%") for part in split(sql))


def _values(parameters: Sequence[str | None], encoding: str) -> dict[str, Any] | None:
    """Return parameters by their numbers, to be quoted by psycopg2 itself, and not by the user's adapters."""
    raw = encoded(parameters, encoding)
    quoted = psycopg2.extensions.QuotedString
    return {str(n): None if text is None else quoted(text) for n, text in enumerate(raw, start=1)} or None


class Psycopg2Backend(DriverBackend):
    """LISTEN and NOTIFY on a psycopg2 connection.

    psycopg2 decodes by itself. Undecodable bytes become U+FFFD, not surrogate escapes.
    """

    DatabaseError = psycopg2.DatabaseError
    own_close = psycopg2.extensions.connection.close

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        try:
            descriptor: int = self._connection.fileno()
        except psycopg2.Error as error:
            raise self._lost() from error
        if descriptor < 0:  # libpq has closed it, and psycopg2 does not know yet
            raise self._lost() from self._reason_of_loss()
        return descriptor

    @property
    def server_pid(self) -> int:
        """See `pgnotify.protocol.NamesServerPid.server_pid`; libpq forgets it with the connection."""
        self._refuse_loss()
        pid: int = self._connection.get_backend_pid()
        return pid

    @property
    def versions(self) -> Versions:
        """See `pgnotify.protocol.NamesVersions.versions`."""
        driver = f"psycopg2 {psycopg2.__version__.partition(' ')[0]}"
        libpq = libpq_release(psycopg2.extensions.libpq_version())
        return Versions(driver, libpq, protocol_version(self._connection.protocol_version))

    def transaction_status(self) -> TransactionStatus:
        """Return libpq's status: connection.status is wrong after a BEGIN of the user's own."""
        if self._connection.closed:
            return TransactionStatus.UNKNOWN
        return STATUS_OF[self._connection.get_transaction_status()]

    def _query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> Rows:
        """Run a statement. Ctrl-C has no effect before it ends."""
        encoding = self._encoding()
        values = _values(parameters, encoding)
        try:
            # A plain cursor: the connection's cursor_factory, and a method cursor() of the user's, may do anything.
            with (
                self._transaction_of(joins),
                _new_cursor(self._connection, cursor_factory=psycopg2.extensions.cursor) as cursor,
            ):
                # What users register for text is not asked: a cursor's own types come first.
                extensions = psycopg2.extensions
                extensions.register_type(extensions.UNICODE if self._decodes(encoding) else extensions.BYTES, cursor)
                if prepare:
                    sql = self._prepared_call(cursor, sql, len(parameters), encoding)
                # No parameters are passed as None: otherwise each % in a name would be a placeholder.
                cursor.execute((_formatted(sql) if values else sql).encode(encoding), values)
                return self._fetch_all(cursor, encoding) if cursor.description else []
        except psycopg2.Error as error:
            if self._has_ended():
                raise self._lost() from error
            raise

    def _prepared_call(self, cursor: Any, sql: str, count: int, encoding: str) -> str:
        """Return the statement that executes another one, which is prepared now unless it is already."""
        name = self._prepared.get(sql)
        if name is None:
            name = new_name()
            cursor.execute(f"PREPARE {name} AS {sql}".encode(encoding))
            self._prepared[sql] = name
        values = ", ".join(f"${number}" for number in range(1, count + 1))
        return f"EXECUTE {name}({values})" if values else f"EXECUTE {name}"

    def _fetch_all(self, cursor: Any, encoding: str) -> Rows:
        rows: Rows = cursor.fetchall()
        if self._decodes(encoding):
            return rows
        return [
            tuple(value.decode(encoding, "surrogateescape") if isinstance(value, bytes) else value for value in row)
            for row in rows
        ]

    def _decodes(self, encoding: str) -> bool:
        """Whether psycopg2 decodes as it should: in SQL_ASCII it does not, nor after a SET of the user's own."""
        return bool(encoding == psycopg2.extensions.encodings.get(self._connection.encoding))

    def end(self) -> None:
        """Close the connection."""
        psycopg2.extensions.connection.close(self._connection)

    def listen(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.listen`."""
        self._refuse_with_block("LISTEN")
        super().listen(channel)

    def listen_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.ListensMany.listen_many`."""
        self._refuse_with_block("LISTEN")
        super().listen_many(channels)

    def unlisten(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.unlisten`."""
        self._refuse_with_block("UNLISTEN")
        super().unlisten(channel)

    def unlisten_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.UnlistensMany.unlisten_many`."""
        self._refuse_with_block("UNLISTEN")
        super().unlisten_many(channels)

    def check(self) -> Health:
        """See `pgnotify.protocol.ChecksHealth.check`."""
        self._refuse_with_block("a health check")
        return super().check()

    def _refuse_with_block(self, what: str) -> None:
        if self.transaction_status() is not TransactionStatus.IDLE:
            return
        self._refuse_prepared(what)
        if self._in_with_block():
            raise in_open_transaction(what)

    def _in_prepared_transaction(self) -> bool:
        return bool(self._connection.status == psycopg2.extensions.STATUS_PREPARED)

    def _in_with_block(self) -> bool:
        """Whether an idle connection is inside the user's ``with connection:``.

        There the next statement opens a transaction, even in autocommit mode, and no attribute
        shows this beforehand. But a connection that was entered cannot be entered again.
        """
        connection = psycopg2.extensions.connection
        try:
            connection.__enter__(self._connection)
        except psycopg2.ProgrammingError:
            return True
        connection.__exit__(self._connection, None, None, None)  # nothing to commit: the connection was idle
        return False

    @contextmanager
    def _transaction_of(self, joins: bool) -> Iterator[None]:
        """Have an idle connection run a statement in a transaction of its own, or begin the user's."""
        connection = self._connection
        self._refuse_prepared("a statement")
        if (
            joins
            or connection.autocommit
            or self.transaction_status() is not TransactionStatus.IDLE
            or self._in_with_block()  # its transaction begins here
        ):
            yield
            return
        with in_autocommit(connection, self._has_ended):
            yield

    def _read(self, queue: deque[Plain]) -> int:
        failure: Exception | None = None
        notifies = self._connection.notifies  # a list, or the user's own container
        try:
            while len(notifies) < BATCH:
                before = len(notifies)
                self._connection.poll()  # reads at most 16 kB
                if len(notifies) - before < MORE_TO_READ:
                    break
        except psycopg2.Error as error:
            failure = error
        if not notifies and failure is None:
            return 0
        batch = [(note.channel, note.payload, note.pid) for note in islice(notifies, BATCH)]
        if isinstance(notifies, list):
            queue.extend(then(batch, delitem, notifies, slice(len(batch))))
        else:  # it has popleft()
            queue.extend(compress(batch, starmap(notifies.popleft, repeat((), len(batch)))))
        if failure is not None and not batch:
            raise (self._lost() if self._connection.closed else failure) from failure
        return len(batch)

    def _buffered(self) -> bool:
        if not self._connection.notifies and not self._connection.closed:
            self._move_what_libpq_has()
        return bool(self._connection.notifies)

    def _move_what_libpq_has(self) -> None:
        # Before 2.9.10, notifications that a commit() read stay inside libpq.
        try:
            self._connection.poll()
        except psycopg2.Error as error:
            raise self._lost() from error

    def _encoding(self) -> str:
        # Not connection.encoding, which does not know of a SET of the user's own.
        try:
            name = self._connection.get_parameter_status("client_encoding")
        except psycopg2.Error:  # closed
            name = "UTF8"
        codec: str = psycopg2.extensions.encodings.get(name, "ascii")
        return "utf-8" if codec == "ascii" else codec  # SQL_ASCII

    def _reason_of_loss(self) -> Exception:
        error: Exception = psycopg2.InterfaceError("connection already closed")
        return error
