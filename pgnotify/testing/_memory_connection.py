"""The client's side of `MemoryServer`: a connection that is its own backend.

It decides the same as a driver and its backend: which calls are refused in a transaction, when a call waits
for the network, which error a lost connection raises. Its session does everything that the server does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import repeat

from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.notification import Notification, Plain, new
from pgnotify.protocol import Backend, Health
from pgnotify.testing._memory_session import Cluster, DatabaseError, Session
from pgnotify.uncopyable import Uncopyable
from pgnotify.waiting import wait_readable

BATCH = 500  # notifications in one fetch() at most, as with the drivers' backends


class MemoryConnection(Uncopyable, Backend):
    """A connection to a `MemoryServer`, and its own backend; `MemoryServer.connect` makes it.

    It is in autocommit mode until `begin`. Only one thread at a time may use it; `close` may be called
    from any thread. A statement that PostgreSQL refuses raises DatabaseError. After the connection has
    ended, every statement raises ConnectionLost from a DatabaseError.
    """

    def __init__(self, lock: threading.RLock, cluster: Cluster, session: Session) -> None:
        self.lock = lock
        self._cluster = cluster
        self._session = session
        self._server_pid = session.pid
        self._link = session.link
        self._calls = 0
        self._closed = False

    # The verbs.

    def listen(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.listen`; on a standby, a DatabaseError with sqlstate 25006."""
        self.listen_many([channel])

    def listen_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.ListensMany.listen_many`."""
        self._refuse_transaction("LISTEN")
        if not channels:
            return
        with self._statement() as session:
            session.listen(channels)

    def unlisten(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.unlisten`."""
        self.unlisten_many([channel])

    def unlisten_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.UnlistensMany.unlisten_many`."""
        self._refuse_transaction("UNLISTEN")
        if not channels:
            return
        with self._statement() as session:
            session.unlisten(channels)

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        """See `pgnotify.protocol.Backend.wait`."""
        with self.calling():
            with self.lock:
                self._link.look()
                if not (self._link.loss and self._link.arrived):  # notifications from before the end are fetched first
                    self._refuse_transaction("waiting")
            return wait_readable(self.fileno(), timeout, wakeup)

    def fetch(self) -> list[Notification]:
        """See `pgnotify.protocol.Backend.fetch`; at most 500 at a time."""
        queue: deque[Plain] = deque()
        self.fetch_into(queue)
        return list(map(new, repeat(Notification), queue))

    def fetch_into(self, queue: deque[Plain]) -> None:
        """See `pgnotify.protocol.FetchesInto.fetch_into`; at most 500 at a time."""
        with self.calling(), self.lock:
            before = len(queue)
            self._link.take(BATCH, queue)
            if len(queue) == before:
                self._refuse_loss()

    def notify(self, channel: str, payload: str = "") -> None:
        """See `pgnotify.protocol.Backend.notify`; DatabaseError with sqlstate 22023 beyond the limits."""
        self.notify_many([(channel, payload)])

    def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """See `pgnotify.protocol.NotifiesMany.notify_many`."""
        pairs = list(notifications)
        with self._statement() as session:
            session.notify(pairs)

    def check(self) -> Health:
        """See `pgnotify.protocol.ChecksHealth.check`; a test sets the values on `MemoryServer`."""
        self._refuse_transaction("a health check")
        with self._statement() as session:
            return session.health()

    def close(self) -> None:
        """Close the connection and its descriptors; an open transaction is rolled back.

        Notifications that were not fetched are dropped. A call in another thread ends; later calls raise
        ConnectionLost.
        """
        with self.lock:
            self._closed = True
            self._session.end(DatabaseError("the connection is closed", "08003"))
            self._link.arrived.clear()
            self._release()

    # Transactions.

    def begin(self) -> None:
        """Open a transaction; inside a transaction, do nothing."""
        with self._statement() as session:
            session.begin()

    def commit(self) -> None:
        """End the transaction and send its notifications; a failed transaction is rolled back."""
        with self._statement() as session:
            session.commit()

    def rollback(self) -> None:
        """End the transaction without sending its notifications."""
        with self._statement() as session:
            session.rollback()

    def savepoint(self, name: str) -> None:
        """Begin a subtransaction; a savepoint inside it may have the same name.

        Raises:
            DatabaseError: there is no open transaction (25P01), or it has failed (25P02).
        """
        with self._statement() as session:
            session.savepoint(name)

    def rollback_to(self, name: str) -> None:
        """Undo everything after the innermost savepoint of that name, including a failure; the savepoint stays.

        Raises:
            DatabaseError: there is no such savepoint (3B001), or no open transaction (25P01).
        """
        with self._statement() as session:
            session.rollback_to(name)

    def release(self, name: str | None = None) -> None:
        """Forget the innermost savepoint of that name, and keep everything after it.

        Without a name, see `pgnotify.protocol.Releases.release`: stop listening, and drop what has arrived.

        Raises:
            DatabaseError: there is no such savepoint (3B001), no open transaction (25P01), or it has
                failed (25P02).
            TransactionError, ConnectionLost: without a name, as `unlisten` does.
        """
        if name is None:
            self.unlisten_many(sorted(self.listening_channels))
            with self.lock:
                self._link.take(len(self._link.arrived), deque())
            return
        with self._statement() as session:
            session.release(name)

    def fail(self) -> None:
        """Run a statement that fails, and suppress its error; it aborts an open transaction.

        Until that is rolled back, its statements raise a DatabaseError with sqlstate 25P02. Outside
        a transaction this has no effect.
        """
        with self._statement() as session, suppress(DatabaseError):
            session.fail()

    # Properties; none of them uses the network.

    @property
    def pid(self) -> int:
        """The number of the session on the server; no other connection of the server has it or had it."""
        return self._session.pid

    @property
    def server_pid(self) -> int:
        """See `pgnotify.protocol.NamesServerPid.server_pid`; differs from `pid` after `MemoryServer.swap_session`."""
        return self._server_pid

    @property
    def database(self) -> str:
        """The name of the database."""
        return self._session.database

    @property
    def closed(self) -> bool:
        """Whether `close` was called; the loss of a connection does not close it."""
        return self._closed

    @property
    def listening_channels(self) -> frozenset[str]:
        """The channels that it listens to on the *server*, as pg_listening_channels() would return them."""
        with self.lock:
            return frozenset(self._session.listening)

    @property
    def in_recovery(self) -> bool:
        """Whether its server is a standby, as pg_is_in_recovery() would return it."""
        return self._cluster.in_recovery

    @property
    def connection(self) -> MemoryConnection:
        """See `pgnotify.protocol.NamesConnection.connection`: there is no other connection underneath."""
        return self

    @property
    def DatabaseError(self) -> type[Exception]:
        """See `pgnotify.protocol.NamesDatabaseError.DatabaseError`."""
        return DatabaseError

    @property
    def busy(self) -> bool:
        """See `pgnotify.protocol.Busy.busy`."""
        return self._calls > 0

    @property
    def in_transaction(self) -> bool:
        """See `pgnotify.protocol.KnowsTransaction.in_transaction`."""
        return self._session.transaction is not None

    def fileno(self) -> int:
        """Return the descriptor; it is readable when there are notifications, or the connection has ended.

        Watch it, but do not read from it. A shutdown() of its socket, also through a duplicate, ends every call.

        Raises:
            ConnectionLost: the connection is closed.
        """
        if self._closed:
            raise _lost() from self._link.loss
        return self._link.client.fileno()

    def __repr__(self) -> str:
        state = "closed " if self._closed else "lost " if self._link.loss else ""
        return f"<{state}{type(self).__name__} {self.pid} to {self.database!r}>"

    # Internals.

    @contextmanager
    def _statement(self) -> Iterator[Session]:
        """Yield the server's session, as soon as a statement gets through the network."""
        with self.calling():
            while True:
                with self.lock:
                    if self.gets_answers():
                        yield self._session
                        return
                wait_readable(self.fileno(), None)

    def gets_answers(self) -> bool:
        """Return whether the network lets a statement through; otherwise the descriptor is readable when it may.

        Raises:
            ConnectionLost: the connection has ended.
        """
        self._refuse_loss()
        if self._link.silent:
            self._link.await_answer()
            return False
        return True

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Keep the descriptor open during a call, so that its number is not used again."""
        with self.lock:
            self._calls += 1
        try:
            yield
        finally:
            with self.lock:
                self._calls -= 1
                self._release()

    def _release(self) -> None:
        if self._closed and not self._calls:
            self._link.client.close()

    def _refuse_loss(self) -> None:
        with self.lock:
            self._link.look()
            if self._link.loss is not None:
                self._session.end(self._link.loss)  # the session may not have noticed the loss yet
                raise _lost() from self._link.loss

    def _refuse_transaction(self, what: str) -> None:
        self._refuse_loss()
        if self._session.transaction is not None:
            raise TransactionError(
                f"{what} is not possible inside an open transaction: no notification would arrive before it ends. "
                "Commit or roll back first, or listen on a connection of its own"
            )


def _lost() -> ConnectionLost:
    return ConnectionLost("the connection to the server is lost")
