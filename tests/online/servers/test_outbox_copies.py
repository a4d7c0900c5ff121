"""A copy of an outbox: its positions mean nothing there, which is noticed, and mended by a rebase."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import pgnotify
from pgnotify import Listener, Outbox, VoidPosition
from pgnotify.outbox.rebasing import Rebased
from pgnotify.registry import DRIVERS
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from pgnotify.testing._wire import Session
from pgnotify.testing.address import Address
from tests.helpers.listeners import next_payloads
from tests.helpers.outboxes import installed_outbox, tables_of

pytestmark = pytest.mark.drivers(*DRIVERS)

ALL = ["1", "2", "3", "4"]


class Servers(NamedTuple):
    """Two servers; the second one has had more transactions."""

    low: TemporaryPostgreSQL
    high: TemporaryPostgreSQL


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    try:
        low, high = TemporaryPostgreSQL(), TemporaryPostgreSQL()
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    if not (low.bin_directory / "pg_dump").exists():
        pytest.skip("not applicable: this PostgreSQL comes without pg_dump")
    with low, high, Session(*high.address) as session:
        session.sql("DO $$ BEGIN FOR i IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
        yield Servers(low, high)


class Original(NamedTuple):
    """An outbox with the messages of `ALL`, of which the subscription billing has read two."""

    outbox: Outbox
    address: Address


@pytest.fixture
def original(request, servers) -> Iterator[Original]:
    """An outbox on the first server, or on the one that the test names."""
    address = getattr(servers, getattr(request, "param", "low")).address
    with Session(*address) as session, installed_outbox(session) as outbox, pgnotify.connect(address.dsn) as db:
        outbox.notify_many(db, [("orders", payload) for payload in ALL])
        with Listener(address.dsn, "orders", outbox=outbox, durable="billing", start="all") as listener:
            next(listener.batches(2)).acknowledge(db)
        yield Original(outbox, address)


def dumped(original: Original, servers: Servers, to: Address) -> None:
    """Dump the database, and restore them in another database."""
    programs = servers.low.bin_directory
    text = run(programs / "pg_dump", original.address, "--dbname", original.address.database)
    run(programs / "psql", to, "--dbname", to.database, "--set=ON_ERROR_STOP=1", "--quiet", given=text)


def run(program, address: Address, *options: str, given: str | None = None) -> str:
    where = ["--host", address.host, "--port", str(address.port), "--username", address.user]
    environment = {"PGPASSWORD": address.password or ""}
    done = subprocess.run([program, *where, *options], input=given, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copy(request, servers, original) -> Iterator[Address]:
    """The address of another database, into which the outbox was dumped and restored."""
    server = getattr(servers, request.param)
    with Session(*server.address) as session:
        session.sql("CREATE DATABASE copy TEMPLATE template0")
        there = server.address._replace(database="copy")
        try:
            dumped(original, servers, there)
            yield there
        finally:
            session.sql("DROP DATABASE copy (FORCE)")


def received(outbox, address, count, **options):
    with Listener(address.dsn, "orders", outbox=outbox, start="all", **options) as listener:
        return next_payloads(listener, count)


FROM_AND_TO = [("low", "low"), ("low", "high"), ("high", "low")]
"""The server of the outbox, and that of its copy: the same one, one that is ahead, and one that is behind."""


@pytest.mark.parametrize(("original", "copy"), FROM_AND_TO, indirect=True)
def test_a_dump_is_void_until_it_is_rebased_and_then_all_comes_at_least_once(original, copy):
    outbox = original.outbox
    with pgnotify.connect(copy.dsn) as db, Session(*copy) as session:
        assert outbox.status(db).is_void
        for durable in ("billing", None):
            with pytest.raises(VoidPosition, match="run `pgnotify outbox rebase`"):
                received(outbox, copy, 1, durable=durable)

        done = outbox.rebase(db)
        assert (done.new_home, done.subscriptions) == (True, 1)
        assert outbox.rebase(db) == Rebased(new_home=False, messages=0, subscriptions=0)

        for durable in ("billing", None):
            assert received(outbox, copy, 4, durable=durable) == ALL
        ahead = "xid >= pg_snapshot_xmax(pg_current_snapshot())"
        assert session.sql(f"SELECT 1 FROM {tables_of(outbox).messages} WHERE {ahead}") == []
        outbox.notify(db, "orders", "5")
        assert outbox.status(db).is_void is False
    assert received(outbox, original.address, 2, durable="billing") == ["3", "4"]  # there nothing has changed


# Without a copy.


REWRITES = (
    "VACUUM (FREEZE) {home}",
    "VACUUM (FREEZE) {messages}",
    "VACUUM FULL {home}",
    "VACUUM FULL {messages}",
    "CLUSTER {home} USING {home_key}",
    "CLUSTER {messages} USING {messages_key}",
    "REINDEX TABLE {messages}",
    "ALTER TABLE {messages} SET (autovacuum_enabled = false)",
)


def test_what_the_server_does_with_its_tables_voids_nothing(original):
    outbox, tables = original.outbox, tables_of(original.outbox)
    names = {"home": tables.home, "messages": tables.messages}
    keys = {"home_key": f"{outbox.name}_home_pkey", "messages_key": f"{outbox.name}_pkey"}
    with Session(*original.address) as session, pgnotify.connect(original.address.dsn) as db:
        for rewrite in REWRITES:
            session.sql(rewrite.format(**names, **keys))
            assert outbox.status(db).is_void is False, rewrite

        assert outbox.rebase(db) == Rebased(new_home=False, messages=0, subscriptions=0)
    assert received(outbox, original.address, 2, durable="billing") == ["3", "4"]


def test_an_emptied_table_voids_nothing(original):
    with Session(*original.address) as session, pgnotify.connect(original.address.dsn) as db:
        session.sql(f"TRUNCATE {tables_of(original.outbox).messages}")
        original.outbox.notify(db, "orders", "5")
    assert received(original.outbox, original.address, 1, durable="billing") == ["5"]


def test_rows_that_replication_copies_get_a_transaction_of_this_server_and_its_subscriptions_are_void(original):
    outbox, tables = original.outbox, tables_of(original.outbox)
    with Session(*original.address) as session, pgnotify.connect(original.address.dsn) as db:
        session.sql("SET session_replication_role = replica")
        session.sql(
            f"INSERT INTO {tables.messages} (id, xid, channel, payload) OVERRIDING SYSTEM VALUE "
            "VALUES (1000, '99999999', 'orders', '5')"
        )
        session.sql(f"UPDATE {tables.subscriptions} SET seen = '99999999:99999999:'")

        assert session.sql(f"SELECT 1 FROM {tables.messages} WHERE xid = '99999999'") == []
        (subscription,) = outbox.status(db).subscriptions
        assert subscription.is_void
        with pytest.raises(VoidPosition, match="run `pgnotify outbox rebase`"):
            received(outbox, original.address, 1, durable="billing")
        assert received(outbox, original.address, 5) == [*ALL, "5"]  # others are not affected

        with pytest.raises(pgnotify.OutboxError, match="no subscription 'nobody'"):
            outbox.rebase(db, "nobody")
        assert outbox.rebase(db, "billing") == Rebased(new_home=False, messages=0, subscriptions=1)
    assert received(outbox, original.address, 5, durable="billing") == [*ALL, "5"]


def test_an_outbox_that_has_lost_its_mark_is_void_until_it_is_rebased(original):
    outbox = original.outbox
    with Session(*original.address) as session, pgnotify.connect(original.address.dsn) as db:
        session.sql(f"TRUNCATE {tables_of(outbox).home}")
        for durable in ("billing", None):
            with pytest.raises(VoidPosition, match="run `pgnotify outbox rebase`"):
                received(outbox, original.address, 1, durable=durable)

        assert outbox.rebase(db).new_home
        assert received(outbox, original.address, 4, durable="billing") == ALL


def test_a_listener_without_a_name_starts_over_after_a_rebase(original):
    outbox = original.outbox
    with (
        Session(*original.address) as session,
        pgnotify.connect(original.address.dsn) as db,
        Listener(original.address.dsn, "orders", outbox=outbox, start="all") as listener,
    ):
        assert next_payloads(listener, 4) == ALL
        session.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgnotify%'")
        session.sql(f"UPDATE {tables_of(outbox).home} SET said = 'another' WHERE part = 1")
        outbox.rebase(db)
        outbox.notify(db, "orders", "5")

        assert next_payloads(listener, 1) == ["5"]  # it remembers that it has delivered the others
