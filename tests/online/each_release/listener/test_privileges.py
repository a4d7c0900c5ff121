"""A role that may not call every function: the heartbeat does without, and says so; a refusal to notify is clear."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator

import pytest

import pgnotify
from pgnotify.connecting.retryable import sqlstate_of
from pgnotify.testing._wire import Session
from pgnotify.testing.address import Address
from tests.helpers.listener_fronts import Listener, both_fronts
from tests.helpers.listeners import Watching, listening, next_payloads

pytestmark = both_fronts

SIGNATURES = {
    "in_recovery": "pg_is_in_recovery()",
    "queue_usage": "pg_notification_queue_usage()",
    "server_pid": "pg_backend_pid()",
    "channels": "pg_listening_channels()",
}
ALL = tuple(SIGNATURES)


@pytest.fixture
def without(address: Address, session: Session) -> Iterator[Callable[..., Address]]:
    """A function that takes functions from an ordinary role, in a database of its own, and returns its address."""
    name = f"privileges_{uuid.uuid4().hex[:12]}"
    session.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    session.sql(f"CREATE DATABASE {name}")
    own = address._replace(database=name)

    def revoke(*signatures: str) -> Address:
        with Session(*own) as superuser:
            for signature in signatures:
                superuser.sql(f"REVOKE EXECUTE ON FUNCTION pg_catalog.{signature} FROM PUBLIC")
        return own._replace(user=name, password=name)

    yield revoke
    session.sql(f"DROP DATABASE {name} WITH (FORCE)")
    session.sql(f"DROP ROLE {name}")


@pytest.mark.parametrize("missing", [("in_recovery",), ("server_pid",), ("queue_usage", "channels"), ALL])
def test_the_heartbeat_does_without_what_the_role_may_not_ask_for(driver, without, channel, caplog, missing):
    lesser = without(*(SIGNATURES[name] for name in missing))
    watching = Watching()

    with listening(lesser.dsn, channel, driver=driver, heartbeat=0.02, observer=watching) as listener:
        watching.checks.wait_for(3)
        with pgnotify.connect(lesser.dsn, driver) as sender:
            sender.notify(channel, "arrives")
        assert next_payloads(listener, 1) == ["arrives"]
        status = listener.status()

    assert status.unchecked == missing
    assert (status.delivering, status.behind_pooler, status.ignored, status.gaps) == (True, False, (), 0)
    assert (status.queue_usage is None) == ("queue_usage" in missing)
    assert (status.server_pid is None) == ("server_pid" in missing)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for name in missing:
        assert f"permission denied for function {SIGNATURES[name].removesuffix('()')}" in warning


def test_a_function_behind_the_names_of_the_channels_counts_too(driver, without, channel):
    lesser = without("encode(pg_catalog.bytea, pg_catalog.text)", "pg_is_in_recovery()")
    with pgnotify.connect(lesser.dsn, driver) as connection:
        connection.listen(channel)

        health = connection.backend.check()
        again = connection.backend.check()
        pid = connection.backend.server_pid

    assert (health.in_recovery, health.channels) == (None, None)
    assert (health.queue_usage, health.server_pid) == (0.0, pid)
    assert [name for name, _ in health.unchecked] == ["in_recovery", "channels"]
    assert again == health


def test_a_role_that_may_ask_for_everything_does(driver, without, channel):
    with listening(without().dsn, channel, driver=driver) as listener:
        assert listener.status().unchecked == ()


def test_a_role_that_may_not_notify_is_told_so_at_once(driver, without, channel):
    lesser = without("pg_notify(pg_catalog.text, pg_catalog.text)")
    with pgnotify.connect(lesser.dsn, driver) as connection:
        for send in (
            lambda: connection.notify(channel, "1"),
            lambda: connection.notify_many([(channel, "1")]),
            lambda: connection.notification_handler(channel, print).notify(),
        ):
            with pytest.raises(Exception, match="permission denied for function pg_notify") as caught:
                send()
            assert sqlstate_of(caught.value) == "42501"
        connection.listen(channel)

    with Listener(lesser.dsn, channel, driver=driver) as listener:
        probe = listener.probe()
    assert probe.delivering == "unknown"
    assert "permission denied for function pg_notify" in probe.reason
