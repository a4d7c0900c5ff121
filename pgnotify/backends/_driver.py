"""The common part of the backends of SQL drivers: the verbs, the statements behind them, the wait.

A driver's module adds how *its* connection runs a statement, reads notifications, and ends.
"""

from __future__ import annotations

import abc
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import repeat
from typing import Any, ClassVar, Protocol

from pgnotify.backends._encodings import refuse_changed
from pgnotify.backends._health import IN_UTF8, VALUES, health_of, health_query
from pgnotify.backends._transactions import TransactionStatus, in_open_transaction
from pgnotify.connecting.retryable import message_of, sqlstate_of
from pgnotify.errors import ConnectionLost, PayloadError, PgNotifyError, TransactionError
from pgnotify.notification import Notification, Plain, new
from pgnotify.protocol import Health
from pgnotify.waiting import is_cut_off, wait_readable

# A batch, in notifications: long enough that the cost of a batch does not show, short enough that
# a backlog of millions is never in memory twice.
BATCH = 500

# A connection with more batches than this is not worth keeping: to open another one takes less time (5 ms).
BATCHES_TO_DROP = 20

# A read that brings fewer notifications than this leaves none behind: a buffer of 16 kB takes two of the longest.
# For a notification that comes alone, looking again would cost more than everything else does.
MORE_TO_READ = 2

# Every name has its schema, each operator too, and each parameter its type. Otherwise the server looks along the
# search_path, and there another role may have made a function that fits better. It would run with our rights.
#
# Parameters are texts to the server, whatever type a driver gives them, and so are results: texts are what `query`
# keeps from what users have registered with their drivers.
NOTIFY = "SELECT pg_catalog.pg_notify({}::pg_catalog.text, {}::pg_catalog.text)::pg_catalog.text"
NOTIFY_MANY = """\
SELECT pg_catalog.count(
    pg_catalog.pg_notify(pair OPERATOR(pg_catalog.->>) 0, pair OPERATOR(pg_catalog.->>) 1))::pg_catalog.text
FROM pg_catalog.json_array_elements({}::pg_catalog.text::pg_catalog.json) AS pair"""

_INSUFFICIENT_PRIVILEGE = "42501"
_UNTRANSLATABLE_CHARACTER = "22P05"

# For the rest of the session, but only if nobody has named it.
NAME_SESSION = """\
SELECT pg_catalog.set_config('application_name', {}::pg_catalog.text, false)
WHERE pg_catalog.current_setting('application_name') OPERATOR(pg_catalog.=) ''"""


def quoted(channel: str) -> str:
    """Return the name as an SQL identifier."""
    return '"' + channel.replace('"', '""') + '"'


class DriverBackend(abc.ABC):
    """A backend over a driver that runs SQL and has a descriptor to wait for."""

    DatabaseError: type[Exception]
    """The driver's class with this name."""

    _connection: Any

    placeholders: ClassVar[tuple[str, str]] = ("$1", "$2")
    """The driver's notation for the first and the second parameter of a statement."""

    own_close: ClassVar[Callable[[Any], Any] | None] = None
    """The method ``close`` of the driver's class. A connection with another one may return to a pool instead."""

    _forbidden: tuple[tuple[str, str], ...] = ()
    """The values of a health check that the role may not ask for, each with the server's reason."""

    _returned = False
    """Whether the connection is back in its pool, where others may use it."""

    # The verbs.

    def listen(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.listen`."""
        self._refuse_transaction("LISTEN")
        with self._listening_to((channel,)):
            self.query(f"LISTEN {quoted(channel)}")

    def listen_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.ListensMany.listen_many`."""
        self._refuse_transaction("LISTEN")
        if not channels:
            return
        # Without parameters, several statements may be sent together. They are one transaction then.
        with self._listening_to(channels):
            self.query("; ".join(f"LISTEN {quoted(channel)}" for channel in channels))

    def unlisten(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.unlisten`."""
        self._refuse_transaction("UNLISTEN")
        self.query(f"UNLISTEN {quoted(channel)}")
        self._listened.discard(channel)
        self._end_listening(channel)

    def unlisten_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.UnlistensMany.unlisten_many`."""
        self._refuse_transaction("UNLISTEN")
        if not channels:
            return
        self.query("; ".join(f"UNLISTEN {quoted(channel)}" for channel in channels))
        for channel in channels:
            self._listened.discard(channel)
            self._end_listening(channel)

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        """See `pgnotify.protocol.Backend.wait`."""
        if self.transaction_status() is not TransactionStatus.IDLE:
            if self._lost_with_some_left():
                return True  # notifications from before the end are fetched first
            self._refuse_transaction("waiting")
        return self._buffered() or wait_readable(self.fileno(), timeout, wakeup)

    def fetch(self) -> list[Notification]:
        """See `pgnotify.protocol.Backend.fetch`."""
        return list(map(new, repeat(Notification), self.fetch_plain()))

    def fetch_plain(self) -> list[Plain]:
        """See `pgnotify.protocol.FetchesPlain.fetch_plain`."""
        queue: deque[Plain] = deque()
        self.fetch_into(queue)
        return list(queue)

    def fetch_into(self, queue: deque[Plain]) -> None:
        """See `pgnotify.protocol.FetchesInto.fetch_into`."""
        # Readable but empty: other traffic, with more after it, or the end of the connection, which
        # the drivers notice only at the second look.
        while not self._read(queue):
            if not wait_readable(self.fileno(), 0):
                break

    def notify(self, channel: str, payload: str = "") -> None:
        """See `pgnotify.protocol.Backend.notify`."""
        refuse_changed(self._encoding(), (channel,), (payload,))
        self.query(NOTIFY.format(*self.placeholders), (channel, payload))

    def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """See `pgnotify.protocol.NotifiesMany.notify_many`."""
        notifications = list(notifications)
        refuse_changed(self._encoding(), (pair[0] for pair in notifications), (pair[1] for pair in notifications))
        # One parameter of a type that every driver can bind, however many notifications there are.
        # Not escaped to ASCII: a server with an encoding other than UTF-8 refuses the escapes.
        pairs = json.dumps(notifications, ensure_ascii=False)
        self.query(NOTIFY_MANY.format(self.placeholders[0]), (pairs,))

    def check(self) -> Health:
        """See `pgnotify.protocol.ChecksHealth.check`."""
        self._refuse_transaction("a health check")
        try:
            return self._health(self._forbidden)
        except self.DatabaseError as error:
            if sqlstate_of(error) != _INSUFFICIENT_PRIVILEGE:
                raise
        self._forbidden = tuple(self._find_forbidden())
        return self._health(self._forbidden)

    def _health(self, left_out: tuple[tuple[str, str], ...]) -> Health:
        codec = self._encoding()
        try:
            ((answer,),) = self.query(health_query(dict(left_out)))
        except self.DatabaseError as error:
            if sqlstate_of(error) != _UNTRANSLATABLE_CHARACTER:
                raise
            # The client's encoding has changed since the LISTEN.
            codec = "utf-8"
            ((answer,),) = self.query(health_query(dict(left_out), IN_UTF8))
        return health_of(answer, codec, left_out)

    def _find_forbidden(self) -> Iterator[tuple[str, str]]:
        """Yield each value of a health check that the role may not ask for, and the server's reason."""
        for name in VALUES:
            try:
                self.query(health_query(VALUES.keys() - {name}))
            except self.DatabaseError as error:
                if sqlstate_of(error) != _INSUFFICIENT_PRIVILEGE:
                    raise
                yield name, message_of(error)

    def name_session(self, name: str) -> None:
        """See `pgnotify.protocol.NamesSession.name_session`."""
        self.query(NAME_SESSION.format(self.placeholders[0]), (name,))

    def close(self) -> None:
        """See `pgnotify.protocol.Backend.close`. A connection that only returns to a pool is released first."""
        if self._returned:
            return
        if self._closes_for_good():
            self.end()
            return
        release_or_end(self)
        self._returned = True
        self._return_to_pool()

    # Beyond the verbs.

    @abc.abstractmethod
    def end(self) -> None:
        """See `pgnotify.protocol.Ends.end`."""

    def release(self) -> None:
        """See `pgnotify.protocol.Releases.release`."""
        if self._listened:
            self.unlisten_many(sorted(self._listened))
        self._drop_arrived()

    @property
    def connection(self) -> Any:
        """See `pgnotify.protocol.NamesConnection.connection`."""
        return self._connection

    @property
    def busy(self) -> bool:
        """See `pgnotify.protocol.Busy.busy`."""
        return self.transaction_status() is TransactionStatus.ACTIVE

    @property
    @abc.abstractmethod
    def server_pid(self) -> int:
        """See `pgnotify.protocol.NamesServerPid.server_pid`.

        Raises:
            ConnectionLost: the connection has ended, and its driver does not remember.
        """

    @abc.abstractmethod
    def fileno(self) -> int:
        """Return the current descriptor of the driver's socket.

        Raises:
            ConnectionLost: there is no descriptor any longer.
        """

    @abc.abstractmethod
    def transaction_status(self) -> TransactionStatus:
        """Return the state of the transaction, without asking the server; UNKNOWN if the connection has ended."""

    @abc.abstractmethod
    def query(self, sql: str, parameters: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows, none if it has none.

        Parameters are sent as they are, and texts are returned as they are, whatever adapters and factories the user
        has registered with the driver. Results of other types may be anything.

        If the connection is idle, the statement runs in a transaction of its own, which commits. If a
        transaction of the user's is open, it runs in that. The connection's mode is the same afterwards.

        Raises:
            ConnectionLost: the server is gone; other errors are the driver's own.
        """

    # For a driver's module to implement.

    @abc.abstractmethod
    def _encoding(self) -> str:
        """Return Python's name of the client_encoding, as the driver encodes and decodes it; UTF-8 for SQL_ASCII."""

    @abc.abstractmethod
    def _read(self, queue: deque[Plain]) -> int:
        """Read a batch of notifications without waiting, move it into a queue, and return its size.

        Raises:
            ConnectionLost: the connection has ended, and none is left.
        """

    @abc.abstractmethod
    def _buffered(self) -> bool:
        """Whether the driver has buffered a notification, which makes no descriptor readable."""

    @cached_property
    def _listened(self) -> set[str]:
        """The channels that this backend has listened to, or may have: after a Ctrl-C this is unknown."""
        return set()

    @contextmanager
    def _listening_to(self, channels: Sequence[str]) -> Iterator[None]:
        refuse_changed(self._encoding(), channels)
        new = [channel for channel in channels if channel not in self._listened]
        self._listened.update(new)
        for channel in channels:
            self._begin_listening(channel)
        try:
            yield
        except self.DatabaseError:  # refused by the server: none of them is listened to
            self._listened.difference_update(new)
            for channel in new:
                self._end_listening(channel)
            raise

    def _drop_arrived(self) -> None:
        for _ in range(BATCHES_TO_DROP):
            try:
                if not self.fetch_plain():
                    return
            except PayloadError:  # about one that the driver has dropped by itself
                continue
        raise PgNotifyError(f"more than {BATCHES_TO_DROP * BATCH} notifications have arrived and were not fetched")

    def _closes_for_good(self) -> bool:
        return getattr(type(self._connection), "close", None) is type(self).own_close

    def _return_to_pool(self) -> None:
        self._connection.close()

    def _begin_listening(self, channel: str) -> None:
        """Prepare the driver; called before each LISTEN."""

    def _end_listening(self, channel: str) -> None:
        """Undo the preparation; called after each UNLISTEN."""

    def _lost_with_some_left(self) -> bool:
        return self.transaction_status() is TransactionStatus.UNKNOWN and self._buffered()

    def _has_ended(self) -> bool:
        """Whether the connection has ended. After a failed statement, libpq notices only when it has read the rest."""
        try:
            return is_cut_off(self.fileno())
        except ConnectionLost:
            return True

    def _refuse_loss(self) -> None:
        if self.transaction_status() is TransactionStatus.UNKNOWN:
            raise self._lost() from self._reason_of_loss()

    def _refuse_prepared(self, what: str) -> None:
        """Refuse a statement between tpc_prepare() and the end of that transaction, where the DB-API allows none.

        The server has no transaction there, so the statement would be outside the user's, and outlive tpc_rollback().
        """
        if self._in_prepared_transaction():
            raise TransactionError(
                f"{what} is not possible after tpc_prepare(): first call tpc_commit() or tpc_rollback(), "
                "or use a connection of its own"
            )

    def _in_prepared_transaction(self) -> bool:
        """Whether the user's two-phase transaction is prepared, and not ended; for an idle connection."""
        return False

    def _refuse_transaction(self, what: str) -> None:
        status = self.transaction_status()
        if status is TransactionStatus.IDLE:
            self._refuse_prepared(what)
            return
        if status is TransactionStatus.UNKNOWN:
            raise self._lost() from self._reason_of_loss()
        if status is TransactionStatus.ACTIVE:
            raise TransactionError(f"{what} is not possible now: the connection is busy with another statement")
        raise in_open_transaction(what)

    def _lost(self) -> ConnectionLost:
        return ConnectionLost("the connection to the server is lost")

    @abc.abstractmethod
    def _reason_of_loss(self) -> Exception:
        """The driver's error that says why the connection ended."""


class Endable(Protocol):
    """The part of a backend that `release_or_end` uses."""

    def release(self) -> None:
        """See `pgnotify.protocol.Releases.release`."""

    def end(self) -> None:
        """See `pgnotify.protocol.Ends.end`."""


def release_or_end(backend: Endable) -> None:
    """Leave a connection to its next user, or end it: lost, inside a transaction, or interrupted, it is of no use."""
    try:
        backend.release()
    except Exception:
        backend.end()
    except BaseException:
        backend.end()
        raise
