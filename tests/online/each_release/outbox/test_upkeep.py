"""The tables of an outbox and their upkeep, on every kind of connection."""

from __future__ import annotations

from datetime import timedelta

import pytest

import pgnotify
from pgnotify import Outbox, OutboxError
from pgnotify.outbox.rebasing import Rebased
from pgnotify.testing._wire import literal
from tests.helpers.outboxes import make_older, new_outbox, stored, tables_of

NAME = "we\"ird a.b 日本 \\ %s :x $1 ? $$ it's"


@pytest.fixture
def outbox(session):
    """An outbox that is not installed, and is removed at the end."""
    made = new_outbox()
    yield made
    session.sql(made.uninstall_sql())


def is_installed(session, outbox):
    return session.sql(f"SELECT pg_catalog.to_regclass({literal(tables_of(outbox).messages)})")[0][0] is not None


def test_it_is_installed_in_the_users_transaction(db, user, session, outbox):
    user.begin()
    outbox.install(db)
    outbox.notify(db, "orders", "1")
    user.rollback()
    assert not is_installed(session, outbox)

    outbox.install(db)
    if user.kind.implicit_transactions:
        assert not is_installed(session, outbox)
        user.commit()
    assert is_installed(session, outbox)

    outbox.uninstall(db)
    if user.kind.implicit_transactions:
        user.commit()
    assert not is_installed(session, outbox)


def test_upkeep_leaves_an_idle_connection_idle(db, user, session, outbox, address):
    session.sql(outbox.install_sql())
    outbox.notify_many(db, [("orders", "1"), ("orders", "2")])
    if user.kind.implicit_transactions:
        user.commit()
    make_older(session, outbox, ["1"])

    assert outbox.prune(db) == 1
    status = outbox.status(db)
    assert outbox.rebase(db) == Rebased(new_home=False, messages=0, subscriptions=0)

    assert (status.messages, status.subscriptions) == (1, ())
    assert stored(session, outbox) == ["2"]  # which another session would not see before a commit
    pgnotify.wrap(db).backend.listen("orders")  # refused inside a transaction


def test_names_are_taken_as_written(db, user, session):
    name, schema = NAME, f"{NAME} schema"
    quoted = '"' + schema.replace('"', '""') + '"'
    session.sql(f"DROP SCHEMA IF EXISTS {quoted} CASCADE; CREATE SCHEMA {quoted}")
    outbox = Outbox(name, schema, max_age=timedelta(seconds=1))
    try:
        outbox.install(db, senders=["postgres"], readers=["postgres"])
        outbox.install(db)
        outbox.notify(db, name, name)
        if user.kind.implicit_transactions:
            user.commit()

        assert outbox.status(db).messages == 1
        make_older(session, outbox, [name])
        assert outbox.prune(db) == 1
        outbox.uninstall(db)
        if user.kind.implicit_transactions:
            user.commit()
    finally:
        if user.kind.implicit_transactions:
            user.rollback()
        session.sql(f"DROP SCHEMA {quoted} CASCADE")


def test_a_sender_is_told_what_to_do_without_an_outbox(db, user, outbox):
    with pytest.raises(OutboxError, match=f"no outbox public.{outbox.name} .*pgnotify outbox install") as caught:
        outbox.notify(db, "orders", "1")

    assert isinstance(caught.value.__cause__, Exception)
    if user.kind.implicit_transactions:
        user.rollback()
