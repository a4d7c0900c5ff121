"""The SQL that carries an outbox to a further server."""

from __future__ import annotations

import pytest

import pgnotify
from tests.helpers.unqualified import WITH_PGLAST, unqualified

OUTBOX = pgnotify.Outbox('a "b"', "it's")


def test_the_transaction_of_the_first_server_is_not_published():
    assert " (id, channel, payload, pid, sent_at) " in OUTBOX.publication_sql()


def test_removed_messages_are_not_published():
    assert "(publish = 'insert')" in OUTBOX.publication_sql()


def test_names_and_the_connection_string_are_quoted():
    subscribe = OUTBOX.subscription_sql("password='it\\'s'", 'c "d"')

    assert 'CREATE PUBLICATION "a ""b""" FOR TABLE "it\'s"."a ""b""" (' in OUTBOX.publication_sql()
    assert r"CONNECTION  E'password=''it\\''s''' PUBLICATION" in subscribe
    assert 'CREATE SUBSCRIPTION "c ""d""" ' in subscribe
    assert ' PUBLICATION "a ""b""" ' in subscribe


def test_a_subscription_has_the_name_of_the_outbox_unless_told_otherwise():
    assert 'CREATE SUBSCRIPTION "pgnotify_outbox" ' in pgnotify.Outbox().subscription_sql("host=x")


@pytest.mark.parametrize("name", ["", "x" * 64, "\0"])
def test_an_impossible_name_is_refused(name):
    with pytest.raises(ValueError, match="name"):
        OUTBOX.subscription_sql("host=x", name)


@WITH_PGLAST
@pytest.mark.parametrize(
    "sql", [OUTBOX.publication_sql(), OUTBOX.subscription_sql("host=x"), OUTBOX.standalone_sql()], ids=["1", "2", "3"]
)
def test_everything_is_qualified(sql):
    assert unqualified(sql) == []
