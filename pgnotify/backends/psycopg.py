"""psycopg 3, from 3.1.

Its own `notifies()` is not used: it holds the connection's lock while it waits, and drops the rest
of a batch when it is left early. Instead, the libpq layer's `notify_handler` collects the notifications
that any statement reads along the way, undecoded, and `fetch` reads the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.generators import execute

from pgnotify.backends._driver import DriverBackend
from pgnotify.backends._psycopg import OverPsycopg, in_the_making
from pgnotify.backends._steps import Rows
from pgnotify.backends._transactions import TransactionStatus


def wrap(connection: Any) -> PsycopgBackend:
    """Return the backend of a `psycopg.Connection`.

    Raises:
        TypeError: it is a cursor, a pool, or anything else.
    """
    if isinstance(connection, psycopg.Connection):
        return PsycopgBackend(connection)
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


class PsycopgBackend(OverPsycopg, DriverBackend):
    """LISTEN and NOTIFY on a `psycopg.Connection`.

    From the first listen, wait, fetch or check until the last unlisten, all notifications of the connection
    come here; its own `notifies()` and notify handlers receive none.
    """

    own_close = psycopg.Connection.close

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(connection, connection.lock)

    def _query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> Rows:
        """Run a statement, through psycopg's lock and interruptible by Ctrl-C."""
        connection, has_begun = self._connection, False
        try:
            with connection.lock:
                has_begun = True
                rows: Rows = connection.wait(self._rows(sql, parameters, prepare, joins))
                return rows
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):  # after that psycopg reads on, and its place is unknown
                self._shared_inbox.raw.extend(in_the_making(error))
            if has_begun and not isinstance(error, psycopg.Error):
                self._read_answer()
            if lost := self._loss_by(error):
                raise lost from error
            raise

    def _read_answer(self) -> None:
        """Read the answer to a statement that an interruption has left: otherwise the connection stays busy.

        psycopg cancels the statement, and reads on if the interruption came while it waited. If it came between two
        steps of ours, nobody reads.
        """
        connection = self._connection
        with suppress(psycopg.Error), connection.lock:
            if self.transaction_status() is TransactionStatus.ACTIVE:
                connection.wait(execute(connection.pgconn))

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

    def _return_to_pool(self) -> None:
        pool = self.pool
        if self._connection.closed and getattr(pool, "close_returns", False):
            pool.putconn(self._connection)  # close() does nothing by now, and the pool would wait for it for ever
            self._connection._pool = None
        else:
            super()._return_to_pool()
