"""Roles: a sender sends and does nothing else, a reader reads, and everybody else is told what is missing."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

import pgnotify
from pgnotify import Listener, Outbox, OutboxError
from pgnotify.connecting import conninfo
from pgnotify.registry import installed_drivers
from pgnotify.testing._wire import Session, SQLError
from tests.helpers.listeners import next_payloads
from tests.helpers.outboxes import installed_outbox, new_outbox, stored, tables_of

pytestmark = pytest.mark.skipif(not installed_drivers(), reason="no driver is installed")

SENDER, READER, STRANGER = (f"{role}_{os.getpid()}" for role in ("sender", "reader", "stranger"))
NAME = 'we"ird \\ 日本'


@pytest.fixture(scope="module")
def roles(address):
    """Roles without any right."""
    names = ", ".join((SENDER, READER, STRANGER))
    with Session(*address) as session:
        for role in (SENDER, READER, STRANGER):
            session.sql(f"CREATE ROLE {role}")
        yield
        session.sql(f"DROP OWNED BY {names}; DROP ROLE {names}")


@pytest.fixture
def outbox(session, roles):
    """An outbox that knows its sender and its reader."""
    with installed_outbox(session) as made:
        session.sql(made.install_sql([SENDER], [READER]).partition("IS 'pgnotify outbox, version 1';")[2])
        yield made


@pytest.fixture
def act_as(address):
    """A function that returns a connection string with settings, such as ``role="…"``."""
    with ExitStack() as stack:

        def connect(**settings):
            return stack.enter_context(pgnotify.connect(dsn(**settings), driver=installed_drivers()[0]))

        def dsn(**settings):
            options = " ".join(f"-c {name}={value}" for name, value in settings.items())
            return conninfo.serialize({**conninfo.parse(address.dsn), "options": options})

        connect.dsn = dsn
        yield connect


def received(outbox, dsn, count, **options):
    with Listener(dsn, "orders", outbox=outbox, start="all", **options) as listener:
        return next_payloads(listener, count)


def test_a_sender_sends_and_does_nothing_else(outbox, session, act_as, address):
    db = act_as(role=SENDER)
    outbox.notify(db, "orders", "1")
    outbox.notify_many(db, [("orders", "2")])
    assert stored(session, outbox) == ["1", "2"]

    table = tables_of(outbox).messages
    with Session(*address) as sender:
        sender.sql(f"SET ROLE {SENDER}")
        for forbidden in (
            f"INSERT INTO {table} (channel, payload, xid) VALUES ('a', '', '1')",
            f"INSERT INTO {table} (channel, payload, pid) VALUES ('a', '', 1)",
            f"INSERT INTO {table} (channel, payload, sent_at) VALUES ('a', '', now())",
            f"INSERT INTO {table} (channel, payload, id) OVERRIDING SYSTEM VALUE VALUES ('a', '', 1)",
            f"SELECT payload FROM {table}",
            f"UPDATE {table} SET payload = ''",
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
            f"SELECT 1 FROM {tables_of(outbox).subscriptions}",
            f"SELECT 1 FROM {tables_of(outbox).home}",
        ):
            with pytest.raises(SQLError, match="permission denied"):
                sender.sql(forbidden)


def test_a_reader_listens_with_a_name_and_without(outbox, session, act_as):
    outbox.notify_many(act_as(), [("orders", "1"), ("orders", "2")])

    for durable in (None, "billing"):
        assert received(outbox, act_as.dsn(role=READER), 2, durable=durable) == ["1", "2"]
    assert outbox.status(act_as(role=READER)).subscriptions[0].name == "billing"
    with pytest.raises(OutboxError, match=r"may not send to the outbox .*install --sender"):
        outbox.notify(act_as(role=READER), "orders", "3")


@pytest.mark.parametrize("durable", [None, "billing"])
@pytest.mark.parametrize("who", ["sender", "stranger"])
def test_others_are_told_what_they_lack(outbox, act_as, who, durable):
    role = {"sender": SENDER, "stranger": STRANGER}[who]
    with pytest.raises(OutboxError, match=f"the role {role} may not read .*install --reader {role}"):
        received(outbox, act_as.dsn(role=role), 1, durable=durable)
    with pytest.raises(OutboxError, match=f"the role {role} may not read"):
        outbox.status(act_as(role=role))


def test_a_role_that_may_only_look_has_no_durable_name(outbox, session, act_as):
    session.sql(f"REVOKE INSERT ON {tables_of(outbox).subscriptions} FROM {READER}")
    outbox.notify(act_as(), "orders", "1")

    assert received(outbox, act_as.dsn(role=READER), 1) == ["1"]
    with pytest.raises(OutboxError, match=f"{READER} may not read .*, or keep positions in it: .*--reader"):
        received(outbox, act_as.dsn(role=READER), 1, durable="billing")


def test_row_level_security_that_hides_everything_is_told(outbox, session, act_as):
    tables = tables_of(outbox)
    names = (tables.messages, tables.subscriptions, tables.home, tables.pruned)
    for table in names:
        session.sql(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")

    for durable in (None, "billing"):
        with pytest.raises(OutboxError, match=f"row-level security hides .* from the role {READER}: .* add a policy"):
            received(outbox, act_as.dsn(role=READER), 1, durable=durable)
    with pytest.raises(OutboxError, match=r"may not send .*row-level security"):
        outbox.notify(act_as(role=SENDER), "orders", "1")

    for table in names:
        session.sql(f"CREATE POLICY all_of_it ON {table} TO {READER} USING (true) WITH CHECK (true)")
    session.sql(f"CREATE POLICY sending ON {tables.messages} FOR INSERT TO {SENDER} WITH CHECK (channel = 'orders')")
    outbox.notify(act_as(role=SENDER), "orders", "1")
    for durable in (None, "billing"):
        assert received(outbox, act_as.dsn(role=READER), 1, durable=durable) == ["1"]


def test_a_session_that_is_read_only_listens_without_a_name(outbox, session, act_as):
    outbox.notify(act_as(), "orders", "1")
    dsn = act_as.dsn(default_transaction_read_only="on")

    assert received(outbox, dsn, 1) == ["1"]
    with pytest.raises(OutboxError, match=r"'billing' needs a session that can write, .* options="):
        received(outbox, dsn, 1, durable="billing")
    with pytest.raises(Exception, match="read-only transaction"):
        outbox.notify(act_as(default_transaction_read_only="on"), "orders", "2")


@pytest.mark.parametrize("settings", [{"search_path": ""}, {"standard_conforming_strings": "off"}])
def test_no_setting_of_a_session_leads_elsewhere(session, act_as, settings):
    quoted = '"' + NAME.replace('"', '""') + '"'
    session.sql(f"CREATE SCHEMA {quoted}")
    try:
        outbox = Outbox(new_outbox().name, NAME)
        db = act_as(**settings)
        outbox.install(db)
        outbox.notify_many(db, [("orders", "1"), ("orders", "2")])
        for durable in (None, "billing"):
            assert received(outbox, act_as.dsn(**settings), 2, durable=durable) == ["1", "2"]
        assert outbox.status(db).is_void is False
        assert outbox.rebase(db).new_home is False
        assert outbox.prune(db) == 0
    finally:
        session.sql(f"DROP SCHEMA {quoted} CASCADE")
