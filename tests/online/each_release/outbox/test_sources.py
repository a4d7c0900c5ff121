"""Where a listener with an outbox gets its connections: each kind of connection serves, and is left as it was."""

from __future__ import annotations

import pytest

from tests.helpers.listener_fronts import Listener, both_fronts
from tests.helpers.listeners import next_payloads
from tests.helpers.waiting import eventually

pytestmark = both_fronts


@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "durable"])
def test_a_connection_of_the_users_is_left_idle_and_in_its_mode(db, user, outbox, sender, channel, name, durable):
    pid, was = user.pid, modes_of(db)
    with Listener(db, channel, outbox=outbox, durable=name if durable else None) as listener:
        sender.send(channel, 1)
        assert next_payloads(listener, 1) == ["1"]

    assert modes_of(db) == was
    assert user.listened_to == set()
    eventually(lambda: sender.session.state_of(pid) == "idle")
    assert sender.session.sql(f"SELECT * FROM pg_locks WHERE pid = {pid} AND locktype = 'advisory'") == []


def test_a_function_may_return_connections_of_any_mode(connect, outbox, sender, channel, name):
    with Listener(connect, channel, outbox=outbox, durable=name) as listener:
        sender.send(channel, 1)
        assert next_payloads(listener, 1) == ["1"]
        pid = listener.status().server_pid
        eventually(lambda: sender.session.state_of(pid) == "idle")


def modes_of(db):
    """Return the settings of a connection that we might have changed, as far as it has them."""
    return [getattr(db, name, None) for name in ("autocommit", "isolation_level", "readonly", "row_factory")]
