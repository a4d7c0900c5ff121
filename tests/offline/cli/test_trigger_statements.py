"""The statements of a trigger: all that can be known of them without a server."""

from __future__ import annotations

import pytest

from pgnotify import ChannelError
from pgnotify.cli.trigger.statements import ALL, Trigger
from tests.helpers.unqualified import WITH_PGLAST, unqualified, unqualified_in_function

OPTIONS = [
    {},
    {"key": ("id",)},
    {"columns": ALL, "if_changed": ALL},
    {"columns": ("a", "b"), "if_changed": ("a",), "when": "NEW.a OPERATOR(pg_catalog.>) 1"},
]


@WITH_PGLAST
@pytest.mark.parametrize("options", OPTIONS)
def test_everything_in_it_has_its_schema(options):
    trigger = Trigger("jobs", "app")
    statements = trigger.create_sql("jobs", **options)

    assert unqualified(statements + trigger.drop_sql()) == []
    assert unqualified_in_function(statements.partition("CREATE TRIGGER")[0]) == []


@pytest.mark.parametrize(
    ("when", "operations"),
    [
        (None, ["INSERT", "UPDATE", "DELETE"]),
        ("NEW.a", ["INSERT", "UPDATE"]),
        ("old.a", ["UPDATE", "DELETE"]),
        ("NEW.a <> OLD.a", ["UPDATE"]),
    ],
)
def test_a_condition_chooses_the_operations_that_have_its_rows(when, operations):
    text = Trigger("jobs").create_sql("jobs", when=when)

    assert [line.split()[4] for line in text.splitlines() if line.startswith("CREATE TRIGGER")] == operations


def test_an_operation_without_a_row_of_the_condition_is_refused():
    with pytest.raises(ValueError, match="--when names OLD, and INSERT has no such row: "):
        Trigger("jobs").create_sql("jobs", when="OLD.a", operations=["update", "insert"])


def test_the_named_operations_get_a_trigger_each():
    text = Trigger("jobs").create_sql("jobs", operations=["delete", "insert"])

    assert text.count("CREATE TRIGGER") == 2
    assert "AFTER UPDATE" not in text


def test_a_condition_may_end_in_a_comment():
    text = Trigger("jobs").create_sql("jobs", when="NEW.a -- b", operations=["insert"])

    assert "NEW.a -- b\n" in text


def test_a_channel_that_postgresql_would_refuse_is_refused_before():
    with pytest.raises(ChannelError, match="has 64 bytes"):
        Trigger("jobs").create_sql("x" * 64)


@pytest.mark.parametrize("part", ["key", "columns", "if_changed"])
def test_a_column_that_there_cannot_be_is_refused(part):
    with pytest.raises(ChannelError, match=r"a column 'xxx.*has 64 bytes"):
        Trigger("jobs").create_sql("jobs", **{part: ("a", "x" * 64)})


@pytest.mark.parametrize("table", ["日" * 21, "x" * 63, "é" * 31 + "x"])
def test_the_name_of_a_long_table_is_shortened_to_one_of_its_own(table):
    name, other = Trigger(table).name, Trigger("é" + table[:-2]).name

    assert name.startswith("pgnotify_" + table[:10])
    assert len(f"{name}_insert".encode()) <= 63
    assert name != other
    assert name == Trigger(table).name


def test_a_given_name_that_would_be_cut_is_refused():
    assert Trigger("jobs", name="x" * 56).name == "x" * 56
    with pytest.raises(ValueError, match="has 57 bytes, that of a trigger has at most 56"):
        Trigger("jobs", name="x" * 57)


def test_a_name_that_ends_the_body_of_the_function_does_not():
    text = Trigger("jobs").create_sql("a$pgnotify$b", columns=("$pgnotify1$",))

    assert text.count("$pgnotify2$") == 2
