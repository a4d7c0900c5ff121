"""One script on MemoryServer and on a real PostgreSQL: the same notifications arrive, the same calls are refused.

The scripts are random (`tests.server.scripts`). The senders of the notifications must be the same too. No
driver is needed: the real connections speak the protocol themselves and bind parameters, as drivers do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import chain
from typing import Any, TypeAlias

import pytest
from hypothesis import event, given, settings

from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.testing._wire import Session, SQLError
from pgnotify.testing.address import Address
from pgnotify.testing.memory import DatabaseError, MemoryConnection, MemoryServer
from pgnotify.waiting import wait_readable
from tests.server.scripts import OTHER_DATABASE, Script, Step, scripts

Arrived: TypeAlias = tuple[str, str, int]  # channel, payload, pid
Look: TypeAlias = tuple[bool, list[Arrived]]


class RealConnection(Session):
    """A session with the verbs of a MemoryConnection."""

    def __init__(self, *address: Any) -> None:
        self._senders: list[int] = []
        self._status = b"I"
        super().__init__(*address)

    def listen(self, channel: str) -> None:
        self._refuse_transaction()
        self.sql(f"LISTEN {self._quoted(channel)}")

    def unlisten(self, channel: str) -> None:
        self._refuse_transaction()
        self.sql(f"UNLISTEN {self._quoted(channel)}")

    def notify(self, channel: str, payload: str = "") -> None:
        self.notify_many([(channel, payload)])

    def notify_many(self, notifications: list[tuple[str, str]]) -> None:
        calls = ", ".join(f"pg_notify(${2 * n + 1}, ${2 * n + 2})" for n in range(len(notifications)))
        self._bound(f"SELECT {calls}", *chain.from_iterable(notifications))

    def begin(self) -> None:
        self.sql("BEGIN")

    def commit(self) -> None:
        self.sql("COMMIT")

    def rollback(self) -> None:
        self.sql("ROLLBACK")

    def savepoint(self, name: str) -> None:
        self.sql(f"SAVEPOINT {name}")

    def rollback_to(self, name: str) -> None:
        self.sql(f"ROLLBACK TO {name}")

    def release(self, name: str) -> None:
        self.sql(f"RELEASE {name}")

    def fail(self) -> None:
        with suppress(SQLError):
            self.sql("SELECT 1/0")

    def look(self) -> Look:
        """Return whether a transaction is open, and the notifications that have arrived."""
        self.settle()
        return self._status != b"I", self._arrived()

    def last_words(self) -> tuple[list[Arrived], str]:
        """Return the notifications before the end of the connection, and the reason for the end."""
        with pytest.raises(SQLError) as caught:
            self._rows_until_ready()
        return self._arrived(), caught.value.sqlstate

    def settle(self) -> None:
        """Receive the notifications sent so far: a session that is terminated in that moment would not send them."""
        self.sql("")  # a failed transaction allows this too

    def forget_all(self) -> None:
        """Reset the connection to the state of a new one."""
        self.sql("ROLLBACK")
        self.sql("UNLISTEN *")
        self._arrived()

    def _refuse_transaction(self) -> None:
        if self._status != b"I":
            raise TransactionError

    def _arrived(self) -> list[Arrived]:
        arrived = [(*each, sender) for each, sender in zip(self._notified, self._senders, strict=True)]
        self._notified, self._senders = [], []
        return arrived

    def _quoted(self, name: str) -> str:
        return str(self._bound("SELECT '\"' || replace($1, '\"', '\"\"') || '\"'", name)[0][0])

    def _bound(self, statement: str, *parameters: str) -> list[tuple[str | None, ...]]:
        """Run a statement with parameters, which the server checks like those of a driver."""
        values = [parameter.encode("utf-8", "surrogatepass") for parameter in parameters]
        bind = b"\0" * 4 + struct.pack("!h", len(values))
        bind += b"".join(struct.pack("!i", len(value)) + value for value in values) + b"\0" * 2
        parse = b"\0" + statement.encode() + b"\0" * 3
        messages = ((b"P", parse), (b"B", bind), (b"E", b"\0" * 5), (b"S", b""))
        self._socket.sendall(b"".join(code + struct.pack("!i", len(body) + 4) + body for code, body in messages))
        return self._rows_until_ready()

    def _message(self) -> tuple[bytes, bytes]:
        code, body = super()._message()
        if code == b"Z":
            self._status = body
        elif code == b"A":
            self._senders.append(struct.unpack_from("!i", body)[0])
        return code, body


class WatchedConnection:
    """A MemoryConnection with the methods that a Scene needs."""

    def __init__(self, connection: MemoryConnection) -> None:
        self.connection = connection
        self.pid = connection.pid

    def __getattr__(self, verb: str) -> Any:
        return getattr(self.connection, verb)

    def look(self) -> Look:
        arrived: list[Arrived] = []
        while wait_readable(self.connection.fileno(), 0):
            batch = self.connection.fetch()
            assert batch, "it was readable, though nothing was there"
            arrived += batch
        assert self.connection.fetch() == [], "it was not readable, though something was there"
        return self._in_transaction(), arrived

    def _in_transaction(self) -> bool:
        try:
            return self.connection.wait(0)
        except TransactionError:
            return True

    def last_words(self) -> tuple[list[Arrived], str]:
        arrived: list[Arrived] = []
        while True:
            try:
                arrived += self.connection.fetch()
            except ConnectionLost as lost:
                return arrived, lost.__cause__.sqlstate


class RealServer:
    """Makes real connections; those that are given back are used again, which halves the time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._admin = Session(*address)
        self._admin.sql(f"DROP DATABASE IF EXISTS {OTHER_DATABASE}")
        self._admin.sql(f"CREATE DATABASE {OTHER_DATABASE}")
        self._spare: dict[str, list[RealConnection]] = {"postgres": [], OTHER_DATABASE: []}

    def connect(self, database: str) -> RealConnection:
        return (
            self._spare[database].pop()
            if self._spare[database]
            else RealConnection(*self._address._replace(database=database))
        )

    def terminate(self, connection: RealConnection) -> None:
        connection.settle()
        self._admin.sql(f"SELECT pg_terminate_backend({connection.pid})")

    def give_back(self, database: str, connection: RealConnection) -> None:
        connection.forget_all()
        self._spare[database].append(connection)

    def close(self) -> None:
        for connection in chain.from_iterable(self._spare.values()):
            connection.close()
        self._admin.sql(f"DROP DATABASE {OTHER_DATABASE} (FORCE)")
        self._admin.close()


class ServerInMemory:
    """Makes connections in memory."""

    def __init__(self) -> None:
        self._server = MemoryServer()

    def connect(self, database: str) -> WatchedConnection:
        return WatchedConnection(self._server.connect(database))

    def terminate(self, watched: WatchedConnection) -> None:
        self._server.drop_connection(watched.connection)

    def give_back(self, database: str, watched: WatchedConnection) -> None:
        watched.connection.close()


class Scene:
    """Connections to a server of either kind, and the outcomes of their steps."""

    def __init__(self, server: Any, databases: list[str]) -> None:
        self._server = server
        self._databases = databases
        self._names: dict[int, str] = {}
        """The name of the connection that has, or had, a pid."""
        self._connections = [self._open(who) for who in range(len(databases))]

    def do(self, step: Step) -> object:
        """Return the notifications that arrive, or how the step is refused."""
        try:
            if step.verb == "terminate":
                return self._terminate(step.who)
            result = getattr(self._connections[step.who], step.verb)(*step.arguments)
        except TransactionError:
            return "in a transaction"
        except (DatabaseError, SQLError) as error:
            return error.sqlstate
        return (result[0], self._named(result[1])) if step.verb == "look" else "done"

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        for database, connection in zip(self._databases, self._connections, strict=True):
            self._server.give_back(database, connection)

    def _open(self, who: int) -> Any:
        made = self._server.connect(self._databases[who])
        self._names[made.pid] = f"{who}, connection {len(self._names)}"
        return made

    def _terminate(self, who: int) -> object:
        with closing(self._connections[who]) as ended:
            self._server.terminate(ended)
            self._connections[who] = self._open(who)
            arrived, reason = ended.last_words()
            return reason, self._named(arrived)

    def _named(self, arrived: list[Arrived]) -> list[tuple[str, str, str]]:
        return [(channel, payload, self._names[pid]) for channel, payload, pid in arrived]


# The comparison


@pytest.fixture(scope="module")
def real_server(postgresql_server: Any) -> Iterator[RealServer]:
    """A real server with a second database."""
    with closing(RealServer(postgresql_server.address)) as server:
        yield server


@pytest.mark.timeout(600)  # a failure is shrunk for five minutes at most
@settings(max_examples=200, deadline=None)
@given(script=scripts())
def test_a_script_has_the_same_outcome_in_memory_and_on_a_real_server(real_server: RealServer, script: Script):
    with Scene(real_server, script.databases) as real, Scene(ServerInMemory(), script.databases) as memory:
        for step in script.steps:
            outcome = real.do(step)

            assert memory.do(step) == outcome, step

            for each in _told(step, outcome):
                event(each)


def _told(step: Step, outcome: object) -> list[str]:
    """Describe the outcome in a few words, for the statistics."""
    if isinstance(outcome, str):
        return [f"{step.verb}: {outcome}"]
    state, arrived = outcome
    said = [f"{step.verb}: in a transaction"] if state is True else []
    return said + [f"{step.verb}: from {'itself' if f'{step.who},' in sender else 'another'}" for *_, sender in arrived]
