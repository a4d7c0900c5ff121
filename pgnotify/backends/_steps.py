"""The verbs as steps, for blocking and asynchronous drivers alike: which statements to run, and when to refuse.

Each verb is a generator. It yields statements, gets their rows, and does no I/O itself.
"""

from __future__ import annotations

import abc
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import repeat
from typing import Any, ClassVar, TypeAlias, TypeVar

from pgnotify.backends._encodings import refuse_changed
from pgnotify.backends._health import IN_UTF8, VALUES, health_of, health_query
from pgnotify.backends._transactions import TransactionStatus, in_open_transaction
from pgnotify.connecting.retryable import message_of, sqlstate_of
from pgnotify.errors import ConnectionLost, PayloadError, PgNotifyError, TransactionError
from pgnotify.notification import Notification, Plain, new
from pgnotify.protocol import Health, Versions
from pgnotify.waiting import is_cut_off

T = TypeVar("T")

# A batch, in notifications: long enough that the cost of a batch does not show, short enough that
# a backlog of millions is never in memory twice.
BATCH = 500

# A read that brings fewer notifications than this leaves none behind: a buffer of 16 kB takes two of the longest.
# For a notification that comes alone, looking again would cost more than everything else does.
MORE_TO_READ = 2

# A connection with more batches than this is not worth keeping: to open another one takes less time (5 ms).
BATCHES_TO_DROP = 20

# Every name has its schema, each operator too, and each parameter its type. Otherwise the server looks along the
# search_path, and there another role may have made a function that fits better. It would run with our rights.
#
# Parameters are texts to the server, whatever type a driver gives them, and so are results: texts are what `query`
# keeps from what users have registered with their drivers.
NOTIFY = "SELECT pg_catalog.pg_notify($1::pg_catalog.text, $2::pg_catalog.text)::pg_catalog.text"
NOTIFY_MANY = """\
SELECT pg_catalog.count(
    pg_catalog.pg_notify(pair OPERATOR(pg_catalog.->>) 0, pair OPERATOR(pg_catalog.->>) 1))::pg_catalog.text
FROM pg_catalog.json_array_elements($1::pg_catalog.text::pg_catalog.json) AS pair"""

_INSUFFICIENT_PRIVILEGE = "42501"
_UNTRANSLATABLE_CHARACTER = "22P05"
_NO_SUCH_STATEMENT = "26000"

# For the rest of the session, but only if nobody has named it.
NAME_SESSION = """\
SELECT pg_catalog.set_config('application_name', $1::pg_catalog.text, false)
WHERE pg_catalog.current_setting('application_name') OPERATOR(pg_catalog.=) ''"""

Rows: TypeAlias = list[tuple[Any, ...]]
"""The rows of a statement, each a tuple of its columns: a str or None, if the statement casts them to text."""

Steps: TypeAlias = Generator[tuple[str, Sequence[str]], Rows, T]
"""Yields statements, each with its parameters; gets the rows of each, or its error; returns the result of a verb."""


def new_name() -> str:
    """Return a name for a prepared statement that no other one has, not even in a session that a pooler lends."""
    return f"pgnotify_{os.urandom(8).hex()}"


def quoted(channel: str) -> str:
    """Return the name as an SQL identifier."""
    return '"' + channel.replace('"', '""') + '"'


class SteppedBackend(abc.ABC):
    """The part of a backend that is the same whether its driver blocks or not."""

    DatabaseError: type[Exception]
    """The driver's class with this name."""

    _connection: Any

    _forbidden: tuple[tuple[str, str], ...] = ()
    """The values of a health check that the role may not ask for, each with the server's reason."""

    own_close: ClassVar[Callable[[Any], Any] | None] = None
    """The method ``close`` of the driver's class. A connection with another one may return to a pool instead."""

    _returned = False
    """Whether the connection is back in its pool, where others may use it."""

    # The verbs.

    def listening(self, channels: Sequence[str]) -> Steps[None]:
        """Listen to channels: to all of them, or to no new one."""
        self._refuse_transaction("LISTEN")
        if not channels:
            return
        yield from self._diverting()
        # Without parameters, several statements may be sent together. They are one transaction then.
        with self._listening_to(channels):
            yield "; ".join(f"LISTEN {self._quoted(channel)}" for channel in channels), ()

    def unlistening(self, channels: Sequence[str]) -> Steps[None]:
        """Stop listening to channels."""
        self._refuse_transaction("UNLISTEN")
        if not channels:
            return
        leaving = [channel for channel in channels if not self._is_shared(channel)]
        if leaving:
            yield "; ".join(f"UNLISTEN {self._quoted(channel)}" for channel in leaving), ()
        for channel in channels:
            self._listened.discard(channel)
            self._end_listening(channel)

    def notifying(self, channel: str, payload: str) -> Steps[None]:
        """Send a notification."""
        refuse_changed(self._encoding(), (channel,), (payload,))
        yield NOTIFY, (channel, payload)

    def notifying_many(self, notifications: Iterable[tuple[str, str]]) -> Steps[None]:
        """Send notifications: all of them, or none."""
        notifications = list(notifications)
        refuse_changed(self._encoding(), (pair[0] for pair in notifications), (pair[1] for pair in notifications))
        # One parameter of a type that every driver can bind, however many notifications there are.
        # Not escaped to ASCII: a server with an encoding other than UTF-8 refuses the escapes.
        pairs = json.dumps(notifications, ensure_ascii=False)
        yield NOTIFY_MANY, (pairs,)

    def checking(self) -> Steps[Health]:
        """Ask for the server's state."""
        self._refuse_transaction("a health check")
        yield from self._diverting()
        try:
            return (yield from self._health(self._forbidden))
        except self.DatabaseError as error:
            if sqlstate_of(error) != _INSUFFICIENT_PRIVILEGE:
                raise
        yield from self._find_forbidden()
        return (yield from self._health(self._forbidden))

    def _health(self, left_out: tuple[tuple[str, str], ...]) -> Steps[Health]:
        codec = self._encoding()
        try:
            ((answer,),) = yield health_query(dict(left_out)), ()
        except self.DatabaseError as error:
            if sqlstate_of(error) != _UNTRANSLATABLE_CHARACTER:
                raise
            # The client's encoding has changed since the LISTEN.
            codec = "utf-8"
            ((answer,),) = yield health_query(dict(left_out), IN_UTF8), ()
        return health_of(answer, codec, left_out)

    def _find_forbidden(self) -> Steps[None]:
        """Remember each value of a health check that the role may not ask for, and the server's reason."""
        forbidden = []
        for name in VALUES:
            try:
                yield health_query(VALUES.keys() - {name}), ()
            except self.DatabaseError as error:
                if sqlstate_of(error) != _INSUFFICIENT_PRIVILEGE:
                    raise
                forbidden.append((name, message_of(error)))
        self._forbidden = tuple(forbidden)

    def naming_session(self, name: str) -> Steps[None]:
        """Set the session's application_name, unless it has one."""
        yield NAME_SESSION, (name,)

    def releasing(self) -> Steps[None]:
        """Undo everything, for the next user of the connection."""
        if self._listened:
            yield from self.unlistening(sorted(self._listened))
        if self._prepared:
            yield "; ".join(f"DEALLOCATE {name}" for name in self._prepared.values()), ()
            self._prepared.clear()
        self._drop_arrived()

    def fetch(self) -> list[Notification]:
        """See `pgnotify.protocol.Backend.fetch`."""
        return list(map(new, repeat(Notification), self.fetch_plain()))

    def fetch_plain(self) -> list[Plain]:
        """See `pgnotify.protocol.FetchesPlain.fetch_plain`."""
        queue: deque[Plain] = deque()
        self.fetch_into(queue)
        return list(queue)

    @abc.abstractmethod
    def fetch_into(self, queue: deque[Plain]) -> None:
        """See `pgnotify.protocol.FetchesInto.fetch_into`."""

    # Beyond the verbs.

    @property
    def connection(self) -> Any:
        """See `pgnotify.protocol.NamesConnection.connection`."""
        return self._connection

    @property
    def busy(self) -> bool:
        """See `pgnotify.protocol.Busy.busy`."""
        return self.transaction_status() is TransactionStatus.ACTIVE

    @property
    def in_transaction(self) -> bool:
        """See `pgnotify.protocol.KnowsTransaction.in_transaction`."""
        return self.transaction_status() in (TransactionStatus.IN_TRANSACTION, TransactionStatus.IN_FAILED_TRANSACTION)

    @property
    @abc.abstractmethod
    def server_pid(self) -> int:
        """See `pgnotify.protocol.NamesServerPid.server_pid`.

        Raises:
            ConnectionLost: the connection has ended, and its driver does not remember.
        """

    @property
    @abc.abstractmethod
    def versions(self) -> Versions:
        """See `pgnotify.protocol.NamesVersions.versions`."""

    @abc.abstractmethod
    def fileno(self) -> int:
        """Return the current descriptor of the driver's socket.

        Raises:
            ConnectionLost: there is no descriptor any longer.
        """

    @abc.abstractmethod
    def transaction_status(self) -> TransactionStatus:
        """Return the state of the transaction, without asking the server; UNKNOWN if the connection has ended."""

    # For a driver's module to implement.

    @abc.abstractmethod
    def _encoding(self) -> str:
        """Return Python's name of the client_encoding, as the driver encodes and decodes it; UTF-8 for SQL_ASCII."""

    @abc.abstractmethod
    def _buffered(self) -> bool:
        """Whether the driver has buffered a notification, which makes no descriptor readable."""

    @abc.abstractmethod
    def _reason_of_loss(self) -> Exception:
        """The driver's error that says why the connection ended."""

    def _quoted(self, channel: str) -> str:
        """Return the name as an SQL identifier."""
        return quoted(channel)

    def _diverting(self) -> Steps[None]:
        """Have notifications come here, before a statement brings some that the driver would drop."""
        yield from ()

    def _begin_listening(self, channel: str) -> None:
        """Prepare the driver; called before each LISTEN."""

    def _end_listening(self, channel: str) -> None:
        """Undo the preparation; called after each UNLISTEN."""

    def _is_shared(self, channel: str) -> bool:
        """Whether a callback of the user's listens to a channel, too, so that the server is to go on sending it."""
        return False

    def _in_prepared_transaction(self) -> bool:
        """Whether the user's two-phase transaction is prepared, and not ended; for an idle connection."""
        return False

    # What they share.

    @cached_property
    def _listened(self) -> set[str]:
        """The channels that this backend has listened to, or may have: after a Ctrl-C this is unknown."""
        return set()

    @cached_property
    def _prepared(self) -> dict[str, str]:
        """The names of the statements that were prepared, by their text."""
        return {}

    _prepares = True
    """Whether statements are prepared that may be."""

    def _stops_preparing(self, sql: str, error: Exception) -> bool:
        """Prepare no more statements if the session has lost this one; return whether it can run unprepared now.

        A pooler has exchanged the session, or somebody has sent DISCARD ALL.
        """
        if sqlstate_of(error) != _NO_SUCH_STATEMENT or self._prepared.pop(sql, None) is None:
            return False
        self._prepares = False
        return self.transaction_status() is TransactionStatus.IDLE

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
