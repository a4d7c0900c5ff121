"""`pgnotify trigger`: its statements on a real server, where they never undo the change of a row."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from pgnotify.cli.trigger.statements import ALL, LARGEST_ROW, Trigger
from pgnotify.outbox.tables import literal, quoted
from pgnotify.testing._wire import Session
from pgnotify.testing.nasty import GOOD_CHANNELS
from tests.helpers.command_line import run
from tests.helpers.twins import PATHS, twins

pytest.importorskip("typer")

SCHEMA = f"triggers_{os.getpid()}"
CHANNEL = "rows of a table"


class Listening:
    """A session that changes rows in a schema of its own, and is notified of it."""

    def __init__(self, session: Session) -> None:
        self.sql = session.sql
        self.listen = session.listen
        self.received = session.received
        session.listen(CHANNEL)

    def make(self, definition: str, **options: Any) -> None:
        """Make a table with these columns, and its triggers."""
        self.sql(f"CREATE TABLE {SCHEMA}.t ({definition})")
        self.sql(Trigger("t", SCHEMA).create_sql(CHANNEL, **options))

    def payloads(self, *statements: str) -> list[str]:
        """Run statements, each in a transaction of its own; return the payloads of what they send."""
        for statement in statements:
            self.sql(statement.replace("{t}", f"{SCHEMA}.t"))
        return [payload for _, payload in self.received()]

    def sent(self, *statements: str) -> list[dict[str, Any]]:
        """Do the same, and return each payload as a dict, without the name of the table, which must be right."""
        found = [json.loads(payload) for payload in self.payloads(*statements)]
        assert all(each.pop("schema") == SCHEMA and each.pop("table") == "t" for each in found)
        return found


@pytest.fixture
def listening(session: Session) -> Iterator[Listening]:
    """A session in an empty schema."""
    session.sql(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
    yield Listening(session)
    session.sql(f"ROLLBACK; DROP SCHEMA {SCHEMA} CASCADE")


def insert(value: int, *more: str) -> str:
    """Return a statement that inserts a row, with SQL texts for further columns."""
    return f"INSERT INTO {{t}} VALUES ({', '.join([str(value), *more])})"


# As a process.


def test_the_statements_make_triggers_and_remove_them_again(listening, address):
    listening.sql(f'CREATE TABLE {SCHEMA}.t (id int PRIMARY KEY, state text, "a,b" json)')
    arguments = ("trigger", f"{SCHEMA}.t", "--columns", 'state,"a,b"', "--if-changed", "state")
    made = run(*arguments, "--channel", CHANNEL, "--when", "NEW.id > 0", "--operation", "update")
    dropped = run("trigger", "t", "--schema", SCHEMA, "--drop")

    assert (made.code, made.err, dropped.code, dropped.err) == (0, "", 0, "")
    listening.sql(made.out)
    changes = ("UPDATE {t} SET \"a,b\" = '[1]'", "UPDATE {t} SET state = 'b'", "UPDATE {t} SET id = 0, state = 'c'")
    assert listening.sent(insert(1, "'a'"), *changes) == [
        {
            "operation": "UPDATE",
            "key": {"id": 1},
            "old": {"state": "a", "a,b": [1]},
            "new": {"state": "b", "a,b": [1]},
        }
    ]
    listening.sql(dropped.out)
    assert listening.sent(insert(2), "UPDATE {t} SET state = 'd'") == []
    assert listening.sql(f"SELECT FROM pg_proc WHERE pronamespace = '{SCHEMA}'::regnamespace") == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["t"], "--channel is missing"),
        (["a.b.c", "--channel", "x"], "TABLE has too many dots"),
        (["a.b", "--schema", "c", "--channel", "x"], "TABLE has too many dots"),
        (["t", "--channel", "x" * 64], "has 64 bytes, PostgreSQL keeps 63"),
        (["t", "--channel", "x", "--columns", "a,,b"], "these must be names with ',' between them, not 'a,,b'"),
        (["t", "--channel", "x", "--when", "true; SELECT 1"], "without a semicolon"),
    ],
)
def test_a_wrong_use_is_one_line(arguments, says, capsys):
    from pgnotify.cli.app import app

    with pytest.raises(SystemExit) as ended:
        app(["trigger", *arguments], prog_name="pgnotify")

    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


# The payload.


def test_the_key_has_its_columns_in_their_order(listening):
    listening.make("a int, b int, PRIMARY KEY (b, a)")

    (payload,) = listening.payloads("INSERT INTO {t} VALUES (1, 2)")

    assert payload == f'{{"schema":"{SCHEMA}","table":"t","operation":"INSERT","key":{{"b":2,"a":1}}}}'


def test_each_operation_sends_the_key(listening):
    listening.make("a text, b int, c text, PRIMARY KEY (c, b) INCLUDE (a)")

    assert listening.sent(
        "INSERT INTO {t} VALUES ('a', 1, 'c')",
        "UPDATE {t} SET a = 'x'",
        "UPDATE {t} SET b = 2",
        "DELETE FROM {t}",
    ) == [
        {"operation": "INSERT", "key": {"c": "c", "b": 1}},
        {"operation": "UPDATE", "key": {"c": "c", "b": 1}},
        {"operation": "UPDATE", "key": {"c": "c", "b": 2}, "old_key": {"c": "c", "b": 1}},
        {"operation": "DELETE", "key": {"c": "c", "b": 2}},
    ]


@pytest.mark.parametrize("options", [{"columns": ALL}, {"columns": ("id", "n"), "key": ("id",)}])
def test_columns_are_sent_as_they_were_and_as_they_are(listening, options):
    listening.make("id int PRIMARY KEY, n text", **options)

    assert listening.sent(insert(1), "UPDATE {t} SET id = 2, n = 'x'", "DELETE FROM {t}") == [
        {"operation": "INSERT", "key": {"id": 1}, "old": None, "new": {"id": 1, "n": None}},
        {
            "operation": "UPDATE",
            "key": {"id": 2},
            "old_key": {"id": 1},
            "old": {"id": 1, "n": None},
            "new": {"id": 2, "n": "x"},
        },
        {"operation": "DELETE", "key": {"id": 2}, "old": {"id": 2, "n": "x"}, "new": None},
    ]


def test_a_table_may_have_no_key_and_a_key_may_be_null(listening):
    listening.make("id int")
    assert listening.sent(insert(1), "DELETE FROM {t}") == [
        {"operation": "INSERT", "key": None},
        {"operation": "DELETE", "key": None},
    ]
    listening.sql(Trigger("t", SCHEMA).drop_sql() + Trigger("t", SCHEMA).create_sql(CHANNEL, key=("id",)))
    assert listening.sent("INSERT INTO {t} DEFAULT VALUES", "UPDATE {t} SET id = 1", "UPDATE {t} SET id = 1") == [
        {"operation": "INSERT", "key": {"id": None}},
        {"operation": "UPDATE", "key": {"id": 1}, "old_key": {"id": None}},
        {"operation": "UPDATE", "key": {"id": 1}},
    ]


def test_hostile_names(listening):
    """Each name is at the same time that of the table, of its column, and of the channel."""
    for name in [*GOOD_CHANNELS, *("r", "key", "old", "new", "payload", "about", "TG_OP", "*", "a.b", "$pgnotify$")]:
        table = f"{quoted(SCHEMA)}.{quoted(name)}"
        listening.sql(f"CREATE TABLE {table} ({quoted(name)} int PRIMARY KEY)")
        for each, options in enumerate(({"columns": ALL}, {"key": (name,), "columns": (name,), "if_changed": (name,)})):
            trigger = Trigger(name, SCHEMA, f"trigger {each}")
            listening.listen(name)
            listening.sql(trigger.create_sql(name, **options))
            listening.sql(f"INSERT INTO {table} VALUES ({each})")

            ((channel, payload),) = listening.received()
            assert channel == name
            assert json.loads(payload) == {
                "schema": SCHEMA,
                "table": name,
                "operation": "INSERT",
                "key": {name: each},
                "old": None,
                "new": {name: each},
            }
            listening.sql(trigger.drop_sql())


TYPES = {
    "int8": ("9223372036854775807", 9223372036854775807),
    "numeric": ("'NaN'", "NaN"),
    "float8": ("'-Infinity'", "-Infinity"),
    "real": ("0.1", 0.1),
    "float8[]": ("ARRAY[0.1 + 0.2::float8]", [0.30000000000000004]),
    "date": ("'infinity'", "infinity"),
    "timestamptz": ("'-infinity'", "-infinity"),
    "timestamptz[]": ("ARRAY['2026-01-02 03:04:05+06'::timestamptz]", ["2026-01-01T21:04:05+00:00"]),
    "daterange": ("'[2026-01-02,2026-01-09)'", "[2026-01-02,2026-01-09)"),
    "interval": ("'1 day 2 hours'", "P1DT2H"),
    "bytea": (r"'\x00ff'", r"\x00ff"),
    "json": (r"""'{"a":"\u0000"}'""", {"a": "\0"}),  # which jsonb does not take
    "jsonb": ("'[1.50]'", [1.5]),
    "text[]": ("ARRAY['a', NULL]", ["a", None]),
    "point": ("'(1,2)'", "(1,2)"),
    "pg_catalog.xid8": ("'7'", "7"),
    "regclass": ("'t'", f"{SCHEMA}.t"),
    "void_domain": ("NULL", None),
    "mood": ("'it''s'", "it's"),
    "pair": ("ROW(1, 'x')", {"a": 1, "b": "x"}),
    "int GENERATED ALWAYS AS (id + 1) STORED": ("DEFAULT", 2),
}
"""Types, each with a value in SQL and in JSON."""


@pytest.mark.parametrize(
    "settings", ["", "DateStyle = 'German'", "IntervalStyle = 'sql_standard'; TimeZone = 'Asia/Tokyo'"]
)
def test_values_of_all_types_whatever_the_settings_of_the_session(listening, settings):
    listening.sql(
        f"SET search_path = {SCHEMA}; CREATE DOMAIN void_domain AS text; CREATE TYPE mood AS ENUM ('it''s'); "
        "CREATE TYPE pair AS (a int, b text); SET bytea_output = 'escape'; SET extra_float_digits = -3;"
    )
    columns = [f"c{number} {kind}" for number, kind in enumerate(TYPES)]
    listening.make(", ".join(["id int PRIMARY KEY", *columns]), columns=ALL)
    listening.sql("".join(f"SET {setting};" for setting in settings.split("; ") if setting))

    (sent,) = listening.sent(insert(1, *(value for value, _ in TYPES.values())))

    expected = [value for _, value in TYPES.values()]
    assert dict(zip(TYPES, list(sent["new"].values())[1:], strict=True)) == dict(zip(TYPES, expected, strict=True))


# The size.


def payload_of(length: int, listening: Listening, letter: str, size: int) -> list[str]:
    """Insert a text that makes a payload of a length, of which a letter takes this many bytes."""
    (empty,) = listening.payloads("DELETE FROM {t}", insert(1, "''"))[-1:]
    room = length - len(empty)
    text = letter * (room // size) + "x" * (room % size)
    return listening.payloads("TRUNCATE {t}", insert(1, literal(text)))


@pytest.mark.parametrize("letter", ["x", "é", "日", "😀"])
def test_a_payload_of_7999_bytes_is_sent_and_a_longer_one_is_cut(listening, letter):
    listening.make("id int PRIMARY KEY, n text", columns=("n",))
    size = len(letter.encode())

    (fits,) = payload_of(7999, listening, letter, size)
    assert len(fits.encode()) == 7999
    assert json.loads(fits)["new"]["n"].startswith(letter * 100)

    (longer,) = payload_of(8000, listening, letter, size)
    assert json.loads(longer) == {
        "schema": SCHEMA,
        "table": "t",
        "operation": "INSERT",
        "key": {"id": 1},
        "truncated": True,
    }
    assert listening.sql(f"SELECT id FROM {SCHEMA}.t") == [("1",)]


def test_bytes_are_counted_in_the_encoding_of_the_server(session, address):
    name = f"triggers_latin1_{os.getpid()}"
    session.sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        with Session(*address._replace(database=name)) as inside:
            inside.sql(f"CREATE SCHEMA {SCHEMA}")
            listening = Listening(inside)
            listening.make("id int PRIMARY KEY, n text", columns=ALL)
            (fits,) = payload_of(7999, listening, "é", 1)
            (longer,) = payload_of(8000, listening, "é", 1)
    finally:
        session.sql(f"DROP DATABASE {name} (FORCE)")
    assert len(fits) == 7999
    assert json.loads(longer)["truncated"] is True


def test_a_key_of_any_length_does_no_harm(listening):
    listening.make("id int, n text", key=("n",), columns=ALL)
    (row,) = listening.payloads(insert(1, "repeat('é', 3000)"))
    assert json.loads(row)["key"] == {"n": "é" * 3000}

    sent = listening.sent(insert(3, "repeat('é', 4000)"), "UPDATE {t} SET n = repeat('x', 5000) WHERE id = 3")

    assert sent == [
        {"operation": "INSERT", "key": None, "truncated": True},
        {"operation": "UPDATE", "key": None, "truncated": True},
    ]
    assert listening.sql(f"SELECT pg_catalog.count(*) FROM {SCHEMA}.t") == [("2",)]


def test_a_key_that_just_fits_is_sent(listening):
    listening.make("id int, n text", key=("n",), columns=ALL)
    (cut,) = listening.payloads(insert(1, "repeat('x', 4000)"))  # twice in the payload

    room = 7999 - (len(cut) - 4000)
    fits, longer = listening.payloads(insert(2, f"repeat('x', {room})"), insert(3, f"repeat('x', {room + 1})"))

    assert len(fits) == 7999
    assert json.loads(fits)["key"] == {"n": "x" * room}
    assert json.loads(longer)["key"] is None


def test_a_row_of_megabytes_is_not_written_as_json(listening):
    """The JSON of this type is short, but nobody can know that before."""
    listening.sql(
        f"CREATE TYPE {SCHEMA}.texts AS RANGE (subtype = text);"
        f"CREATE FUNCTION {SCHEMA}.short({SCHEMA}.texts) RETURNS json LANGUAGE sql AS $$ SELECT '1'::json $$;"
        f"CREATE CAST ({SCHEMA}.texts AS json) WITH FUNCTION {SCHEMA}.short"
    )
    listening.make(f"id int PRIMARY KEY, n {SCHEMA}.texts", columns=ALL)
    listening.sql(f"ALTER TABLE {SCHEMA}.t ALTER n SET STORAGE EXTERNAL")
    big, small = (f"{SCHEMA}.texts(repeat('x', {size}), NULL)" for size in (LARGEST_ROW, 10_000))

    sent = listening.sent(insert(1, big), f"UPDATE {{t}} SET n = {small}", "DELETE FROM {t}")

    assert [(each["operation"], "truncated" in each) for each in sent] == [
        ("INSERT", True),
        ("UPDATE", True),
        ("DELETE", False),
    ]


def test_a_value_that_has_no_json_does_no_harm(listening):
    listening.sql(
        f"CREATE TYPE {SCHEMA}.odd AS ENUM ('a');"
        f"CREATE FUNCTION {SCHEMA}.fails({SCHEMA}.odd) RETURNS json LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'never'; END $$;"
        f"CREATE CAST ({SCHEMA}.odd AS json) WITH FUNCTION {SCHEMA}.fails"
    )
    listening.make(f"id int PRIMARY KEY, n {SCHEMA}.odd", columns=ALL)

    assert listening.sent(insert(1, "'a'")) == [{"operation": "INSERT", "key": {"id": 1}, "truncated": True}]
    assert listening.sql(f"SELECT id FROM {SCHEMA}.t") == [("1",)]


# Tables.


def test_a_partition_sends_the_name_of_its_table(listening):
    listening.sql(
        f"CREATE TABLE {SCHEMA}.t (n text, id int PRIMARY KEY) PARTITION BY RANGE (id);"
        f"CREATE TABLE {SCHEMA}.low PARTITION OF {SCHEMA}.t FOR VALUES FROM (0) TO (10);"
        f"CREATE TABLE {SCHEMA}.high (id int NOT NULL, n text, PRIMARY KEY (id))"
    )
    listening.sql(Trigger("t", SCHEMA).create_sql(CHANNEL, columns=("n",)))
    listening.sql(f"ALTER TABLE {SCHEMA}.t ATTACH PARTITION {SCHEMA}.high FOR VALUES FROM (10) TO (20)")

    assert listening.sent(
        "INSERT INTO {t} VALUES ('a', 1), ('b', 11)",
        "UPDATE {t} SET id = 2, n = 'c' WHERE id = 1",
        "UPDATE {t} SET id = 12 WHERE id = 2",
    ) == [
        {"operation": "INSERT", "key": {"id": 1}, "old": None, "new": {"n": "a"}},
        {"operation": "INSERT", "key": {"id": 11}, "old": None, "new": {"n": "b"}},
        {"operation": "UPDATE", "key": {"id": 2}, "old_key": {"id": 1}, "old": {"n": "a"}, "new": {"n": "c"}},
        {"operation": "DELETE", "key": {"id": 2}, "old": {"n": "c"}, "new": None},
        {"operation": "INSERT", "key": {"id": 12}, "old": None, "new": {"n": "c"}},
    ]


@pytest.mark.parametrize(("if_changed", "count"), [((), 4), (("n",), 2), (ALL, 3)])
def test_an_update_that_changes_nothing_may_be_left_out(listening, if_changed, count):
    """Also of types that have no equality, as json."""
    listening.make("id int PRIMARY KEY, n json, m point", if_changed=if_changed, operations=["update"])

    assert (
        len(
            listening.sent(
                insert(1, "'[1]'"),
                "UPDATE {t} SET n = '[1]', m = NULL",
                "UPDATE {t} SET n = '[2]'",
                "UPDATE {t} SET m = '(1,2)'",
                "UPDATE {t} SET n = NULL",
            )
        )
        == count
    )


# Twins on the search_path.


def test_no_twin_is_called(address):
    with twins(address) as trap:
        for path in PATHS:
            trap.lead_to(path)
            with Session(*trap.address) as session:
                for number, options in enumerate(
                    ({"columns": ALL, "if_changed": ALL}, {"key": ("id",), "columns": ("n",)})
                ):
                    trigger = Trigger("t", "app", f"t{number}")
                    session.sql("CREATE TABLE app.t (id pg_catalog.int4 PRIMARY KEY, n pg_catalog.text[])")
                    trap.called()
                    session.sql(trigger.create_sql(CHANNEL, **options))
                    session.listen(CHANNEL)
                    session.sql("INSERT INTO app.t VALUES (1, '{a}')")
                    session.sql("UPDATE app.t SET id = 2, n = '{b}'")
                    session.sql("DELETE FROM app.t")
                    session.sql(trigger.drop_sql())
                    assert trap.called() == set()
                    assert "truncated" not in str(session.received())
                    session.sql("DROP TABLE app.t")
