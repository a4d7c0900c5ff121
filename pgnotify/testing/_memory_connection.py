"""The client's side of `MemoryServer`: a connection that is its own backend.

It decides what a driver and its backend decide: what is refused in a transaction, when a call waits for
the network, what is told of a connection that has ended. The rest it asks its session.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.notification import Notification
from pgnotify.protocol import Backend, Health
from pgnotify.testing._memory_session import Cluster, DatabaseError, Session
from pgnotify.waiting import wait_readable

BATCH = 500  # notifications in one fetch() at most, as with the drivers' backends


class MemoryConnection(Backend):
    """A connection to a `MemoryServer`, and the backend of it; `MemoryServer.connect` makes it.

    It is in autocommit mode until `begin`. One thread at a time may use it, but `close` may be called
    from any. Every statement raises DatabaseError where PostgreSQL refuses it, and ConnectionLost
    from a DatabaseError when the connection has ended.
    """

    def __init__(self, lock: threading.RLock, cluster: Cluster, session: Session) -> None:
        self._lock = lock
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
        self._refuse_transaction("UNLISTEN")
        with self._statement() as session:
            session.unlisten(channel)

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        """See `pgnotify.protocol.Backend.wait`."""
        with self._calling():
            with self._lock:
                self._link.look()
                if not (self._link.loss and self._link.arrived):  # what came before the end is fetched first
                    self._refuse_transaction("waiting")
            return wait_readable(self.fileno(), timeout, wakeup)

    def fetch(self) -> list[Notification]:
        """See `pgnotify.protocol.Backend.fetch`; at most 500 at a time."""
        with self._calling(), self._lock:
            batch = self._link.take(BATCH)
            if not batch:
                self._refuse_loss()
            return batch

    def notify(self, channel: str, payload: str = "") -> None:
        """See `pgnotify.protocol.Backend.notify`; DatabaseError 22023 for what is beyond the limits."""
        self.notify_many([(channel, payload)])

    def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """See `pgnotify.protocol.NotifiesMany.notify_many`."""
        pairs = list(notifications)
        with self._statement() as session:
            session.notify(pairs)

    def check(self) -> Health:
        """See `pgnotify.protocol.ChecksHealth.check`; `MemoryServer` tells it what to say."""
        self._refuse_transaction("a health check")
        with self._statement() as session:
            return session.health()

    def close(self) -> None:
        """Close the connection and its descriptors; an open transaction is rolled back.

        What was not fetched is gone. A call that another thread is in ends; later ones raise ConnectionLost.
        """
        with self._lock:
            self._closed = True
            self._session.end(DatabaseError("the connection is closed", "08003"))
            self._link.arrived.clear()
            self._release()

    # Transactions.

    def begin(self) -> None:
        """Open a transaction; inside of one this does nothing."""
        with self._statement() as session:
            session.begin()

    def commit(self) -> None:
        """End the transaction and send what it has notified of; one that has failed is rolled back."""
        with self._statement() as session:
            session.commit()

    def rollback(self) -> None:
        """End the transaction, and send nothing of it."""
        with self._statement() as session:
            session.rollback()

    def savepoint(self, name: str) -> None:
        """Begin a subtransaction; the same name may be used again within it.

        Raises:
            DatabaseError: there is no open transaction (25P01), or it has failed (25P02).
        """
        with self._statement() as session:
            session.savepoint(name)

    def rollback_to(self, name: str) -> None:
        """Take back what came after the innermost savepoint of that name, a failure too; it stays.

        Raises:
            DatabaseError: there is no such savepoint (3B001), or no open transaction (25P01).
        """
        with self._statement() as session:
            session.rollback_to(name)

    def release(self, name: str) -> None:
        """Forget the innermost savepoint of that name, and keep what came after it.

        Raises:
            DatabaseError: there is no such savepoint (3B001), no open transaction (25P01), or it has
                failed (25P02).
        """
        with self._statement() as session:
            session.release(name)

    def fail(self) -> None:
        """Run a statement that fails, and keep its error quiet: an open transaction is aborted by it.

        Until it is rolled back, statements in it raise a DatabaseError with sqlstate 25P02. Outside
        of a transaction nothing comes of it.
        """
        with self._statement() as session, suppress(DatabaseError):
            session.fail()

    # What may be asked; none of it is sent over the network.

    @property
    def pid(self) -> int:
        """The number of the session on the server, which no other of its connections has or had."""
        return self._session.pid

    @property
    def server_pid(self) -> int:
        """See `pgnotify.protocol.NamesServerPid.server_pid`; not `pid` any more after `MemoryServer.swap_session`."""
        return self._server_pid

    @property
    def database(self) -> str:
        """The name of the database."""
        return self._session.database

    @property
    def closed(self) -> bool:
        """Whether `close` was called; a connection that is lost is not closed by that."""
        return self._closed

    @property
    def listening_channels(self) -> frozenset[str]:
        """The channels that the *server* has it listen to, as pg_listening_channels() would say."""
        with self._lock:
            return frozenset(self._session.listening)

    @property
    def in_recovery(self) -> bool:
        """Whether its server is a standby, as pg_is_in_recovery() would say."""
        return self._cluster.in_recovery

    @property
    def connection(self) -> MemoryConnection:
        """See `pgnotify.protocol.NamesConnection.connection`: there is no other one below."""
        return self

    @property
    def DatabaseError(self) -> type[Exception]:
        """See `pgnotify.protocol.NamesDatabaseError.DatabaseError`."""
        return DatabaseError

    @property
    def busy(self) -> bool:
        """See `pgnotify.protocol.Busy.busy`."""
        return self._calls > 0

    def fileno(self) -> int:
        """Return the descriptor, readable when something is to be had: notifications, or the end.

        Watch it, but do not read from it. A shutdown() of it, or of a duplicate, ends every call.

        Raises:
            ConnectionLost: the connection is closed.
        """
        if self._closed:
            raise _lost() from self._link.loss
        return self._link.client.fileno()

    def __repr__(self) -> str:
        state = "closed " if self._closed else "lost " if self._link.loss else ""
        return f"<{state}{type(self).__name__} {self.pid} to {self.database!r}>"

    # Underneath.

    @contextmanager
    def _statement(self) -> Iterator[Session]:
        """Give the server's session, as soon as the network lets a statement through."""
        with self._calling():
            while True:
                with self._lock:
                    self._refuse_loss()
                    if not self._link.silent:
                        yield self._session
                        return
                    self._link.await_answer()
                wait_readable(self.fileno(), None)

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Keep the descriptor from being closed, and its number from being used again, in the midst of a call."""
        with self._lock:
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                self._release()

    def _release(self) -> None:
        if self._closed and not self._calls:
            self._link.client.close()

    def _refuse_loss(self) -> None:
        with self._lock:
            self._link.look()
            if self._link.loss is not None:
                self._session.end(self._link.loss)  # which may not have noticed what we have
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
