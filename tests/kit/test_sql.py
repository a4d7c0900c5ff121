"""What the kit sends to a server: every name in it has its schema, as in all that pgnotify sends."""

from __future__ import annotations

import psycopg

import pgnotify
from pgnotify.testing import BackendConformance
from tests.helpers.logged import logging_server
from tests.helpers.unqualified import WITH_PGLAST, unqualified


class Psycopg(BackendConformance):
    """The kit on psycopg."""

    def connect(self, address):
        return psycopg.connect(address.dsn)


@WITH_PGLAST
def test_each_statement_of_the_kit_names_its_schemas():
    table = []
    with logging_server() as logged:
        kit = type("Kit", (Psycopg,), {"address": logged.address})
        assert pgnotify.check(kit, tell=table.append), table
        statements = logged.statements()

    assert {statement: names for statement in statements if (names := unqualified(statement))} == {}
    assert len(statements) > 100
