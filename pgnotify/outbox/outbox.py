"""The outbox: messages are stored with the sender's transaction, and reach every listener, also one that was away."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pgnotify.connection import wrap
from pgnotify.limits import check_channel, check_count, check_text_payload
from pgnotify.outbox import replication, schema
from pgnotify.outbox.durable import DurableReading
from pgnotify.outbox.in_memory import InMemoryReading
from pgnotify.outbox.installing import installing, uninstalling
from pgnotify.outbox.rebasing import Rebased, rebasing
from pgnotify.outbox.retention import pruning
from pgnotify.outbox.sending import naming_remedies
from pgnotify.outbox.statements import Statements
from pgnotify.outbox.status import OutboxStatus, looking_at
from pgnotify.outbox.steps import Steps, one_step, run
from pgnotify.outbox.tables import DEFAULT_SCHEMA, Tables
from pgnotify.protocol import Backend, query
from pgnotify.sending import sent

if TYPE_CHECKING:
    from pgnotify.listener.watch import ListenerWatch
    from pgnotify.outbox.reading import Reading

T = TypeVar("T")


class Outbox:
    """A table in which messages are stored, so that a listener that was away still gets them, whatever their size.

    Making one sends nothing. The table is made by `install`, and never by anything else.

    Args:
        name: the table's, as written, at most 43 bytes.
        schema: the table's; None stands for ``"public"``. Nobody's search_path matters.
        max_age: how long messages are kept. `prune` removes older ones, whether they were read or not.

    Raises:
        ValueError, TypeError: an argument is not possible.
    """

    def __init__(
        self, name: str = "pgnotify_outbox", schema: str | None = None, max_age: timedelta = timedelta(days=7)
    ) -> None:
        self._tables = Tables(name, DEFAULT_SCHEMA if schema is None else schema)
        self.name = self._tables.name
        self.schema = self._tables.schema
        if not isinstance(max_age, timedelta):
            raise TypeError(f"max_age must be a datetime.timedelta, not {type(max_age).__name__}")
        if max_age <= timedelta(0):
            raise ValueError(f"max_age must be positive, not {max_age!r}")
        self.max_age = max_age
        self._statements = Statements(self._tables)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._tables}>"

    # Sending.

    def notify(self, connection: Any, channel: str, payload: str = "") -> None:
        """Store a message, in the caller's transaction; it reaches the listeners after the commit, and only then.

        In autocommit mode it is sent at once. Otherwise, if no transaction is open, this begins one, as every statement
        does, and the caller commits it.

        Args:
            connection: of any supported driver.
            channel: as written, at most 63 bytes.
            payload: of any size; PostgreSQL stores up to 1 GB.

        Raises:
            ChannelError, PayloadError: PostgreSQL would refuse it; nothing is sent.
            OutboxError: there is no outbox, or the role may not send. As after every error of the server's, a
                transaction that was open has failed.
            ConnectionLost: the server is gone.

        Other errors of the server are the driver's own.
        """
        with naming_remedies(self._tables):
            sql, pair = self._sending(channel, payload)
            query(_backend_of(connection), sql, pair, joins=True)
        sent(connection, (pair,), stored=True)

    def notify_many(self, connection: Any, notifications: Iterable[tuple[str, str]]) -> None:
        """Store any number of (channel, payload) pairs in order, in one round trip: all of them, or none.

        The errors are those of `notify`. Nothing is sent if there are none.
        """
        if checked := _checked(notifications):
            with naming_remedies(self._tables):
                query(_backend_of(connection), *self._sending_many(checked), joins=True)
            sent(connection, checked, stored=True)

    async def notify_async(self, connection: Any, channel: str, payload: str = "") -> None:
        """Do the same as `notify`, without holding up the event loop.

        Args:
            connection: of any supported driver, asynchronous or not. One that blocks is used in a thread.
            channel: as written, at most 63 bytes.
            payload: of any size.

        Raises:
            RuntimeError: no event loop runs here, or the connection belongs to another one.

        It also raises the errors of `notify`.
        """
        with naming_remedies(self._tables):
            sql, pair = self._sending(channel, payload)
            await _run_async(connection, one_step(sql, pair), joins=True)
        sent(connection, (pair,), stored=True)

    async def notify_many_async(self, connection: Any, notifications: Iterable[tuple[str, str]]) -> None:
        """Do the same as `notify_many`, on a connection that `notify_async` takes."""
        if checked := _checked(notifications):
            with naming_remedies(self._tables):
                await _run_async(connection, one_step(*self._sending_many(checked)), joins=True)
            sent(connection, checked, stored=True)

    def _sending(self, channel: str, payload: str) -> tuple[str, tuple[str, str]]:
        """Return the statement that sends a message, and its parameters, checked."""
        return self._statements.send, (check_channel(channel), check_text_payload(payload))

    def _sending_many(self, checked: list[tuple[str, str]]) -> tuple[str, tuple[str, ...]]:
        """Return the statement that sends several messages, and its parameters."""
        return self._statements.send_many, (json.dumps(checked, ensure_ascii=False),)

    # Its tables.

    def install_sql(self, senders: Iterable[str] = (), readers: Iterable[str] = ()) -> str:
        """Return the statements that make the tables, for a migration.

        Args:
            senders: roles that are given the right to send: to insert channel and payload, and nothing else.
            readers: roles that are given the rights that a listener needs.
        """
        return schema.install_sql(self._tables, _roles(senders), _roles(readers))

    def uninstall_sql(self) -> str:
        """Return the statements that remove the tables with all messages, for a migration back."""
        return schema.uninstall_sql(self._tables)

    def upgrade_sql(self, version: int) -> str:
        """Return the statements that bring tables of an earlier version to this release's, for a migration.

        They are empty for this release's own version. Run them in one transaction. They fail if the tables have another
        version.

        Raises:
            ValueError: there is no such version.
        """
        return schema.upgrade_sql(self._tables, version)

    def install(self, connection: Any, senders: Iterable[str] = (), readers: Iterable[str] = ()) -> None:
        """Make the tables, or bring them to this release's version; and give roles their rights.

        If they have it already, only rights are given. All is done in the caller's transaction if one is open, or if
        the connection is not in autocommit mode. The caller commits it. Several processes may do this at once.

        Args:
            connection: of any supported driver, with the right to create tables in the schema, which must exist.
            senders: roles that may send; see `install_sql`.
            readers: roles that may listen.

        Raises:
            OutboxError: another table has the name, or the outbox is newer than this release.
            ConnectionLost: the server is gone.
        """
        run(_backend_of(connection), installing(self._tables, _roles(senders), _roles(readers)), joins=True)

    def uninstall(self, connection: Any) -> None:
        """Remove the tables, with all messages and positions; in a transaction as `install` does.

        Raises:
            OutboxError: the table with the name is not an outbox.
            ConnectionLost: the server is gone.
        """
        run(_backend_of(connection), uninstalling(self._tables), joins=True)

    def prune(self, connection: Any, max_rows: int = 10_000) -> int:
        """Remove messages that are older than `max_age`, the oldest first; return how many were removed.

        Call it now and then, until it returns less than ``max_rows``. On an idle connection it has a transaction of its
        own. A listener whose messages were removed before it has read them is told so, with a
        ``Gap(reason="expired")``: one with a durable name exactly how many, another one how many at most.

        Args:
            connection: of any supported driver, with the rights of the owner of the tables.
            max_rows: how many messages are removed at most.

        Raises:
            OutboxError: there is no outbox, or it has another version.
            ConnectionLost: the server is gone.
        """
        check_count("max_rows", max_rows, 1)
        return run(_backend_of(connection), pruning(self._tables, self.max_age, max_rows))

    def status(self, connection: Any) -> OutboxStatus:
        """Return how the outbox stands.

        Args:
            connection: of any supported driver, with the rights of a reader.

        Raises:
            NotPrimary, OutboxError: the outbox cannot be read here.
            ConnectionLost: the server is gone.
        """
        return run(_backend_of(connection), looking_at(self._tables))

    def rebase(self, connection: Any, name: str | None = None) -> Rebased:
        """Make positions valid again that a `VoidPosition` was raised for, after a dump and restore or a copy.

        They move to the beginning of the outbox. So its messages are delivered a second time, and none is lost. What is
        not void stays as it is, so this may be repeated.

        Args:
            connection: of any supported driver, with the rights of the owner of the tables.
            name: of the subscription to move; None moves all that are void.

        Raises:
            OutboxError: there is no outbox, or no subscription with this name.
            ConnectionLost: the server is gone.
        """
        return run(_backend_of(connection), rebasing(self._tables, name))

    # The same without holding up the event loop, on connections that `notify_async` takes.

    async def install_async(self, connection: Any, senders: Iterable[str] = (), readers: Iterable[str] = ()) -> None:
        """Do the same as `install`."""
        await _run_async(connection, installing(self._tables, _roles(senders), _roles(readers)), joins=True)

    async def uninstall_async(self, connection: Any) -> None:
        """Do the same as `uninstall`."""
        await _run_async(connection, uninstalling(self._tables), joins=True)

    async def prune_async(self, connection: Any, max_rows: int = 10_000) -> int:
        """Do the same as `prune`."""
        check_count("max_rows", max_rows, 1)
        return await _run_async(connection, pruning(self._tables, self.max_age, max_rows))

    async def status_async(self, connection: Any) -> OutboxStatus:
        """Do the same as `status`."""
        return await _run_async(connection, looking_at(self._tables))

    async def rebase_async(self, connection: Any, name: str | None = None) -> Rebased:
        """Do the same as `rebase`."""
        return await _run_async(connection, rebasing(self._tables, name))

    # On further servers.

    def publication_sql(self) -> str:
        """Return the statement that lets further servers have copies of the messages. Run it on the first server.

        That needs PostgreSQL 15 or newer, and the setting ``wal_level = logical``.
        """
        return replication.publication_sql(self._tables)

    def subscription_sql(self, source: str, name: str | None = None) -> str:
        """Return the statements that have the messages copied to a further server. Run them there, after `install_sql`.

        Listeners on that server get the messages. Sending there is refused. Its positions are its own, and each server
        removes old messages by itself.

        Args:
            source: a libpq connection string of the first server, as it is seen from the further one.
            name: of the subscription; None stands for the outbox's. Each further server of one first server needs a
                different one.

        The last statement cannot run in a transaction.
        """
        return replication.subscription_sql(
            self._tables, source, self.name if name is None else check_channel(name, "name")
        )

    def standalone_sql(self) -> str:
        """Return the statements that let a further server go on without the first one, so that it may send.

        Run them there, when its subscription has been dropped.
        """
        return replication.standalone_sql(self._tables)

    # For `pgnotify.Listener` and `pgnotify.AsyncListener`; see `pgnotify.listener.stored.Store`.

    def reading(self, watch: ListenerWatch, durable: str | None, start: str, own_channel: str) -> Reading:
        """Return what reads for one listener; see `pgnotify.listener.stored.Store.reading`."""
        if durable is None:
            return InMemoryReading(self._statements, watch, own_channel, start)
        return DurableReading(self._statements, watch, own_channel, durable, start)


def _checked(notifications: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(check_channel(channel), check_text_payload(payload)) for channel, payload in notifications]


def _backend_of(connection: Any) -> Backend:
    return wrap(connection).backend


async def _run_async(connection: Any, steps: Steps[T], joins: bool = False) -> T:
    from pgnotify.outbox import asynchronous  # it imports asyncio

    return await asynchronous.run(connection, steps, joins)


def _roles(roles: Iterable[str]) -> tuple[str, ...]:
    if isinstance(roles, str):
        raise TypeError(f"roles must be given as a list of names, not as the str {roles!r}")
    return tuple(check_channel(role, "role") for role in roles)
