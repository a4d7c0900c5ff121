"""The server's side of `MemoryServer`: transactions, sessions, and the link from a session to its client.

It decides what PostgreSQL does with LISTEN, NOTIFY and transactions. It does not wait and does not lock:
the caller holds the server's lock. tests/server/test_memory_against_real.py compares it with a real
server; the error codes are from PostgreSQL's appendix A.
"""

from __future__ import annotations

import socket
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat, starmap

from pgnotify.limits import MAX_CHANNEL_BYTES, MAX_PAYLOAD_BYTES, plain
from pgnotify.notification import Notification, Plain
from pgnotify.protocol import Health


class DatabaseError(Exception):
    """An error of the server, or the reason why the connection has ended; the only error class of this driver.

    Attributes:
        sqlstate: five characters, as in PostgreSQL's appendix A; empty for an error of pgnotify's own.
    """

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Transaction:
    """The notifications that a transaction would send if it committed now."""

    def __init__(self) -> None:
        self.failed = False
        """Whether a statement has failed: then only a rollback is possible."""
        self._pending: list[tuple[str, str]] = []
        self._savepoints: list[tuple[str, int]] = []
        """The open savepoints, the innermost last, with the number of notifications pending at that point."""

    def notify(self, channel: str, payload: str) -> None:
        """Keep a notification for the commit."""
        self._pending.append((channel, payload))

    def notifications(self) -> Iterable[tuple[str, str]]:
        """Return the (channel, payload) pairs that a commit sends: equal ones once, in the place of the first."""
        return dict.fromkeys(self._pending)

    def savepoint(self, name: str) -> None:
        """Begin a subtransaction; until it ends, it hides an earlier one of the same name."""
        self._savepoints.append((name, len(self._pending)))

    def rollback_to(self, name: str) -> None:
        """Undo everything after a savepoint; the savepoint stays."""
        index = self._innermost(name)
        del self._pending[self._savepoints[index][1] :]
        del self._savepoints[index + 1 :]
        self.failed = False

    def release(self, name: str) -> None:
        """Forget a savepoint and those within it, and keep everything after it."""
        del self._savepoints[self._innermost(name) :]

    def _innermost(self, name: str) -> int:
        for index in reversed(range(len(self._savepoints))):
            if self._savepoints[index][0] == name:
                return index
        raise DatabaseError(f'savepoint "{name}" does not exist', "3B001")


class Link:
    """The network between a session and its client.

    Notifications wait in a queue; the sockets carry only bells. The client's socket is readable while
    there is something to fetch, and for ever once the connection has ended.
    """

    def __init__(self) -> None:
        self.client, self._server = socket.socketpair()
        self.client.setblocking(False)
        self._server.setblocking(False)
        self.arrived: deque[Notification] = deque()
        """The notifications that the client has not fetched."""
        self.loss: DatabaseError | None = None
        """Why the connection has ended; None while it is there."""
        self.silent = False
        """Whether nothing gets through, in either direction."""
        self._under_way: deque[Notification] = deque()
        self._answer_awaited = False
        # No ResourceWarning in a test that closes the server only, and drops its connections.
        weakref.finalize(self, _close, self.client, self._server)

    def send(self, notification: Notification) -> None:
        """Deliver a notification to the client; while the link is silent, hold it back."""
        if self.silent:
            self._under_way.append(notification)
            return
        self.arrived.append(notification)
        if len(self.arrived) == 1:
            self._ring()

    def heal(self) -> None:
        """End the silence: notifications that were held back arrive, and a call that waits for an answer goes on."""
        self.silent = False
        self.arrived += self._under_way
        self._under_way.clear()
        if self.arrived or self._answer_awaited:
            self._ring()

    def cut(self, reason: DatabaseError) -> None:
        """End the connection; the first reason counts. Notifications that have not arrived yet never will."""
        self.loss = self.loss or reason
        self._under_way.clear()
        self._server.close()

    def look(self) -> None:
        """Notice changes to the client's socket from outside, such as a shutdown()."""
        self._answer_awaited = False
        self._clear_bell()
        if self.arrived:
            self._ring()

    def await_answer(self) -> None:
        """Keep the client's socket from being readable until `heal`, or until the connection ends."""
        self._answer_awaited = True
        self._clear_bell()

    def take(self, at_most: int, queue: deque[Plain]) -> None:
        """Move the oldest notifications that have arrived into a queue."""
        queue.extend(starmap(self.arrived.popleft, repeat((), min(at_most, len(self.arrived)))))
        self.look()

    def _ring(self) -> None:
        with suppress(OSError):  # the connection has ended, and that makes the socket readable too
            self._server.send(b"\0")

    def _clear_bell(self) -> None:
        try:
            while self.client.recv(16):
                pass
        except BlockingIOError:
            return
        except OSError:  # a reset also ends the connection
            pass
        self.loss = self.loss or DatabaseError("server closed the connection unexpectedly", "08006")


@dataclass
class Cluster:
    """The state that the sessions of one server share."""

    sessions: list[Session] = field(default_factory=list)
    in_recovery: bool = False
    """Whether it is a standby."""
    queue_usage: float = 0.0
    """How full it reports its queue to be; nothing in this model fills one."""


class Session:
    """The server's state of one connection, and the effect of each statement on it.

    Where PostgreSQL raises an error, a statement raises a DatabaseError and aborts the open transaction.
    """

    def __init__(self, cluster: Cluster, pid: int, database: str) -> None:
        self.pid = pid
        self.database = plain(database)
        self.link = Link()
        self.listening: set[str] = set()
        self.transaction: Transaction | None = None
        """The open transaction."""
        self._cluster = cluster
        self._held_back: list[Notification] = []
        """Notifications that other sessions have sent during the transaction."""
        cluster.sessions.append(self)

    def end(self, reason: DatabaseError) -> None:
        """End the session, and roll back; a second call does nothing."""
        self.link.cut(reason)
        self.listening.clear()
        self.transaction = None
        if self in self._cluster.sessions:
            self._cluster.sessions.remove(self)

    def forget(self, channel: str | None) -> None:
        """Forget the LISTEN to a channel, or to all channels (None)."""
        if channel is None:
            self.listening.clear()
        else:
            self.listening.discard(plain(channel))

    def move(self, pid: int) -> None:
        """Become another session on the same link, as behind a pooler: without LISTENs and without a transaction."""
        self.pid = pid
        self.listening.clear()
        self.transaction = None
        self._held_back.clear()

    def listen(self, channels: Iterable[str]) -> None:
        """LISTEN; LISTEN; …, outside a transaction: all of them, or none."""
        names = [_identifier(channel) for channel in channels]
        self._refuse_in_recovery("LISTEN")
        self.listening.update(names)

    def health(self) -> Health:
        """Return what pg_is_in_recovery() and the like return."""
        return Health(self._cluster.in_recovery, self._cluster.queue_usage, self.pid, frozenset(self.listening))

    def unlisten(self, channels: Iterable[str]) -> None:
        """UNLISTEN; UNLISTEN; …, outside a transaction; a standby allows it, as there is nothing to do."""
        self.listening.difference_update([_identifier(channel) for channel in channels])

    def notify(self, notifications: list[tuple[str, str]]) -> None:
        """Call pg_notify() for each: all are sent, or none."""
        notifications = [(plain(channel), plain(payload)) for channel, payload in notifications]
        with self._statement() as transaction:
            for parameter in chain.from_iterable(notifications):
                _encoded(parameter)  # all are decoded before the first call
            for channel, payload in notifications:
                self._refuse_in_recovery("NOTIFY")
                _check_limits(channel, payload)
                transaction.notify(channel, payload)

    def fail(self) -> None:
        """SELECT 1 OPERATOR(pg_catalog./) 0."""
        with self._statement():
            raise DatabaseError("division by zero", "22012")

    def begin(self) -> None:
        """BEGIN; inside a transaction PostgreSQL only warns."""
        with self._statement() as transaction:
            self.transaction = transaction

    def commit(self) -> None:
        """COMMIT, which rolls a failed transaction back; outside a transaction PostgreSQL only warns."""
        transaction = self._end_transaction()
        if transaction is not None and not transaction.failed:
            self._publish(transaction)

    def rollback(self) -> None:
        """ROLLBACK; outside a transaction PostgreSQL only warns."""
        self._end_transaction()

    def savepoint(self, name: str) -> None:
        """SAVEPOINT."""
        with self._statement("SAVEPOINT") as transaction:
            transaction.savepoint(name)

    def release(self, name: str) -> None:
        """RELEASE SAVEPOINT."""
        with self._statement("RELEASE SAVEPOINT") as transaction:
            transaction.release(name)

    def rollback_to(self, name: str) -> None:
        """ROLLBACK TO SAVEPOINT; a failed transaction allows only this and ROLLBACK."""
        with self._statement("ROLLBACK TO SAVEPOINT", also_if_failed=True) as transaction:
            transaction.rollback_to(name)

    @contextmanager
    def _statement(self, in_block_only: str = "", also_if_failed: bool = False) -> Iterator[Transaction]:
        """Run a statement in the open transaction; if there is none, in a new one that is committed afterwards."""
        transaction = self.transaction or Transaction()
        if in_block_only and self.transaction is None:
            raise DatabaseError(f"{in_block_only} can only be used in transaction blocks", "25P01")
        if transaction.failed and not also_if_failed:
            raise DatabaseError(
                "current transaction is aborted, commands ignored until end of transaction block", "25P02"
            )
        try:
            yield transaction
        except DatabaseError:
            transaction.failed = True
            raise
        if self.transaction is None:
            self._publish(transaction)

    def _end_transaction(self) -> Transaction | None:
        ended, self.transaction = self.transaction, None
        for notification in self._held_back:
            self.link.send(notification)
        self._held_back.clear()
        return ended

    def _publish(self, transaction: Transaction) -> None:
        """Send to all listeners in the order of commits, which is the order of the calls."""
        listeners = [session for session in self._cluster.sessions if session.database == self.database]
        for channel, payload in transaction.notifications():
            notification = Notification(channel, payload, self.pid)
            for listener in listeners:
                listener._receive(notification)

    def _receive(self, notification: Notification) -> None:
        if notification.channel not in self.listening:
            return
        if self.transaction is None:
            self.link.send(notification)
        else:
            self._held_back.append(notification)

    def _refuse_in_recovery(self, command: str) -> None:
        if self._cluster.in_recovery:
            raise DatabaseError(f"cannot execute {command} during recovery", "25006")


def _close(*ends: socket.socket) -> None:
    for end in ends:
        end.close()


def _encoded(text: str) -> bytes:
    with suppress(UnicodeEncodeError):  # a lone surrogate
        if "\0" not in text:
            return text.encode()
    raise DatabaseError('invalid byte sequence for encoding "UTF8"', "22021")


def _identifier(name: str) -> str:
    """Return how the parser reads a quoted name: it cuts one that is too long, with only a NOTICE."""
    encoded = _encoded(plain(name))
    if not encoded:
        raise DatabaseError("zero-length delimited identifier", "42601")
    return encoded[:MAX_CHANNEL_BYTES].decode("utf-8", "ignore")


def _check_limits(channel: str, payload: str) -> None:
    if not channel:
        raise DatabaseError("channel name cannot be empty", "22023")
    if len(_encoded(channel)) > MAX_CHANNEL_BYTES:
        raise DatabaseError("channel name too long", "22023")
    if len(_encoded(payload)) > MAX_PAYLOAD_BYTES:
        raise DatabaseError("payload string too long", "22023")
