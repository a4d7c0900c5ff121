"""The check that the tests of our SQL rely on: it finds every kind of name that the search_path decides."""

from __future__ import annotations

import pytest

from tests.helpers.unqualified import WITH_PGLAST, unqualified, unqualified_in_function

pytestmark = WITH_PGLAST

FOUND = {
    "SELECT pg_notify('a', 'b')": ["FuncCall pg_notify"],
    "SELECT 1 FROM generate_series(1, 2)": ["FuncCall generate_series"],
    "SELECT $1::text": ["TypeName text"],
    "SELECT CAST($1 AS text[])": ["TypeName text"],
    "SELECT a ->> 0": ["A_Expr ->>"],
    "SELECT 'a' || 'b'": ["A_Expr ||"],
    "SELECT - a": ["A_Expr -"],
    "SELECT 'a' IN ('b', 'c')": ["A_Expr ="],
    "SELECT 'a' = ANY (ARRAY['b'])": ["A_Expr ="],
    "SELECT 'a' IN (SELECT 'b')": ["SubLink ="],
    "SELECT 'a' = ANY (SELECT 'b')": ["SubLink ="],
    "SELECT 'a' LIKE 'b'": ["A_Expr ~~"],
    "SELECT 1 BETWEEN 2 AND 3": ["A_Expr BETWEEN"],
    "SELECT NULLIF(1, 2)": ["A_Expr ="],
    "SELECT 1 IS DISTINCT FROM 2": ["A_Expr ="],
    "SELECT CASE 1 WHEN 2 THEN 3 END": ["CaseExpr ="],
    "SELECT 1 FROM a.b JOIN a.c USING (d)": ["JoinExpr ="],
    "SELECT 1 FROM a.b NATURAL JOIN a.c": ["JoinExpr ="],
    "SELECT 1 FROM a.b ORDER BY c USING <": ["SortBy <"],
    "SELECT 'a' COLLATE \"C\"": ["CollateClause C"],
    "SELECT 1 FROM pg_stat_activity": ["RangeVar pg_stat_activity"],
    "INSERT INTO jobs VALUES (1)": ["RangeVar jobs"],
    "CREATE TEMPORARY TABLE work AS SELECT 42": ["RangeVar work"],
    "DROP TABLE a.b, c": ["DropStmt c"],
    "DROP FUNCTION f(text)": ["ObjectWithArgs f", "TypeName text", "TypeName text"],
    "CREATE TRIGGER t AFTER INSERT ON jobs EXECUTE FUNCTION f()": ["CreateTrigStmt f", "RangeVar jobs"],
    "SELECT 'jobs'::pg_catalog.regclass": ["TypeCast jobs"],
    "LISTEN a; SELECT f(); SELECT g()": ["FuncCall f", "FuncCall g"],
}
NOTHING_FOUND = (
    "SELECT pg_catalog.pg_notify($1::pg_catalog.text, $2::pg_catalog.text)",
    "SELECT a OPERATOR(pg_catalog.->>) 0",
    "SELECT 'a' OPERATOR(pg_catalog.=) ANY (ARRAY['b']::pg_catalog.text[])",
    "SELECT CASE WHEN true THEN 1 END, COALESCE(1, 2), EXISTS (SELECT 1), ARRAY(SELECT 1), current_user, a IS NULL",
    "SELECT 1::integer, EXTRACT(year FROM a)",  # the grammar itself puts pg_catalog before these
    "SELECT 1 FROM pg_catalog.pg_stat_activity ORDER BY pid LIMIT 1",
    "WITH a AS (SELECT 1) SELECT 1 FROM a",
    "CREATE TABLE pg_temp.work AS SELECT 42",
    "DROP DATABASE a; DROP SCHEMA b; DROP ROLE c",
    "SELECT 'app.jobs'::pg_catalog.regclass",
    'LISTEN "a"; UNLISTEN *; NOTIFY "a", \'b\'; BEGIN; COMMIT; SET client_encoding TO UTF8; SHOW search_path',
)


@pytest.mark.parametrize("sql", FOUND, ids=str)
def test_a_name_without_a_schema_is_found(sql):
    assert sorted(unqualified(sql)) == FOUND[sql]


@pytest.mark.parametrize("sql", NOTHING_FOUND, ids=str)
def test_a_qualified_statement_has_none(sql):
    assert unqualified(sql) == []


def test_statements_and_expressions_of_a_function_are_read():
    function = """CREATE FUNCTION a.b() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE x pg_catalog.text := f1();
        BEGIN
            IF f2() THEN x := f3(); NEW.a := f9(); END IF;
            SELECT f4() INTO x;
            PERFORM f5(), pg_catalog.now();
            EXECUTE f6() INTO x USING f7();
        EXCEPTION WHEN OTHERS THEN RETURN f8();
        END $$"""

    assert sorted(unqualified_in_function(function)) == [f"FuncCall f{number}" for number in range(1, 10)]
