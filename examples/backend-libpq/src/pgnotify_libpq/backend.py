"""A backend of pgnotify over a synchronous driver on libpq: the five verbs and close()."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import pq

from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.notification import Notification
from pgnotify.protocol import Health
from pgnotify.waiting import is_cut_off, wait_readable
from pgnotify_libpq.driver import Connection

BATCH = 500  # a few hundred, as the protocol requires

# Every name has its schema. Otherwise anybody who may create a function in a schema of the search_path can have us
# call it.
_NOTIFY = "SELECT pg_catalog.pg_notify($1, $2)"
_HEALTH = """\
SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_notification_queue_usage(), pg_catalog.pg_backend_pid(),
    pg_catalog.array_to_json(ARRAY(SELECT pg_catalog.pg_listening_channels()))"""


def wrap(connection: Any) -> LibpqBackend:
    """Return the backend of a connection.

    Raises:
        TypeError: it is something else of the driver's.
    """
    if not isinstance(connection, Connection):
        raise TypeError(f"pass pgnotify_libpq.connect(dsn), not a {type(connection).__qualname__}")
    return LibpqBackend(connection)


class LibpqBackend:
    """LISTEN and NOTIFY on a connection of the driver; the verbs are those of `pgnotify.protocol.Backend`."""

    DatabaseError = psycopg.DatabaseError

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._pgconn = connection.pgconn
        self.server_pid = connection.pgconn.backend_pid  # remembered: libpq forgets it at the end
        self._head: pq.PGnotify | None = None  # taken from libpq by wait(), for the next fetch()

    def listen(self, channel: str) -> None:
        """Listen to a channel; in force on return."""
        self._refuse_transaction("LISTEN")
        self._execute(f"LISTEN {_quoted(channel)}")

    def unlisten(self, channel: str) -> None:
        """Stop listening to a channel; in force on return."""
        self._refuse_transaction("UNLISTEN")
        self._execute(f"UNLISTEN {_quoted(channel)}")

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        """Block until there is something to fetch, or ``wakeup`` is readable."""
        # What a statement has read along with its answer is in libpq's queue, and makes no socket readable.
        self._head = self._head or self._next()
        if self._head is not None:
            return True
        self._refuse_transaction("waiting")
        return wait_readable(self.fileno(), timeout, wakeup)

    def fetch(self) -> list[Notification]:
        """Return the notifications that have arrived, in batches."""
        batch = self._taken()
        # Readable but empty: the server's last words, or the end, which libpq notices only at the second look.
        while not batch and wait_readable(self.fileno(), 0):
            with suppress(psycopg.OperationalError):  # it is the end, and the next look says so
                self._pgconn.consume_input()
            batch = self._taken()
        return batch

    def notify(self, channel: str, payload: str = "") -> None:
        """Send a notification."""
        self._execute(_NOTIFY, channel, payload)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def check(self) -> Health:
        """Ask for the server's state, and for the channels that this connection listens to."""
        self._refuse_transaction("a health check")
        in_recovery, queue_usage, pid, channels = self._execute(_HEALTH)[0]
        return Health(in_recovery == "t", float(queue_usage), pid, frozenset(json.loads(channels)))

    def fileno(self) -> int:
        """Return the socket's descriptor. libpq closes it at the end, and others get its number: ask each time."""
        self._refuse_loss()
        return self._pgconn.socket

    def _execute(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        self._refuse_loss()
        try:
            return self.connection.run(sql, *parameters)
        except psycopg.Error as error:
            # After a reset, libpq notices the end only when it has read the rest.
            if self._pgconn.status != pq.ConnStatus.OK or is_cut_off(self._pgconn.socket):
                raise ConnectionLost("the connection to the server is lost") from error
            raise

    def _next(self) -> pq.PGnotify | None:
        """Take the oldest notification out of libpq's queue, without looking at the socket."""
        with suppress(psycopg.OperationalError):  # closed; on a lost connection the last ones are still there
            return self._pgconn.notifies()
        return None

    def _taken(self) -> list[Notification]:
        batch = [] if self._head is None else [_decoded(self._head)]
        self._head = None
        while len(batch) < BATCH and (taken := self._next()) is not None:
            batch.append(_decoded(taken))
        return batch

    def _refuse_loss(self) -> None:
        if self._pgconn.status != pq.ConnStatus.OK:
            cause = psycopg.OperationalError(self.connection.error_message)
            raise ConnectionLost("the connection to the server is lost") from cause

    def _refuse_transaction(self, what: str) -> None:
        self._refuse_loss()
        if self._pgconn.transaction_status != pq.TransactionStatus.IDLE:
            raise TransactionError(f"{what} is not possible inside an open transaction: commit or roll back first")


def _decoded(taken: pq.PGnotify) -> Notification:
    channel, payload = (part.decode(errors="surrogateescape") for part in (taken.relname, taken.extra))
    return Notification(channel, payload, taken.be_pid)


def _quoted(channel: str) -> str:
    return '"' + channel.replace('"', '""') + '"'
