from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnotify.backends._parameters import split


def test_the_parameters_are_found_in_any_order_and_often():
    sql = "SELECT $2::pg_catalog.text, $1 OPERATOR(pg_catalog.||) $2, ($10)"

    assert list(split(sql)) == [
        "SELECT ", 2, "::pg_catalog.text, ", 1, " OPERATOR(pg_catalog.||) ", 2, ", (", 10, ")",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT '$1', 'it''s $1', ''",
        r"SELECT '\', 5, '$1'",
        r"SELECT E'it\'s $1', e'\\', '$1'",
        'SELECT "$1", "a""$1"',
        "SELECT $$ $1 ' $$, $a$ $$ $1 $b$ $a$, $é1$ $1 $é1$",
        "SELECT a$1, _$1, é$1",
        "SELECT 1 -- it's $1\n+ 1 -- $1",
        "SELECT /* it's $1 /* $1 */ $1 */ 1 /* $1",
    ],
)
def test_a_dollar_sign_elsewhere_is_not_a_parameter(sql):
    assert list(split(sql)) == [sql]


def test_a_parameter_may_stand_beside_anything_else():
    sql = """SELECT E'\\''||$1||'$1'||$2/*$1*/||$3--$1
||$4||$$$1$$||"$1"||$5"""

    assert [part for part in split(sql) if isinstance(part, int)] == [1, 2, 3, 4, 5]


@given(st.text(alphabet="$1٣a_eE'\"\\/*-% \né"))
def test_nothing_of_a_statement_is_lost(sql):
    assert "".join(f"${part}" if isinstance(part, int) else part for part in split(sql)) == sql
