"""An outbox that logical replication carries to a second server, with listeners there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

import pgnotify
from pgnotify.outbox.tables import literal, quoted
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from tests.helpers.waiting import PATIENCE, eventually

psycopg = pytest.importorskip("psycopg")

from tests.soak.two_servers import Trial, TwoServers, is_kept  # noqa: E402  # it uses psycopg

pytestmark = pytest.mark.drivers("psycopg")

OUTBOX = pgnotify.Outbox()
_WRITE_UNTIL = """
    DO $$ BEGIN
        LOOP EXIT WHEN pg_current_xact_id() > '{ahead}'; COMMIT; END LOOP;
    END $$
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[TwoServers]:
    """Two servers, of which the second one has a copy of the outbox of the first one."""
    try:
        version = TemporaryPostgreSQL().version
        if int(version.partition(".")[0]) < 15:
            pytest.skip(f"not applicable: a publication of some columns needs PostgreSQL 15, this is {version}")
        with TwoServers(OUTBOX) as servers:
            yield servers
    except NoPostgreSQL as error:
        pytest.skip(str(error))


@pytest.fixture
def subscription(channel) -> str:
    """The name of a subscription; that of a slot may have no more than this."""
    return "subscription_" + re.sub("[^a-z0-9]", "", channel)


@pytest.fixture
def outbox(servers, channel) -> pgnotify.Outbox:
    """Another outbox on both servers, of which nothing is copied yet; its names have to be quoted."""
    outbox = pgnotify.Outbox(channel, schema=f"it's {channel}")
    for server in (servers.first, servers.second):
        server.sql(f"CREATE SCHEMA {quoted(outbox.schema)}; {outbox.install_sql()}")
    return outbox


def _send(server: TemporaryPostgreSQL, outbox: pgnotify.Outbox, channel: str, *payloads: str) -> None:
    with pgnotify.connect(server.dsn) as connection:
        outbox.notify_many(connection, [(channel, payload) for payload in payloads])


def _received(servers: TwoServers, outbox: pgnotify.Outbox, channel: str, count: int, **options: Any) -> list[str]:
    """Return the payloads that a new listener on the second server gets, in order."""
    with pgnotify.Listener(servers.second.dsn, channel, outbox=outbox, **options) as listener:
        return [message.payload for message in listener.notifications(timeout=PATIENCE, stop_after=count)]


def _processed(servers: TwoServers, outbox: pgnotify.Outbox, channel: str, count: int, **options: Any) -> list[str]:
    """Return the payloads that a durable listener on the second server gets and acknowledges, in order."""
    payloads: list[str] = []
    with pgnotify.Listener(servers.second.dsn, channel, outbox=outbox, durable="billing", **options) as listener:
        for batch in listener.batches(timeout=PATIENCE):
            with pgnotify.connect(servers.second.dsn) as connection:
                batch.acknowledge(connection)
            payloads += [message.payload for message in batch]
            if len(payloads) >= count:
                break
    return payloads


def test_nothing_is_lost_or_doubled_while_links_are_cut_and_servers_killed(servers):
    report = Trial(servers, OUTBOX, seed=15).run(["link reset", "second killed", "first killed", "link reset"])

    assert is_kept(report), f"\n{report}"
    assert report.sent > report.faults.total() * 200
    assert report.rolled_back


def test_a_copy_has_what_was_stored_before(servers, outbox, channel, subscription):
    _send(servers.first, outbox, channel, "1", "2")
    with pgnotify.Listener(servers.second.dsn, channel, outbox=outbox, durable="before"):
        pass  # its position is stored
    servers.first.sql(outbox.publication_sql())

    servers.second.sql(outbox.subscription_sql(servers.source, subscription))

    assert _received(servers, outbox, channel, 2, durable="before") == ["1", "2"]
    assert _received(servers, outbox, channel, 2, durable="after", start="all") == ["1", "2"]
    assert _received(servers, outbox, channel, 2, start="all") == ["1", "2"]


def test_a_message_keeps_its_fields(servers, channel):
    with pgnotify.Listener(servers.second.dsn, channel, outbox=OUTBOX) as listener:
        _send(servers.first, OUTBOX, channel, "x" * 20_000)
        [message] = listener.notifications(timeout=PATIENCE, stop_after=1)

    with pgnotify.Listener(servers.first.dsn, channel, outbox=OUTBOX, start="all") as listener:
        assert list(listener.notifications(timeout=PATIENCE, stop_after=1)) == [message]


def test_sending_on_the_copy_is_refused(servers, channel):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="send on the server that it is copied from"):
        _send(servers.second, OUTBOX, channel, "here")


def test_each_server_removes_its_old_messages_itself(servers, channel):
    _send(servers.first, OUTBOX, channel, "old")
    assert _received(servers, OUTBOX, channel, 1, start="all") == ["old"]

    servers.first.sql(f"DELETE FROM public.pgnotify_outbox WHERE channel = {literal(channel)}")
    _send(servers.first, OUTBOX, channel, "new")

    assert _received(servers, OUTBOX, channel, 2, start="all") == ["old", "new"]


def test_copied_positions_are_void_and_copied_messages_are_not(servers, outbox, channel, subscription):
    """Even if somebody publishes all tables, with all columns, and the first server has had more transactions."""
    with pgnotify.Listener(servers.first.dsn, channel, outbox=outbox, durable="billing"):
        pass
    ahead = int(servers.second.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())")) + 1000
    servers.first.sql(_WRITE_UNTIL.format(ahead=ahead))
    _send(servers.first, outbox, channel, "1")
    tables = outbox._tables
    servers.first.sql(f"CREATE PUBLICATION {subscription} FOR TABLE {tables.messages}, {tables.subscriptions}")

    servers.second.sql(f"CREATE SUBSCRIPTION {subscription} CONNECTION '{servers.source}' PUBLICATION {subscription}")

    assert _received(servers, outbox, channel, 1, start="all") == ["1"]
    eventually(lambda: servers.second.sql(f"SELECT name FROM {tables.subscriptions}") == "billing")
    with pytest.raises(pgnotify.errors.VoidPosition, match="it is a copy"):
        _received(servers, outbox, channel, 1, durable="billing")


def test_a_copy_goes_on_without_the_first_server(servers, outbox, channel, subscription):
    _send(servers.first, outbox, channel, "1", "2")
    servers.first.sql(outbox.publication_sql())
    servers.second.sql(outbox.subscription_sql(servers.source, subscription))
    assert _processed(servers, outbox, channel, 2, start="all") == ["1", "2"]

    servers.second.sql(f"DROP SUBSCRIPTION {subscription}")
    servers.second.sql(outbox.standalone_sql())
    _send(servers.second, outbox, channel, "3")

    assert _processed(servers, outbox, channel, 1) == ["3"]


def test_a_copy_that_begins_again_has_everything_a_second_time(servers, outbox, channel, subscription):
    """As is needed when the first server could not keep what the second one had not got yet."""
    _send(servers.first, outbox, channel, "1", "2")
    servers.first.sql(outbox.publication_sql())
    servers.second.sql(subscribe := outbox.subscription_sql(servers.source, subscription))
    assert _processed(servers, outbox, channel, 2, start="all") == ["1", "2"]

    servers.second.sql(f"DROP SUBSCRIPTION {subscription}; TRUNCATE {outbox._tables.messages}")
    _send(servers.first, outbox, channel, "3")
    servers.second.sql(subscribe.splitlines()[-1])

    assert _processed(servers, outbox, channel, 3) == ["1", "2", "3"]


def test_uninstalling_leaves_nothing(servers, outbox, subscription):
    servers.first.sql(outbox.publication_sql())
    servers.second.sql(outbox.subscription_sql(servers.source, subscription))

    servers.second.sql(f"DROP SUBSCRIPTION {subscription}")
    for server in (servers.first, servers.second):
        server.sql(outbox.uninstall_sql())

        server.sql(f"DROP SCHEMA {quoted(outbox.schema)}")  # it is empty
