"""What the tests of MemoryServer share: connections, and how to look at them."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from pgnotify import ConnectionLost
from pgnotify.testing.memory import DatabaseError, MemoryServer
from pgnotify.waiting import wait_readable
from tests.helpers.canned import PATIENCE

VERBS = {
    "listen": lambda connection: connection.listen("jobs"),
    "listen_many": lambda connection: connection.listen_many(["jobs", "other"]),
    "unlisten": lambda connection: connection.unlisten("jobs"),
    "wait": lambda connection: connection.wait(None),
    "fetch": lambda connection: connection.fetch(),
    "notify": lambda connection: connection.notify("jobs", "x"),
    "notify_many": lambda connection: connection.notify_many([("jobs", "x")]),
    "check": lambda connection: connection.check(),
}
STATEMENTS = {
    **{verb: VERBS[verb] for verb in ("listen", "listen_many", "unlisten", "notify", "notify_many", "check")},
    **{verb: lambda connection, verb=verb: getattr(connection, verb)() for verb in ("begin", "commit", "rollback")},
    **{
        verb: lambda connection, verb=verb: getattr(connection, verb)("a")
        for verb in ("savepoint", "rollback_to", "release")
    },
    "fail": lambda connection: connection.fail(),
}


@pytest.fixture
def server():
    with MemoryServer() as running:
        yield running


@pytest.fixture
def sender(server):
    return server.connect()


@pytest.fixture
def listener(server):
    connection = server.connect()
    connection.listen("jobs")
    return connection


class Blocking(threading.Event):
    """Set when a call is about to wait for its descriptor."""

    asleep = False
    """Whether it really has to wait."""

    @staticmethod
    def then():
        """What happens at that moment, in the thread of the call."""

    def wait_readable(self, descriptor, timeout, wakeup=None):
        if timeout != 0:
            self.asleep = not wait_readable(descriptor, 0)
            self.then()
            self.set()
        return wait_readable(descriptor, timeout, wakeup)


@pytest.fixture
def blocking(monkeypatch):
    made = Blocking()
    monkeypatch.setattr("pgnotify.testing._memory_connection.wait_readable", made.wait_readable)
    return made


def payloads(connection):
    """Return the payloads of all that has arrived."""
    arrived = []
    while batch := connection.fetch():
        arrived += [each.payload for each in batch]
    return arrived


def readable(connection):
    """Whether an event loop would see the descriptor as readable."""
    return wait_readable(connection.fileno(), 0)


def assert_lost(connection, sqlstate="57P01"):
    """The connection is lost for good, whatever is tried, and says why."""
    for call in [*VERBS.values(), *STATEMENTS.values()] * 2:
        with pytest.raises(ConnectionLost) as lost:
            call(connection)
        assert isinstance(lost.value.__cause__, DatabaseError)
        assert lost.value.__cause__.sqlstate == sqlstate


def refused(call, *arguments):
    """Return the sqlstate of the server's refusal."""
    with pytest.raises(DatabaseError) as refusal:
        call(*arguments)
    assert str(refusal.value)
    return refusal.value.sqlstate


def payloads_before_the_loss(connection):
    """Play a listener until the connection is lost."""
    arrived = []
    with suppress(ConnectionLost):
        while connection.wait(PATIENCE):
            arrived += [each.payload for each in connection.fetch()]
    return arrived
