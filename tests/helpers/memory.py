"""What the tests of MemoryServer share: connections, and how to look at them."""

from __future__ import annotations

from contextlib import suppress

import pytest

from pgnotify import ConnectionLost
from pgnotify.testing.memory import DatabaseError
from pgnotify.waiting import wait_readable
from tests.helpers.notifications import payloads
from tests.helpers.waiting import IN_MEMORY

VERBS = {
    "listen": lambda connection: connection.listen("jobs"),
    "listen_many": lambda connection: connection.listen_many(["jobs", "other"]),
    "unlisten": lambda connection: connection.unlisten("jobs"),
    "unlisten_many": lambda connection: connection.unlisten_many(["jobs", "other"]),
    "wait": lambda connection: connection.wait(None),
    "fetch": lambda connection: connection.fetch(),
    "notify": lambda connection: connection.notify("jobs", "x"),
    "notify_many": lambda connection: connection.notify_many([("jobs", "x")]),
    "check": lambda connection: connection.check(),
}
STATEMENTS = {
    **{verb: call for verb, call in VERBS.items() if verb not in ("wait", "fetch")},
    **{verb: lambda connection, verb=verb: getattr(connection, verb)() for verb in ("begin", "commit", "rollback")},
    **{
        verb: lambda connection, verb=verb: getattr(connection, verb)("a")
        for verb in ("savepoint", "rollback_to", "release")
    },
    "fail": lambda connection: connection.fail(),
}


def arrived_payloads(connection):
    """Return the payloads of all that has arrived."""
    arrived = []
    while batch := connection.fetch():
        arrived += payloads(batch)
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
        while connection.wait(IN_MEMORY):
            arrived += payloads(connection.fetch())
    return arrived
