"""Names and texts that want to be SQL are quoted: identifiers, literals and arrays."""

from __future__ import annotations

import pytest

from pgnotify.outbox.rows import place_of
from pgnotify.outbox.statements import Statements, array
from pgnotify.outbox.tables import LONGEST_NAME_BYTES, Tables, literal, quoted

pglast = pytest.importorskip("pglast")

NASTY = [
    'a"b',
    "a'b",
    "a\\b",
    "a\\'b",
    "{messages}",
    "$1",
    "%s",
    "a b; DROP TABLE x --",
    "é" * 20,
    "{home}",
    "a\nb",
    "é",
]


@pytest.mark.parametrize("text", NASTY)
def test_a_literal_is_the_text(text):
    (statement,) = pglast.parse_sql(f"SELECT {literal(text)}")
    (column,) = statement.stmt.targetList
    assert column.val.val.sval == text


@pytest.mark.parametrize("name", NASTY)
def test_an_identifier_is_the_name(name):
    (statement,) = pglast.parse_sql(f"SELECT FROM {quoted(name)}.{quoted(name)}")
    (table,) = statement.stmt.fromClause
    assert (table.schemaname, table.relname) == (name, name)


@pytest.mark.parametrize("name", NASTY)
def test_every_statement_of_an_outbox_with_that_name_is_one_statement(name):
    statements = Statements(Tables(name, name))
    texts = [statements.begin, statements.send, statements.send_many, statements.subscribe, statements.set_channels]
    texts += [statements.lock, statements.unlock, statements.acknowledge, statements.flush]
    for text in [*texts, statements.read(500, 0), statements.read(500, 0, flushes=True), statements.read_name(1, 0)]:
        assert len(pglast.parse_sql(text)) == 1


def test_the_longest_name_has_room_for_those_of_its_tables():
    tables = Tables("x" * LONGEST_NAME_BYTES, "public")
    assert len(tables.qualified("_subscription_copied")) <= len('"public".""') + 63
    with pytest.raises(ValueError, match=f"at most {LONGEST_NAME_BYTES}"):
        Tables("x" * (LONGEST_NAME_BYTES + 1), "public")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), "{}"),
        (("a", "b"), '{"a","b"}'),
        (("",), '{""}'),
        (("NULL",), '{"NULL"}'),
        (('a"b', "a\\b", "a,b", "{c}"), '{"a\\"b","a\\\\b","a,b","{c}"}'),
    ],
)
def test_an_array_keeps_its_texts(texts, expected):
    assert array(texts) == expected


@pytest.mark.parametrize(
    ("lsn", "place"), [("0/0", 0), ("0/171D798", 0x171D798), ("1/0", 1 << 32), ("A/FF", 0xA000000FF)]
)
def test_a_place_in_the_log_is_a_number_of_bytes(lsn, place):
    assert place_of(lsn) == place
