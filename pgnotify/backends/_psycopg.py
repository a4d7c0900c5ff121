"""What the backends of psycopg's two kinds of connection share: libpq's state, and the way of its notifications."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple

import psycopg
from psycopg.adapt import AdaptersMap, Loader, Transformer
from psycopg.generators import execute
from psycopg.pq import ExecStatus
from psycopg.pq.misc import PGnotify
from psycopg.types.string import TextLoader

from pgnotify.atomic import then
from pgnotify.backends._collecting import Collecting, Inbox
from pgnotify.backends._encodings import encoded
from pgnotify.backends._steps import BATCH, MORE_TO_READ, Rows, new_name
from pgnotify.backends._transactions import STATUS_OF, TransactionStatus
from pgnotify.backends._versions import libpq_release, protocol_version
from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.notification import Plain
from pgnotify.protocol import Versions

_RETURNED = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)

_encodings: dict[bytes, str] = {b"UTF8": "utf-8"}
"""Python's names by PostgreSQL's; asking psycopg for one takes longer than delivering a notification."""


class _UncheckedLoader(Loader):
    def load(self, data: Any) -> str:
        return bytes(data).decode("utf-8", "surrogateescape")


def _as_text(loader: type[Loader]) -> AdaptersMap:
    """Return adapters that make a str of every column, whatever the user has registered."""
    adapters = AdaptersMap()
    adapters.register_loader(0, loader)  # for all types
    return adapters


_texts, _unchecked_texts = _as_text(TextLoader), _as_text(_UncheckedLoader)


class _Context(NamedTuple):
    adapters: AdaptersMap
    connection: Any


class OverPsycopg(Collecting):
    """The part of a backend that is the same for `psycopg.Connection` and `psycopg.AsyncConnection`."""

    DatabaseError = psycopg.DatabaseError

    def __init__(self, connection: Any, lock: AbstractContextManager[Any]) -> None:
        self._connection = connection
        self._lock = lock
        """Held during each use of libpq's connection."""

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

    @property
    def versions(self) -> Versions:
        """See `pgnotify.protocol.NamesVersions.versions`. libpq tells the protocol's minor version from 18 on."""
        pgconn = self._connection.pgconn
        try:
            protocol = pgconn.full_protocol_version  # since psycopg 3.3
        except (AttributeError, psycopg.NotSupportedError):
            protocol = pgconn.protocol_version
        driver = f"psycopg {psycopg.__version__} ({psycopg.pq.__impl__})"
        return Versions(driver, libpq_release(psycopg.pq.version()), protocol_version(protocol))

    def transaction_status(self) -> TransactionStatus:
        """Return libpq's status."""
        return STATUS_OF[self._connection.pgconn.transaction_status]

    @property
    def pool(self) -> Any:
        """See `pgnotify.protocol.NamesPool.pool`."""
        return getattr(self._connection, "_pool", None)  # private, but other libraries rely on it, too

    def _closes_for_good(self) -> bool:
        return super()._closes_for_good() and not getattr(self.pool, "close_returns", False)

    def _refuse_pipeline(self) -> None:
        if self._connection.pgconn.pipeline_status:
            raise TransactionError("a connection in pipeline mode cannot listen or notify: leave the pipeline first")

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
        with self._lock:
            take(self._connection.pgconn, inbox.raw)

    def _rows(
        self, sql: str, parameters: Sequence[str | None], prepare: bool, joins: bool
    ) -> Generator[Any, Any, Rows]:
        """Run a statement below psycopg's cursors, as a generator of psycopg's; return the rows of its last result.

        So no transaction begins unless it joins, and neither the user's adapters nor each % matter.
        """
        self._refuse_pipeline()
        if self.transaction_status() is TransactionStatus.IDLE:
            self._refuse_prepared("a statement")
        pgconn, encoding = self._connection.pgconn, self._encoding()
        statement, values = sql.encode(encoding), encoded(parameters, encoding)
        if joins:
            yield from self._connection._start_query()  # private; sends the user's BEGIN if it is due
        if prepare:
            name = self._prepared.get(sql)
            if name is None:
                name = new_name()
                pgconn.send_prepare(name.encode(), statement)
                yield from self._last_result(encoding)
                self._prepared[sql] = name
            pgconn.send_query_prepared(name.encode(), values)
        elif values:
            pgconn.send_query_params(statement, values)
        else:
            pgconn.send_query(statement)
        result = yield from self._last_result(encoding)
        return self._loaded(result)

    def _last_result(self, encoding: str) -> Generator[Any, Any, Any]:
        results = yield from execute(self._connection.pgconn)
        if not results:
            raise psycopg.InternalError("the server has sent no answer to the statement")
        for result in results:
            if result.status not in _RETURNED:
                raise psycopg.errors.error_from_result(result, encoding)
        return results[-1]

    def _loaded(self, result: Any) -> Rows:
        """Return the rows of a result; in C, unless the client_encoding is SQL_ASCII."""
        if not result.nfields:
            return [()] * int(result.ntuples)
        self._encoding()  # refuses one that Python lacks, with which psycopg 3.1 crashes
        is_ascii = self._connection.pgconn.parameter_status(b"client_encoding") == b"SQL_ASCII"
        transformer = Transformer(_Context(_unchecked_texts if is_ascii else _texts, self._connection))
        transformer.set_pgresult(result)
        rows: Rows = transformer.load_rows(0, result.ntuples, tuple)
        return rows

    def _loss_by(self, error: BaseException) -> ConnectionLost | None:
        """Return the error for a statement that has failed because the connection has ended; None if it has not."""
        if not isinstance(error, psycopg.Error) or not self._has_ended():
            return None
        with suppress(psycopg.Error):  # closed by hand
            self._move_what_libpq_has(self._inbox())  # its holder may close it next
        return self._lost()

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
            with self._lock:
                pgconn = self._connection.pgconn
                while (before := len(raw)) < BATCH:
                    try:
                        pgconn.consume_input()  # at most 16 kB
                    finally:  # after the end of the connection, libpq still has what it had read before
                        take(pgconn, raw)
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


def take(pgconn: Any, raw: list[Any]) -> None:
    """Take the notifications that libpq has."""
    try:
        # In C from end to end, so no signal handler comes between taking a notification and keeping it: only into the
        # making of the object, which is Python code.
        raw.extend(iter(pgconn.notifies, None))
    except BaseException as error:
        raw.extend(in_the_making(error))
        raise


def in_the_making(error: BaseException) -> list[PGnotify]:
    """Return the notification that psycopg was making when a signal handler raised. libpq no longer has it."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code is PGnotify.__new__.__code__:
            given = traceback.tb_frame.f_locals
            return [PGnotify(given["relname"], given["be_pid"], given["extra"])]
        traceback = traceback.tb_next
    return []
