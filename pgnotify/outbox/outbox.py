"""The outbox: messages are stored with the sender's transaction, and reach every listener, also one that was away."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pgnotify.connection import wrap
from pgnotify.limits import check_channel, check_text_payload
from pgnotify.outbox import replication
from pgnotify.outbox import schema as sql
from pgnotify.outbox.durable import DurableReading
from pgnotify.outbox.in_memory import InMemoryReading
from pgnotify.outbox.statements import Statements
from pgnotify.outbox.tables import DEFAULT_SCHEMA, Tables
from pgnotify.protocol import Backend, query

if TYPE_CHECKING:
    from pgnotify.listener.watch import ListenerWatch
    from pgnotify.outbox.reading import Reading


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
            ConnectionLost: the server is gone.

        Errors of the server are the driver's own, such as for a table that is not there, or a role that may not insert.
        """
        query(_backend_of(connection), *self._sending(channel, payload), joins=True)

    def notify_many(self, connection: Any, notifications: Iterable[tuple[str, str]]) -> None:
        """Store any number of (channel, payload) pairs in order, in one round trip: all of them, or none.

        The errors are those of `notify`. Nothing is sent if there are none.
        """
        if sending := self._sending_many(notifications):
            query(_backend_of(connection), *sending, joins=True)

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
        from pgnotify.outbox import asynchronous

        await asynchronous.run(connection, *self._sending(channel, payload))

    async def notify_many_async(self, connection: Any, notifications: Iterable[tuple[str, str]]) -> None:
        """Do the same as `notify_many`, on a connection that `notify_async` takes."""
        from pgnotify.outbox import asynchronous

        if sending := self._sending_many(notifications):
            await asynchronous.run(connection, *sending)

    def _sending(self, channel: str, payload: str) -> tuple[str, tuple[str, ...]]:
        """Return the statement that sends a message, and its parameters, checked."""
        return self._statements.send, (check_channel(channel), check_text_payload(payload))

    def _sending_many(self, notifications: Iterable[tuple[str, str]]) -> tuple[str, tuple[str, ...]] | None:
        """Return the statement that sends several messages, and its parameters, checked; None if there are none."""
        checked = [(check_channel(channel), check_text_payload(payload)) for channel, payload in notifications]
        return (self._statements.send_many, (json.dumps(checked, ensure_ascii=False),)) if checked else None

    # Its tables.

    def install_sql(self, senders: Iterable[str] = (), readers: Iterable[str] = ()) -> str:
        """Return the statements that make the tables, for a migration.

        Args:
            senders: roles that are given the right to send: to insert channel and payload, and nothing else.
            readers: roles that are given the rights that a listener needs.
        """
        return sql.install_sql(self._tables, _roles(senders), _roles(readers))

    def uninstall_sql(self) -> str:
        """Return the statements that remove the tables with all messages, for a migration back."""
        return sql.uninstall_sql(self._tables)

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


def _backend_of(connection: Any) -> Backend:
    return wrap(connection).backend


def _roles(roles: Iterable[str]) -> tuple[str, ...]:
    if isinstance(roles, str):
        raise TypeError(f"roles must be given as a list of names, not as the str {roles!r}")
    return tuple(check_channel(role, "role") for role in roles)
