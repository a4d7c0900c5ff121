"""The common part of the backends of blocking SQL drivers: the verbs, the statements behind them, the wait.

A driver's module adds how *its* connection runs a statement, reads notifications, and ends.
"""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from pgnotify.backends._steps import Rows, SteppedBackend, Steps
from pgnotify.backends._transactions import TransactionStatus
from pgnotify.notification import Plain
from pgnotify.protocol import Health
from pgnotify.waiting import wait_readable

T = TypeVar("T")


class DriverBackend(SteppedBackend):
    """A backend over a driver that runs SQL and has a descriptor to wait for."""

    # The verbs.

    def listen(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.listen`."""
        self._perform(self.listening((channel,)))

    def listen_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.ListensMany.listen_many`."""
        self._perform(self.listening(channels))

    def unlisten(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.unlisten`."""
        self._perform(self.unlistening((channel,)))

    def unlisten_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.UnlistensMany.unlisten_many`."""
        self._perform(self.unlistening(channels))

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        """See `pgnotify.protocol.Backend.wait`."""
        if self.transaction_status() is not TransactionStatus.IDLE:
            if self._lost_with_some_left():
                return True  # notifications from before the end are fetched first
            self._refuse_transaction("waiting")
        return self._buffered() or wait_readable(self.fileno(), timeout, wakeup)

    def fetch_into(self, queue: deque[Plain]) -> None:
        """See `pgnotify.protocol.FetchesInto.fetch_into`."""
        # Readable but empty: other traffic, with more after it, or the end of the connection, which
        # the drivers notice only at the second look.
        while not self._read(queue):
            if not wait_readable(self.fileno(), 0):
                break

    def notify(self, channel: str, payload: str = "") -> None:
        """See `pgnotify.protocol.Backend.notify`."""
        self._perform(self.notifying(channel, payload))

    def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """See `pgnotify.protocol.NotifiesMany.notify_many`."""
        self._perform(self.notifying_many(notifications))

    def check(self) -> Health:
        """See `pgnotify.protocol.ChecksHealth.check`."""
        return self._perform(self.checking())

    def name_session(self, name: str) -> None:
        """See `pgnotify.protocol.NamesSession.name_session`."""
        self._perform(self.naming_session(name))

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
        self._perform(self.releasing())

    def query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> Rows:
        """See `pgnotify.protocol.Queries.query`."""
        try:
            return self._query(sql, parameters, prepare and self._prepares, joins)
        except self.DatabaseError as error:
            if not self._stops_preparing(sql, error):
                raise
        return self._query(sql, parameters, False, joins)

    # For a driver's module to implement.

    @abc.abstractmethod
    def _query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> Rows:
        """Do the same as `query`. Without parameters, several statements are run as one transaction."""

    @abc.abstractmethod
    def _read(self, queue: deque[Plain]) -> int:
        """Read a batch of notifications without waiting, move it into a queue, and return its size.

        Raises:
            ConnectionLost: the connection has ended, and none is left.
        """

    # What they share.

    def _perform(self, steps: Steps[T]) -> T:
        """Run the statements of a verb and return its result."""
        try:
            statement = next(steps)
            while True:
                try:
                    rows = self._query(*statement)
                except BaseException as error:
                    statement = steps.throw(error)
                else:
                    statement = steps.send(rows)
        except StopIteration as end:
            result: T = end.value
            return result

    def _return_to_pool(self) -> None:
        self._connection.close()


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
