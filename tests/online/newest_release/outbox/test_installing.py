"""An outbox is installed once, upgraded in place, and never put over another table."""

from __future__ import annotations

import threading

import pytest

import pgnotify
from pgnotify import OutboxError
from pgnotify.outbox import schema
from pgnotify.registry import installed_drivers
from pgnotify.testing._wire import SQLError
from tests.helpers.outboxes import new_outbox, tables_of
from tests.helpers.waiting import PATIENCE

pytestmark = pytest.mark.skipif(not installed_drivers(), reason="no driver is installed")

OLDER = "pgnotify outbox, version 0; of the team of orders"


@pytest.fixture
def outbox(session):
    """An outbox that is not installed, and is removed at the end."""
    made = new_outbox()
    yield made
    session.sql(made.uninstall_sql())


@pytest.fixture
def db(address):
    """A connection in autocommit mode."""
    with pgnotify.connect(address.dsn, driver=installed_drivers()[0]) as connection:
        yield connection


@pytest.fixture
def older(db, session, outbox, monkeypatch):
    """The outbox in a version 0, which has no column pid yet."""
    outbox.install(db)
    table = tables_of(outbox).messages
    session.sql(f"ALTER TABLE {table} DROP COLUMN pid; COMMENT ON TABLE {table} IS '{OLDER}'")
    to_1 = "ALTER TABLE {messages} ADD pid pg_catalog.int4 NOT NULL DEFAULT pg_catalog.pg_backend_pid();"
    monkeypatch.setitem(schema.UPGRADES, 0, to_1)
    return outbox


def set_version(session, outbox, version):
    session.sql(f"COMMENT ON TABLE {tables_of(outbox).messages} IS 'pgnotify outbox, version {version}'")


def test_a_second_time_it_keeps_the_messages_and_gives_rights(db, session, outbox):
    outbox.install(db)
    outbox.notify(db, "orders", "1")
    outbox.install(db, senders=["postgres"])

    assert outbox.status(db).messages == 1
    table = tables_of(outbox).messages
    assert session.sql(f"SELECT attacl FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attacl IS NOT NULL")


def test_an_older_one_is_upgraded_with_its_messages(db, older):
    older.install(db)

    older.notify(db, "orders", "1")
    assert older.status(db).version == schema.VERSION


def test_an_upgrade_that_another_process_has_made_changes_nothing(db, session, older):
    text = older.upgrade_sql(0)
    session.sql(text)

    with pytest.raises(SQLError, match="does not have version 0"):
        session.sql(text)

    assert older.status(db).version == schema.VERSION
    assert older.upgrade_sql(schema.VERSION) == ""
    with pytest.raises(ValueError, match=f"version 7 .* this release knows 0 to {schema.VERSION}"):
        older.upgrade_sql(7)


def test_one_that_no_upgrade_is_known_for_is_left_alone(db, session, outbox):
    outbox.install(db)
    set_version(session, outbox, 0)

    with pytest.raises(OutboxError, match="version 0 of the outbox is not known"):
        outbox.install(db)


@pytest.mark.parametrize("durable", [None, "billing"])
@pytest.mark.parametrize(("version", "remedy"), [(99, "install a newer release"), (0, "run `pgnotify outbox install`")])
def test_another_version_is_not_used(db, session, outbox, address, version, remedy, durable):
    outbox.install(db)
    set_version(session, outbox, version)

    for use in (outbox.status, outbox.rebase, outbox.prune):
        with pytest.raises(OutboxError, match=f"has version {version}, .*{remedy}"):
            use(db)
    with (
        pytest.raises(OutboxError, match=f"has version {version}, .*{remedy}"),
        pgnotify.Listener(address.dsn, "orders", outbox=outbox, durable=durable) as listener,
    ):
        next(iter(listener))


def test_a_newer_one_is_not_installed_over(db, session, outbox):
    outbox.install(db)
    set_version(session, outbox, 99)

    with pytest.raises(OutboxError, match="version 99"):
        outbox.install(db)


def test_a_table_of_the_users_is_not_touched(db, session, outbox):
    table = tables_of(outbox).messages
    session.sql(f"CREATE TABLE {table} (channel text); INSERT INTO {table} VALUES ('mine')")

    for use in (outbox.install, outbox.uninstall, outbox.status, outbox.prune, outbox.rebase):
        with pytest.raises(OutboxError, match="is not an outbox: choose another name"):
            use(db)
    with pytest.raises(OutboxError, match="is not an outbox: choose another name"):
        outbox.notify(db, "orders", "1")

    assert session.sql(f"SELECT channel FROM {table}") == [("mine",)]


def test_without_one_each_use_names_the_remedy(db, outbox):
    for use in (outbox.status, outbox.prune, outbox.rebase):
        with pytest.raises(OutboxError, match=r"there is no outbox public\..*: run `pgnotify outbox install`"):
            use(db)
    outbox.uninstall(db)


def test_processes_that_install_at_once_do_not_disturb_each_other(address, outbox):
    count, failures = 5, []
    together = threading.Barrier(count)

    def install():
        with pgnotify.connect(address.dsn, driver=installed_drivers()[0]) as connection:
            together.wait(PATIENCE)
            try:
                outbox.install(connection, readers=["postgres"])
                outbox.notify(connection, "orders", "1")
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=install) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert failures == []
    with pgnotify.connect(address.dsn, driver=installed_drivers()[0]) as connection:
        assert outbox.status(connection).messages == count


def test_tables_that_are_gone_are_named(db, session, outbox):
    outbox.install(db)
    session.sql(f"DROP TABLE {tables_of(outbox).home}")

    with pytest.raises(OutboxError, match=r"some tables of the outbox .* are not there"):
        outbox.status(db)
