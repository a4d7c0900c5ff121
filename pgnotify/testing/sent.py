"""Record what the code under test sends, also inside a transaction that is never committed.

In a `TestCase` of Django, and wherever a test is rolled back at its end, PostgreSQL delivers nothing: a notification
waits for its transaction's commit, in the memory of its session, where neither another session nor any function of the
server sees it. So the recorder does not listen. pgnotify tells it of everything that is sent through it, and sends that
all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from pgnotify.protocol import connection_of
from pgnotify.registry import async_backend_for, backend_for
from pgnotify.sending import recorders
from pgnotify.uncopyable import Uncopyable


class _Pair(NamedTuple):
    channel: str
    """The channel, as it was given."""
    payload: str
    """The payload, as it was given."""


class SentNotification(_Pair):
    """A notification that was sent. It is equal to the tuple of its channel and its payload."""

    connection: object
    """The driver's connection that it was sent on."""
    stored: bool
    """Whether an outbox has stored it, as `Outbox.notify` does."""

    def __new__(cls, channel: str, payload: str, connection: object = None, stored: bool = False) -> SentNotification:
        """Make one; see the fields."""
        made = super().__new__(cls, channel, payload)
        made.connection, made.stored = connection, stored
        return made


class SentNotifications(list[SentNotification]):
    """The notifications that were sent, in order: a list, which grows with each one."""

    def payloads(self, channel: str) -> list[str]:
        """Return the payloads of those on one channel, in order."""
        return [each.payload for each in self if each.channel == channel]

    def folded(self) -> list[SentNotification]:
        """Return those that PostgreSQL would deliver if all that was sent on a connection were one transaction.

        Of equal pairs of channel and payload it delivers the first one. Messages of an outbox are never folded.
        """
        found: dict[object, SentNotification] = {}
        for number, each in enumerate(self):
            found.setdefault(number if each.stored else (id(each.connection), *each), each)
        return list(found.values())


@contextmanager
def sent_notifications(connection: Any = None) -> Iterator[SentNotifications]:
    """Yield the list of what is sent through pgnotify from now until the end of the block; it stays readable then.

    It has what `notify`, `notify_many`, `Connection.notify`, the handlers' ``notify``, `Outbox.notify` and their
    siblings have sent without an error, in any thread, on the event loop too. It does not have:

    - what SQL of yours sends: ``NOTIFY``, ``pg_notify()``, triggers. Only a test that commits can see that, with
      `Notifications`.
    - whether it was rolled back: what is sent in a savepoint that is rolled back later is in the list.

    Args:
        connection: of any supported driver, asynchronous or not; None records on all connections of the process.

    Raises:
        UnknownBackend: no backend fits the connection.
    """
    wanted = None if connection is None else _known(connection)
    found = SentNotifications()

    def record(used: object, pairs: Sequence[tuple[str, str]], stored: bool) -> None:
        drivers_own = _drivers_own(used)
        if wanted is None or drivers_own is wanted:
            found.extend(SentNotification(*pair, connection=drivers_own, stored=stored) for pair in pairs)

    recorders.append(record)
    try:
        yield found
    finally:
        recorders.remove(record)


def _known(connection: Any) -> object:
    """Return the driver's own connection. Raises UnknownBackend if no backend fits."""
    if async_backend_for(connection) is None:
        backend_for(connection)
    return _drivers_own(connection)


def _drivers_own(connection: Any) -> object:
    """Return the driver's own connection, however it was wrapped when it was passed."""
    if issubclass(type(connection), Uncopyable):  # a Connection of ours
        connection = getattr(connection, "connection", connection)
    with suppress(Exception):  # it has ended by now; then it is known by itself
        backend: Any = async_backend_for(connection) or backend_for(connection)
        inner = connection_of(backend)
        return connection if inner is backend else inner
    return connection
