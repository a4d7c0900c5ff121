"""Which names in a statement have no schema, so that the server looks for them along the search_path.

PostgreSQL's own parser decides what is a name: it comes with pglast. Without pglast the tests that need it are skipped.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

WITH_PGLAST = pytest.mark.skipif(
    importlib.util.find_spec("pglast") is None,
    reason=("not applicable" if sys.version_info >= (3, 15) else "missing")
    + ": pglast, which has no wheel for Python 3.15",
)

# Where the parser keeps a name in parts, the schema first.
_NAMES = {
    "FuncCall": ("funcname",),
    "TypeName": ("names",),
    "A_Expr": ("name",),
    "SubLink": ("operName",),
    "SortBy": ("useOp",),
    "CollateClause": ("collname",),
    "ObjectWithArgs": ("objname",),
    "CreateFunctionStmt": ("funcname",),
    "CreateTrigStmt": ("funcname",),
    "CreateEnumStmt": ("typeName",),
    "CreateRangeStmt": ("typeName",),
    "CreateDomainStmt": ("domainname",),
    "DefineStmt": ("defnames",),
}
# PL/pgSQL's ways to parse (RawParseMode). Those from 3 on are assignments, to names of one, two and three parts.
_STATEMENT, _ASSIGNMENT = 0, 3
# Objects of DROP and COMMENT that belong to no schema.
_WITHOUT_SCHEMA = frozenset(
    f"OBJECT_{kind}"
    for kind in ("ACCESS_METHOD", "EVENT_TRIGGER", "EXTENSION", "FDW", "FOREIGN_SERVER", "LANGUAGE", "SCHEMA")
)  # fmt: skip


def unqualified(sql: str) -> list[str]:
    """Return the names without a schema in some statements, each with its kind, such as "FuncCall pg_notify".

    An operator that the syntax implies counts, too: for IN, BETWEEN, LIKE, NULLIF, CASE x WHEN and JOIN USING the
    server looks along the search_path, and the syntax has no place for a schema.

    Raises:
        pglast.parser.ParseError: it is not SQL.
    """
    import pglast

    text = re.sub(r"\\x[89a-f][0-9a-f]", "?", sql)  # it knows UTF-8 only, and takes no single byte of it
    return [found for raw in pglast.parse_sql(text) for found in _in(raw.stmt(skip_none=True), frozenset())]


def unqualified_in_function(sql: str) -> list[str]:
    """Return the same of the statements and expressions in the body of a PL/pgSQL function.

    Raises:
        pglast.parser.ParseError: it is not a CREATE FUNCTION.
    """
    import pglast

    return [found for query in _queries_in(pglast.parse_plpgsql(sql)) for found in unqualified(query)]


def _queries_in(node: Any) -> Iterator[str]:
    """Yield the statements in a parsed function; an expression and an assignment become a SELECT."""
    if isinstance(node, list):
        for value in node:
            yield from _queries_in(value)
    elif isinstance(node, dict):
        if "query" in node and "parseMode" in node:
            text = node["query"].partition(":=")[2] if node["parseMode"] >= _ASSIGNMENT else node["query"]
            yield text if node["parseMode"] == _STATEMENT else f"SELECT {text}"
        for value in node.values():
            yield from _queries_in(value)


def _in(node: Any, ctes: frozenset[str]) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "withClause" in node:
            ctes |= {cte["ctename"] for cte in node["withClause"]["ctes"]}
        yield from _of(node, ctes)
        for value in node.values():
            yield from _in(value, ctes)
    elif isinstance(node, tuple):
        for value in node:
            yield from _in(value, ctes)


def _of(node: Mapping[str, Any], ctes: frozenset[str]) -> Iterator[str]:
    kind = node.get("@", "")
    for field in _NAMES.get(kind, ()):
        yield from _short(kind, node.get(field, ()))
    if kind == "RangeVar" and "schemaname" not in node and node["relname"] not in ctes:
        yield f"RangeVar {node['relname']}"
    elif kind == "CaseExpr" and "arg" in node:
        yield "CaseExpr ="
    elif kind == "JoinExpr" and (node["isNatural"] or "usingClause" in node):
        yield "JoinExpr ="
    elif kind == "SubLink" and "testexpr" in node and "operName" not in node:
        yield "SubLink ="
    elif kind == "DropStmt" and node["removeType"]["name"] not in _WITHOUT_SCHEMA:
        for dropped in node["objects"]:
            yield from _short(kind, dropped if isinstance(dropped, tuple) else ())
    elif kind == "TypeCast" and _is_looked_up(node):
        yield f"TypeCast {node['arg']['val']['sval']}"


def _short(kind: str, name: tuple[Mapping[str, Any], ...]) -> Iterator[str]:
    if len(name) == 1:
        yield f"{kind} {name[0]['sval']}"


def _is_looked_up(cast: Mapping[str, Any]) -> bool:
    """Whether a text becomes a table, a function or the like, and has no schema itself: 'jobs'::regclass."""
    text = cast["arg"].get("val", {}) if cast["arg"].get("@") == "A_Const" else {}
    to = cast["typeName"]["names"][-1]["sval"]
    return to.startswith("reg") and "." not in text.get("sval", ".") and to not in ("regrole", "regnamespace")
