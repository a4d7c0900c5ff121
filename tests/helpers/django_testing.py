"""Tests of a Django project, as its author would write them: nothing in a TestCase is ever committed.

The input is a connection string. The tests run in its database itself.
"""

from __future__ import annotations

import sys
import unittest

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection, transaction
from django.test import TestCase

import pgnotify
from pgnotify.connecting.conninfo import parse
from pgnotify.testing import sent_notifications

outbox = pgnotify.Outbox("of_a_test_case")


class Sends(TestCase):
    """The code under test stands in the tests."""

    def test_a_view_announces_its_order(self) -> None:
        with sent_notifications(connection) as sent:
            pgnotify.notify(connection, "orders", "42")
            pgnotify.notify_many(connection, [("orders", "43"), ("orders", "42")])

        assert sent == [("orders", "42"), ("orders", "43"), ("orders", "42")]
        assert sent.folded() == [("orders", "42"), ("orders", "43")]

    def test_the_drivers_own_connection_is_the_same(self) -> None:
        with sent_notifications(connection) as sent:
            pgnotify.notify(connection.connection, "orders", "42")

        assert sent == [("orders", "42")]

    def test_what_is_sent_on_commit(self) -> None:
        with sent_notifications() as sent, self.captureOnCommitCallbacks(execute=True):
            transaction.on_commit(lambda: pgnotify.notify(connection, "orders", "42"))

        assert sent == [("orders", "42")]

    def test_a_message_is_stored(self) -> None:
        outbox.install(connection)
        with sent_notifications(connection) as sent:
            outbox.notify(connection, "orders", "42")
            outbox.notify_many(connection, [("orders", "43")])

        assert sent == [("orders", "42"), ("orders", "43")]
        assert [each.stored for each in sent] == [True, True]
        with connection.cursor() as cursor:
            cursor.execute("SELECT payload FROM public.of_a_test_case ORDER BY id USING OPERATOR(pg_catalog.<)")
            assert cursor.fetchall() == [("42",), ("43",)]

    async def test_an_asynchronous_view(self) -> None:
        with sent_notifications() as sent:
            await sync_to_async(pgnotify.notify)(connection, "orders", "42")

        assert sent == [("orders", "42")]


def main(dsn: str) -> None:
    """Run the tests."""
    where = parse(dsn)
    names = {"NAME": "dbname", "HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password"}
    default = {name: where.get(keyword, "") for name, keyword in names.items()}
    settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **default}})
    django.setup()
    unittest.main(argv=["tests"])


if __name__ == "__main__":
    main(sys.stdin.read())
