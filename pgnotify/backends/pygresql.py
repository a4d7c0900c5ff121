"""PyGreSQL, from 5.2.5: pg.Connection, pg.DB and pgdb.Connection, which all hold a pg.Connection.

Its functions ignore the end of a connection and return nothing for ever, so the backend checks for the
end after each call. It has no lock at all: a second thread on the same connection aborts the process.
"""

from __future__ import annotations

import codecs
import weakref
from collections import deque
from collections.abc import Sequence
from itertools import islice
from operator import delitem, methodcaller
from typing import Any

import pg

from pgnotify.atomic import remove_with, then
from pgnotify.backends._driver import DriverBackend
from pgnotify.backends._encodings import encoded
from pgnotify.backends._holder import HolderBackend
from pgnotify.backends._steps import BATCH, Rows, new_name
from pgnotify.backends._transactions import STATUS_OF, TransactionStatus
from pgnotify.backends._versions import libpq_release, protocol_version
from pgnotify.errors import UndecodablePayload
from pgnotify.notification import Plain
from pgnotify.program.interruption import is_interruption
from pgnotify.protocol import Backend, Versions

_ENCODINGS_WITHOUT_CODEC = (None, "SQL_ASCII")

# Not called by name: where PyGreSQL cannot decode a text, it returns with the exception set, and Python notices only
# in a call from C.
_rows_of = methodcaller("getresult")

_CONNECTION_OK = 1  # of pg.Connection.status
_ENDED = TransactionStatus.UNKNOWN


def wrap(connection: Any) -> PyGreSQLBackend | HolderBackend:
    """Return the backend of a pg.Connection, a pg.DB, or a pgdb.Connection.

    Raises:
        TypeError: it is a cursor, or anything else.
    """
    cls = _class_of(connection)
    if issubclass(cls, pg.DB):
        return _Holder(connection, _core_of_db, PyGreSQLBackend)
    # Of the three, only pgdb's has cursors. A subclass of it may have a getnotify() of its own.
    if hasattr(cls, "cursor"):
        return _Holder(connection, _core_of_pgdb, PyGreSQLBackend)
    # Its class has no public name before PyGreSQL 6.
    if hasattr(cls, "getnotify"):
        return PyGreSQLBackend(connection)
    name = f"{type(connection).__module__}.{type(connection).__name__}"
    raise TypeError(f"pass a pg.Connection, a pg.DB or a pgdb.Connection, not a {name}")


def connect(parameters: dict[str, str]) -> Any:
    """Open a pg.Connection, which has no implicit transactions; its client_encoding is UTF8 unless another is given."""
    from pgnotify.connecting.conninfo import serialize
    from pgnotify.connecting.defaults import with_defaults

    connection = _connect(serialize(parameters))
    # PyGreSQL decodes notifications as UTF-8 only. A database without an encoding cannot be asked for it: its server
    # ends a session that it cannot send that to.
    client, server = map(connection.parameter, ("client_encoding", "server_encoding"))
    if client != "UTF8" and server != "SQL_ASCII" and "client_encoding" not in with_defaults(parameters):
        PyGreSQLBackend(connection).query("SET client_encoding TO 'UTF8'")
    elif client not in _ENCODINGS_WITHOUT_CODEC:
        codecs.lookup(client)  # otherwise each statement fails, after a pooler has taken any name for an encoding
    return connection


class _Holder(HolderBackend):
    def _begin_block(self, backend: Backend) -> None:
        # What a cursor of pgdb's does before its first statement. A pg.DB has no transactions that begin by themselves.
        if not isinstance(backend, PyGreSQLBackend) or getattr(self._holder, "autocommit", True):
            return
        if not self._holder._tnx and backend.transaction_status() is TransactionStatus.IDLE:  # private
            backend.query("BEGIN")
            self._holder._tnx = True

    def _closes_for_good(self) -> bool:
        return type(self._holder).close.__module__.partition(".")[0] in ("pg", "pgdb")

    def _close_holder(self) -> None:
        try:
            super()._close_holder()
        except (TypeError, pg.Error):  # refused where end() has closed the connection below
            if isinstance(self._backend, PyGreSQLBackend) and self._backend.transaction_status() is not _ENDED:
                raise


def _class_of(connection: Any) -> type:
    """Return the class of a connection, or the one that a proxy of it claims."""
    try:
        cls: type = connection.__class__
    except TypeError:  # a closed connection has no attributes
        cls = type(connection)
    return cls


def _connect(dsn: str) -> Any:
    try:
        return pg.connect(dsn)  # libpq accepts a connection string as a database name
    except (UnicodeDecodeError, SystemError) as error:
        # libpq's message quotes the server, whose encoding nobody knows yet.
        undecodable = _undecodable_below(error)
        if undecodable is None:
            raise
        raise pg.OperationalError(undecodable.object.decode("utf-8", "backslashreplace").strip()) from undecodable


def _undecodable_below(error: BaseException | None) -> UnicodeDecodeError | None:
    while error is not None and not isinstance(error, UnicodeDecodeError):
        error = error.__cause__
    return error


def _core_of_db(db: Any) -> Any:
    return db.db  # None after it is closed; reopen() replaces it


def _core_of_pgdb(connection: Any) -> Any:
    return connection._cnx  # private, but the only way to its notifications; None after it is closed


class _Inbox:
    """Notifications that wait() had to take from libpq to see whether there are any: one inbox for each connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.ready: list[tuple[str, int, str]] = []
        """Channel, pid and payload of each."""
        self.undecodable: UnicodeDecodeError | None = None


# By id(), because a pg.Connection does not support weak references. An inbox lives as long as a backend
# that uses it. It keeps the connection alive, so that no other one gets the same id.
_inboxes: dict[int, weakref.ref[_Inbox]] = {}


def _inbox_of(connection: Any) -> _Inbox:
    key, made = id(connection), _Inbox(connection)
    return _inboxes.setdefault(key, remove_with(made, _inboxes, key))() or made


class PyGreSQLBackend(DriverBackend):
    """LISTEN and NOTIFY on a pg.Connection.

    PyGreSQL decodes payloads as UTF-8, whatever the client_encoding is. A payload that is not UTF-8 is lost
    inside PyGreSQL. `fetch` returns the earlier notifications, then raises an UndecodablePayload, and the next
    call continues after it. If that matters, set the client_encoding to UTF8.
    """

    DatabaseError = pg.DatabaseError

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._inbox = _inbox_of(connection)

    def fileno(self) -> int:
        """Return the descriptor of the socket; libpq closes it when the connection ends."""
        try:
            descriptor: int = self._connection.fileno()
        except TypeError:  # closed by hand
            descriptor = -1
        if descriptor < 0:
            raise self._lost() from self._reason_of_loss()
        return descriptor

    @property
    def server_pid(self) -> int:
        """See `pgnotify.protocol.NamesServerPid.server_pid`; libpq forgets it with the connection."""
        self._refuse_loss()
        pid: int = self._connection.backend_pid
        return pid

    @property
    def versions(self) -> Versions:
        """See `pgnotify.protocol.NamesVersions.versions`; libpq forgets the protocol with the connection."""
        self._refuse_loss()
        libpq = libpq_release(pg.get_pqlib_version())
        return Versions(f"PyGreSQL {pg.version}", libpq, protocol_version(self._connection.protocol_version))

    def transaction_status(self) -> TransactionStatus:
        """Return libpq's status."""
        if not self._alive():
            return TransactionStatus.UNKNOWN
        return STATUS_OF[self._connection.transaction()]

    def _query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> Rows:
        """Run a statement. There is no implicit BEGIN here; pgdb's is above."""
        self._raise_if_lost()
        encoding = self._encoding()
        # Encoded here, and as bytes: PyGreSQL sends ASCII only where no encoding is declared.
        statement, values = sql.encode(encoding), encoded(parameters, encoding)
        try:
            result = self._execute(sql, statement, values, prepare)
            rows: Rows = _rows_of(result) if hasattr(result, "getresult") else []
        except Exception as error:  # a dead link raises ProgrammingError first, and LookupError later
            if self._has_ended():
                raise self._lost() from error
            if isinstance(error, ValueError) and not str(error) and not is_interruption(error):
                raise pg.InternalError("the server has sent no answer to the statement") from error
            if _undecodable_below(error) is not None and not is_interruption(error):  # in a SystemError
                raise pg.InternalError("the server has sent a message that cannot be decoded") from error
            raise
        return rows

    def _execute(self, sql: str, statement: bytes, values: list[bytes | None], prepare: bool) -> Any:
        connection = self._connection
        if not prepare:
            return connection.query(statement, values) if values else connection.query(statement)
        name = self._prepared.get(sql)
        if name is None:
            name = new_name()
            connection.prepare(name, statement)
            self._prepared[sql] = name
        return connection.query_prepared(name, values)

    def end(self) -> None:
        """Close the connection."""
        try:
            self._connection.close()
        except (TypeError, pg.Error):
            if self._alive():
                raise

    def _closes_for_good(self) -> bool:
        return True  # nobody can derive from the class of these connections

    def _read(self, queue: deque[Plain]) -> int:
        self._take(BATCH)
        ready = self._inbox.ready
        batch = [(channel, payload, pid) for channel, pid, payload in ready]
        queue.extend(then(batch, delitem, ready, slice(len(batch))))
        if not batch:
            self._raise_if_undecodable()
            self._raise_if_lost()
        return len(batch)

    def _buffered(self) -> bool:
        # The only way to see whether libpq has read a notification is to take it.
        self._take(1)
        return bool(self._inbox.ready) or self._inbox.undecodable is not None

    def _take(self, size: int) -> None:
        """Fill the inbox from libpq, which still has the notifications from before the end of the connection."""
        ready = self._inbox.ready
        if self._inbox.undecodable is not None:
            return
        try:
            getnotify = self._connection.getnotify
        except TypeError:  # closed by hand
            return
        try:
            # In C from end to end, so no Ctrl-C can come between taking a notification and keeping it.
            ready.extend(islice(iter(getnotify, None), max(0, size - len(ready))))
        except UnicodeDecodeError as error:
            self._inbox.undecodable = error

    def _raise_if_undecodable(self) -> None:
        error, self._inbox.undecodable = self._inbox.undecodable, None
        if error is not None:
            encoding = self._client_encoding()
            raise UndecodablePayload(
                f"PyGreSQL has lost a notification: it decodes UTF-8 only, and {len(error.object)} bytes are not; "
                f"client_encoding is {encoding}{'' if encoding == 'UTF8' else ', set it to UTF8'}",
                undecodable=error.object,
            ) from error

    def _encoding(self) -> str:
        name = self._client_encoding() or "UTF8"
        try:
            return codecs.lookup(name).name  # as PyGreSQL does it
        except LookupError:  # SQL_ASCII, and those that PyGreSQL cannot encode to
            return "utf-8"

    def _client_encoding(self) -> str | None:
        try:
            encoding: str | None = self._connection.parameter("client_encoding")
        except TypeError:  # closed by hand
            return None
        return encoding

    def _alive(self) -> bool:
        return self._status() == _CONNECTION_OK

    def _status(self) -> int | None:
        try:
            status: int = self._connection.status
        except TypeError:  # closed by hand: its attributes can no longer be read
            return None
        return status

    def _raise_if_lost(self) -> None:
        if not self._alive():
            raise self._lost() from self._reason_of_loss()

    def _reason_of_loss(self) -> Exception:
        reason: Exception  # PyGreSQL itself raises nothing
        try:
            reason = pg.OperationalError(self._connection.error.strip() or "the connection is lost")
        except TypeError:
            reason = pg.InternalError("the connection is closed")
        except UnicodeDecodeError as error:  # the error quotes bytes that are not a message
            reason = pg.OperationalError(f"the connection is lost: {error.object[:200]!r}")
        return reason
