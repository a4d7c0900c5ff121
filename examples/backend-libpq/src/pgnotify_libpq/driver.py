"""A synchronous driver in some sixty lines: libpq, called through `psycopg.pq`.

It knows nothing of pgnotify. It stands for the driver that you have.
"""

from __future__ import annotations

import select

from psycopg import OperationalError, pq
from psycopg.pq import PollingStatus


class Connection:
    """A connection to PostgreSQL, in autocommit mode. One thread uses it at a time.

    Attributes:
        pgconn: libpq's connection.
    """

    def __init__(self, dsn: str) -> None:
        self.pgconn = pq.PGconn.connect_start(dsn.encode())
        while (wants := self.pgconn.connect_poll()) in (PollingStatus.READING, PollingStatus.WRITING):
            poller = select.poll()
            poller.register(self.pgconn.socket, select.POLLIN if wants == PollingStatus.READING else select.POLLOUT)
            poller.poll()
        if self.pgconn.status != pq.ConnStatus.OK:
            raise OperationalError(self.error_message)
        self.run("SET client_encoding TO 'UTF8'")

    @property
    def error_message(self) -> str:
        """What libpq said last."""
        return self.pgconn.get_error_message()

    def run(self, sql: str, *parameters: str) -> list[tuple[str | int | None, ...]]:
        """Run one statement, with $1, $2 … for the parameters, and return its rows, as texts and integers.

        Raises:
            OperationalError: the server has refused it, or is gone.
        """
        encoded = [parameter.encode(errors="surrogateescape") for parameter in parameters]
        result = self.pgconn.exec_params(sql.encode(), encoded)
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            raise OperationalError(result.get_error_message())
        types = [_INTEGERS.get(result.ftype(column), _decoded) for column in range(result.nfields)]
        return [
            tuple(
                None if (value := result.get_value(row, column)) is None else as_type(value)
                for column, as_type in enumerate(types)
            )
            for row in range(result.ntuples)
        ]

    def close(self) -> None:
        """Close the connection. A second call does nothing."""
        self.pgconn.finish()


def connect(dsn: str) -> Connection:
    """Return a new connection, for a connection string of libpq's."""
    return Connection(dsn)


def _decoded(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


_INTEGERS = {20: int, 21: int, 23: int}  # the oids of bigint, smallint and integer
