"""pg8000, from 1.31: its native, dbapi and legacy connections, which are one core.

pg8000 reads notifications only along with a query, keeps the last 100, and decodes them as ASCII. One
that is not ASCII fails during a statement and shifts all later answers by one. So its handler for that
message is replaced while we listen, and `fetch` reads the socket itself. There is no public way to do
either. Tests against the oldest and the newest release check the private names used here.
"""

from __future__ import annotations

import codecs
import io
import socket
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pg8000.core
import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError

from pgnotify.atomic import then
from pgnotify.backends._collecting import Collecting, Inbox
from pgnotify.backends._driver import DriverBackend
from pgnotify.backends._encodings import encoded
from pgnotify.backends._messages import (
    DATA_ROW,
    HEAD,
    LONGEST_NOTIFICATION,
    NOTIFICATION,
    PID,
    ROW_DESCRIPTION,
    bind_and_execute,
    parse,
    parse_all,
    parsed,
    parsed_row,
    query,
)
from pgnotify.backends._pg8000_messages import (
    LONGEST_MESSAGE,
    NO_SUCH_MESSAGE,
    PARAMETER_STATUS,
    READY_FOR_QUERY,
    NotAMessageError,
    is_whole,
    parsed_until_one_fails,
    read_answer,
    read_message,
    read_rest,
)
from pgnotify.backends._steps import BATCH, Rows, new_name
from pgnotify.backends._transactions import TransactionStatus
from pgnotify.errors import ConnectionLost, Unanswered
from pgnotify.notification import Plain
from pgnotify.program.interruption import is_interruption
from pgnotify.protocol import Versions
from pgnotify.waiting import wait_readable

_UNNAMED = b""

# A server sends a message in one go. If its rest does not come for this long, the connection is given up. Half a
# message cannot be put back, and on a link that swallows everything the wait would last for ever.
REST_SECONDS = 10.0

_LOSSES = (InterfaceError, OSError)

# Below the checks of a stream of ours, and in C: no interruption comes between it and the next step.
_read_buffered = io.BufferedRWPair.read

_PREPARED = b"""\
SELECT 1 FROM pg_catalog.pg_prepared_xacts WHERE gid OPERATOR(pg_catalog.=) $1::pg_catalog.text
AND database OPERATOR(pg_catalog.=) pg_catalog.current_database()"""

_IDLE, _IN_TRANSACTION = TransactionStatus.IDLE, TransactionStatus.IN_TRANSACTION
_TRANSACTION_STATUS = {
    None: TransactionStatus.IDLE,  # no statement has run yet
    b"I": TransactionStatus.IDLE,
    b"T": TransactionStatus.IN_TRANSACTION,
    b"E": TransactionStatus.IN_FAILED_TRANSACTION,
}


def wrap(connection: Any) -> Pg8000Backend:
    """Return the backend of a pg8000 connection.

    Raises:
        TypeError: it is a cursor, or anything else.
    """
    if isinstance(connection, pg8000.core.CoreConnection):
        return Pg8000Backend(connection)
    name = f"{type(connection).__module__}.{type(connection).__name__}"
    if name.endswith("Cursor"):
        raise TypeError("pass the pg8000 connection, not a cursor: cursor.connection")
    raise TypeError(f"pass a pg8000 connection, not a {name}")


def connect(parameters: dict[str, str]) -> Any:
    """Open a pg8000.native.Connection, which has no implicit transactions."""
    from pgnotify.backends import _pg8000_connect  # TLS, hosts and the environment: only needed to connect

    return _pg8000_connect.connect(parameters)


# Where a connection keeps why it has ended; see `Pg8000Backend._death`.
_DEATH = "_pgnotify_death"


class Pg8000Backend(Collecting, DriverBackend):
    """LISTEN and NOTIFY on a pg8000 connection.

    From the first listen, wait, fetch or check until the last unlisten, all notifications of the connection
    come here; its own `notifications` receives none.
    """

    DatabaseError = DatabaseError
    own_close = pg8000.core.CoreConnection.close

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._rest_seconds = REST_SECONDS
        self._leaves_rest = False
        """Whether a message that has not arrived in full is left for later."""
        self._has_left_rest = False

    def limit_rest(self, seconds: float) -> None:
        """See `pgnotify.protocol.LimitsRest.limit_rest`."""
        self._rest_seconds = seconds

    @property
    def _death(self) -> Exception | None:
        """Why the connection ended; shared by all backends on it, because only the first reader meets the reason.

        The connection keeps it. The frames of its traceback refer to the connection, so the inbox must not.
        """
        death: Exception | None = self._connection.__dict__.get(_DEATH)
        return death

    @_death.setter
    def _death(self, death: Exception) -> None:
        self._connection.__dict__[_DEATH] = death

    @property
    def busy(self) -> bool:
        """Whether the connection is in use in this thread. pg8000 keeps no record of that, but the stack shows it."""
        frame = sys._getframe()
        while frame.f_back is not None:
            frame = frame.f_back
            if frame.f_code in _AT_WORK or frame.f_globals.get("__name__", "").partition(".")[0] == "pg8000":
                return True
        return False

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        if self._connection._usock is None:
            raise self._lost() from self._reason_of_loss()
        descriptor: int = self._connection._usock.fileno()
        return descriptor

    @property
    def server_pid(self) -> int:
        """See `pgnotify.protocol.NamesServerPid.server_pid`; pg8000 remembers it even after the end."""
        key = self._connection._backend_key_data  # None where a pooler sends none
        (pid,) = PID.unpack_from(key or bytes(PID.size))
        return int(pid)

    @property
    def versions(self) -> Versions:
        """See `pgnotify.protocol.NamesVersions.versions`."""
        return Versions(f"pg8000 {pg8000.__version__}", None, "3.0")  # core.py: protocol = 196608

    def transaction_status(self) -> TransactionStatus:
        """Return the status that the server reported after the last statement.

        IN_TRANSACTION also between tpc_begin() and the first statement, and after tpc_prepare(): the server knows of
        no transaction then, and pg8000 remembers that the user has one.
        """
        connection = self._connection
        if self._death is not None or connection._usock is None:
            return TransactionStatus.UNKNOWN
        status = _TRANSACTION_STATUS.get(connection._transaction_status, TransactionStatus.UNKNOWN)
        return _IN_TRANSACTION if connection._xid is not None and status is _IDLE else status

    def _query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> Rows:
        """Run a statement, below the implicit BEGIN and the paramstyle of pg8000's DB-API."""
        if self._death is not None:
            raise self._lost() from self._death
        connection, encoding = self._connection, self._encoding()
        # Encoded before anything is sent, and not as pg8000 does it: that sends ASCII only in SQL_ASCII.
        statement, values = sql.encode(encoding), encoded(parameters, encoding) if parameters else []
        if connection._xid is not None:
            self._begin_two_phase(connection._xid)
        elif joins and not getattr(connection, "autocommit", True) and self.transaction_status() is _IDLE:
            self._run(query(b"begin transaction"))
        if prepare:
            return self._run_prepared(sql, statement, values)
        return self._run(
            parse(_UNNAMED, statement) + bind_and_execute(_UNNAMED, values) if values else query(statement)
        )

    def _run_prepared(self, sql: str, statement: bytes, values: list[bytes | None]) -> Rows:
        name = self._prepared.get(sql)
        if name is not None:
            return self._run(bind_and_execute(name.encode(), values))
        name = new_name()
        rows = self._run(parse(name.encode(), statement) + bind_and_execute(name.encode(), values))
        self._prepared[sql] = name
        return rows

    def _run(self, messages: bytes) -> Rows:
        """Send the messages of a statement, and return its rows, in one round trip; execute_unnamed() takes three."""
        stream = self._connection._sock
        context = _Context()
        try:
            if stream is None:
                raise InterfaceError("connection is closed")
            pg8000.core._write(stream, messages)
            pg8000.core._flush(stream)
            self._take_answers(context)
        except DatabaseError:
            raise
        except BaseException as error:
            if isinstance(error, _LOSSES) and not is_interruption(error):
                raise self._lost_by(error) from error
            self._death = _interrupted()
            raise
        return context.texts

    def end(self) -> None:
        """Close the connection."""
        stream = self._connection._sock
        if stream is None:
            return
        # pg8000 says goodbye to a server that may be gone. Then it leaves the stream, and with it the
        # descriptor, to the garbage collector.
        with suppress(InterfaceError, OSError):
            pg8000.core.CoreConnection.close(self._connection)
        with suppress(OSError, ValueError):
            stream.close()

    def _return_to_pool(self) -> None:
        with suppress(InterfaceError, OSError):
            super()._return_to_pool()

    def _begin_two_phase(self, xid: tuple[Any, ...]) -> None:
        """Begin the transaction of the user's tpc_begin(), which sends no BEGIN itself; do nothing if it has begun.

        Raises:
            TransactionError: it is prepared already.
        """
        if _TRANSACTION_STATUS.get(self._connection._transaction_status) is not _IDLE:
            return
        gid = str(xid[1]).encode(self._encoding())
        if self._run(parse(_UNNAMED, _PREPARED) + bind_and_execute(_UNNAMED, (gid,))):
            self._refuse_prepared("a statement")
        self._run(query(b"BEGIN"))

    def _in_prepared_transaction(self) -> bool:
        return self._connection._xid is not None  # if it has begun, the connection is not idle

    def _take_answers(self, context: _Context) -> None:
        """Take messages until the server is ready for the next statement."""
        code = b""
        while code != READY_FOR_QUERY:
            code, body = read_answer(self._connection._sock)
            self._process(code, body, context)
        if context.error is not None:
            raise context.error

    def _process(self, code: bytes, body: bytes, context: Any) -> None:
        """Take a row, and have pg8000 process any other message.

        Raises:
            NotAMessageError: its contents are impossible.
        """
        connection = self._connection
        try:
            if code == DATA_ROW:
                context.texts.append(parsed_row(body, self._encoding()))
                return
            if code == ROW_DESCRIPTION:  # of the next statement, if there are several
                context.texts = []
                return
            connection.message_types[code](body, context)
            if code == READY_FOR_QUERY:
                _TRANSACTION_STATUS[body]
            elif code == PARAMETER_STATUS:
                codecs.lookup(connection._client_encoding)
        except NO_SUCH_MESSAGE as error:
            if is_interruption(error):
                raise
            raise NotAMessageError(f"the server has sent a message {code!r} with impossible contents") from error

    def _receiver(self) -> Any:
        # None is the driver's own: that refers to the connection, and the inbox must not, or neither is ever deleted.
        receiver = self._connection.message_types[NOTIFICATION]
        return None if receiver == self._connection.handle_NOTIFICATION_RESPONSE else receiver

    def _divert(self, receive: Callable[[Any], None]) -> None:
        self._connection.message_types[NOTIFICATION] = lambda body, context: receive(body)

    def _restore(self, previous: Any) -> None:
        own = self._connection.handle_NOTIFICATION_RESPONSE
        self._connection.message_types[NOTIFICATION] = own if previous is None else previous

    def _move_backlog(self, taker: list[Plain]) -> None:
        backlog = self._connection.notifications
        taken = [(channel, payload, pid) for pid, channel, payload in backlog]
        taker.extend(then(taken, backlog.clear))

    def _buffered(self) -> bool:
        inbox = self._inbox()
        if inbox.raw or inbox.decoded:
            return True
        if self.transaction_status() is TransactionStatus.UNKNOWN:
            return False
        try:
            return bool(self._peek())
        except OSError:
            return True  # fetch() raises the reason

    def fetch_into(self, queue: deque[Plain]) -> None:
        """See `pgnotify.protocol.FetchesInto.fetch_into`."""
        # It sees the end at the first look, so no second one is needed.
        inbox = self._inbox()
        before = len(queue)
        if inbox.raw or inbox.decoded:
            self._move(inbox, queue)
        full = before + BATCH
        while len(queue) < full and self._read_more(inbox, queue):
            pass
        if len(queue) == before and self._death is not None:
            raise self._lost() from self._death

    def fetch_whole(self, queue: deque[Plain]) -> bool:
        """See `pgnotify.protocol.FetchesWhole.fetch_whole`."""
        self._leaves_rest, self._has_left_rest = True, False
        try:
            self.fetch_into(queue)
        finally:
            self._leaves_rest = False
        return self._has_left_rest

    def _read(self, queue: deque[Plain]) -> int:
        before = len(queue)
        self.fetch_into(queue)
        return len(queue) - before

    def _decoded(self, raw: Sequence[bytes]) -> list[Plain]:
        encoding = self._encoding()
        try:
            return [parsed(body, encoding) for body in raw]
        except NO_SUCH_MESSAGE as error:
            if is_interruption(error):
                raise
            self._death = error
            return list(parsed_until_one_fails(raw, encoding))

    def _read_more(self, inbox: Inbox, queue: deque[Plain]) -> bool:
        """Read the messages that have begun to arrive; return whether there may be more."""
        if _DEATH in self._connection.__dict__ or self._connection._usock is None:
            self._death = self._reason_of_loss()
            return False
        try:
            data = self._peek()
            if not data:
                if data is not None and self._at_end():
                    raise InterfaceError("the server has closed the connection")
                return False
            batch: list[Plain] = []
            consumed = parse_all(data, batch, self._encoding())
            if consumed:  # they are already in the buffer: no system call
                queue.extend(then(batch, _read_buffered, self._connection._sock, consumed))
            elif self._leaves_rest and not self._has_arrived(data):
                self._has_left_rest = True
                return False
            else:
                self._read_one_message(queue)
        except (*_LOSSES, DatabaseError, *NO_SUCH_MESSAGE) as error:
            if is_interruption(error):
                raise
            self._death = error
            return False
        return consumed != len(data) or consumed == io.DEFAULT_BUFFER_SIZE

    def _lost_by(self, error: Exception) -> ConnectionLost:
        """Take in the notifications that had arrived before a statement failed; return the error of the loss."""
        self._death = error
        # A statement fails between two messages, or in one that is not whole. The system still has what had arrived,
        # even after an RST. But after bytes that are not a message, nobody knows where the next one begins.
        usock, inbox = self._connection._usock, self._inbox()
        left = LONGEST_MESSAGE  # more than the system keeps; a server that goes on sending is not waited for
        try:
            if usock is not None:
                usock.settimeout(self._rest_seconds)  # for good: nobody uses this connection any more
            while left > 0 and usock is not None and not isinstance(error, NotAMessageError) and self._peek():
                deadline = time.monotonic() + self._rest_seconds
                code, body = read_message(self._connection._sock, partial(read_rest, usock, deadline))
                left -= HEAD.size + len(body)
                if code == NOTIFICATION:
                    inbox.raw.append(body)
        except (*_LOSSES, *NO_SUCH_MESSAGE) as end:
            if is_interruption(end):
                raise
        return self._lost()

    def _read_one_message(self, queue: deque[Plain]) -> None:
        """Take a message that has not arrived in full, or have pg8000 take one that is not a notification."""
        usock = self._connection._usock
        timeout = usock.gettimeout()
        context = pg8000.core.Context(None)  # no row comes by itself
        try:
            seconds = self._rest_seconds if timeout is None else timeout
            usock.settimeout(seconds)
            code, body = read_message(self._connection._sock, partial(read_rest, usock, time.monotonic() + seconds))
            if code == NOTIFICATION:
                queue.append(parsed(body, self._encoding()))
            else:
                self._process(code, body, context)
        except BaseException as error:
            self._note_interruption(error)
            raise
        finally:
            usock.settimeout(timeout)
        if context.error is not None:  # not an answer: the server says goodbye
            raise context.error

    def _peek(self) -> bytes | None:
        """Return the buffered bytes, or read at most a buffer's worth.

        Returns:
            None if there are none, ``b""`` at the end; without TLS ``b""`` for both, see `_at_end`.
        """
        usock = self._connection._usock
        timeout = usock.gettimeout()
        try:
            usock.settimeout(0)
            data: bytes = self._connection._sock.peek(1)
        except (ssl.SSLWantReadError, BlockingIOError):
            return None
        except BaseException as error:
            self._note_interruption(error)
            raise
        finally:
            usock.settimeout(timeout)
        return data

    def _has_arrived(self, data: bytes) -> bool:
        """Return whether the first message of the buffered bytes has arrived in full, or is not a message at all."""
        usock = self._connection._usock
        if isinstance(usock, ssl.SSLSocket):
            return is_whole(data) or (len(data) >= HEAD.size and is_whole(data + bytes(usock.pending())))
        timeout = usock.gettimeout()
        try:
            usock.settimeout(0)
            more = usock.recv(LONGEST_NOTIFICATION, socket.MSG_PEEK)
        except BlockingIOError:
            more = b""
        finally:
            usock.settimeout(timeout)
        return is_whole(data + more)

    def _note_interruption(self, error: BaseException) -> None:
        """Give the connection up after an interruption: some bytes may be lost, and later messages would be misread."""
        if is_interruption(error):
            self._death = _interrupted()

    def _at_end(self) -> bool:
        usock = self._connection._usock
        if isinstance(usock, ssl.SSLSocket):
            return True
        return wait_readable(usock.fileno(), 0) and usock.recv(1, socket.MSG_PEEK) == b""

    def _encoding(self) -> str:
        encoding: str = self._connection._client_encoding
        return "utf-8" if encoding == "ascii" else encoding  # SQL_ASCII

    def _lost(self) -> ConnectionLost:
        death = self._death
        if death is not None and isinstance(
            death.__cause__ or death, TimeoutError
        ):  # some releases wrap the TimeoutError
            return Unanswered("the rest of a message did not arrive in time")
        return super()._lost()

    def _reason_of_loss(self) -> Exception:
        return self._death or InterfaceError("connection is closed")


# While these run, half a message may have been read or written.
_AT_WORK = frozenset({Pg8000Backend._query.__code__, Pg8000Backend._read_one_message.__code__})


class _Context(pg8000.core.Context):  # type: ignore[misc]  # pg8000 has no types
    """The context of a statement of ours. Its rows are not asked of pg8000, where the user's adapters convert them."""

    def __init__(self) -> None:
        super().__init__(None)
        self.texts: Rows = []
        """The rows."""


def _interrupted() -> InterfaceError:
    return InterfaceError("interrupted in the middle of a message")
