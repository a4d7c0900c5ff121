"""Every statement that we send, print or show to be pasted names the schema of everything that it uses.

This reads the statements where they are written. `tests/online/each_release/test_sql.py` reads those that a server was
sent, which include statements that are put together from parts.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgnotify.outbox import schema
from pgnotify.outbox.schema import filled, install_sql
from pgnotify.outbox.statements import Statements
from pgnotify.outbox.tables import Tables
from tests.helpers.unqualified import WITH_PGLAST, unqualified, unqualified_in_function

pytestmark = WITH_PGLAST

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
NASTY = ROOT / "pgnotify" / "testing" / "nasty.py"  # texts that must never be run as a statement
TRIGGER = ROOT / "pgnotify" / "cli" / "trigger" / "statements.py"  # has templates of parts, see `tests/offline/cli`
OUTBOX = ROOT / "pgnotify" / "outbox"  # has templates, see `outbox_statements`
MODULES = [
    path
    for folder in ("pgnotify", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
    if path not in (NASTY, TRIGGER) and OUTBOX not in path.parents
]

# In capitals, at the beginning of a text or of a line. SET, SHOW, LISTEN and the like look nothing up.
STATEMENT = re.compile(
    r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE|MERGE|CREATE|ALTER|DROP|COMMENT|GRANT|REVOKE|CALL|DO|COPY)\s"
)
# A value that a statement is formatted with, or a parameter in the notation of some driver. What it stands for depends
# on its place: a value, a name, a relation.
GAP = re.compile(r"\{[^{}]*\}|%s|(?<![:\w]):[a-z]\w*")
STAND_INS = ("$1", "a.b", "a", "'a'")


def statements_of_page(path: Path) -> Iterator[str]:
    """Yield the statements in the code of a page, whichever language that is in: in blocks, and in lines of text."""
    text = path.read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    hidden = re.findall(r"^<!-- invisible-code-block: (\w+)\n(.*?)^-->$", text, re.DOTALL | re.MULTILINE)
    for language, block in (*blocks, *hidden):
        yield from [block] if language == "sql" else _in_code(block)
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)):
        if STATEMENT.match(code):
            yield code


def statements_of_module(path: Path) -> Iterator[str]:
    """Yield the texts in a module that are a statement, and the statements in others, such as docstrings."""
    yield from _in_python(ast.parse(path.read_text()))


def _in_code(block: str) -> Iterator[str]:
    """Yield the statements in a block of a page, which may be Python, or anything else."""
    try:
        tree = ast.parse(block)
    except SyntaxError:
        yield from _in_lines(block)
    else:
        yield from _in_python(tree)
        yield from _in_lines("\n".join(re.findall(r"#.*", block)))


def _in_python(tree: ast.Module) -> Iterator[str]:
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        else:
            continue
        if STATEMENT.match(text):
            yield text
        else:
            yield from _in_lines(text)


def _in_lines(text: str) -> Iterator[str]:
    """Yield the statements that begin in a line and end at a semicolon, a quotation mark or the end of the line."""
    for line in text.splitlines():
        found = re.search(STATEMENT.pattern.replace(r"\s*", r"(?:^|[\s\"#])", 1) + r"[^;\"`]*", line)
        if found:
            yield found[0].lstrip(' "#')


def outbox_statements() -> Iterator[tuple[str, str]]:
    """Yield the statements of an outbox, each with the name of its template, and the conditions of its scripts."""
    tables = Tables("jobs", "app")
    statements = Statements(tables)
    yield from (("read", statements.read(500, 0)), ("read_name", statements.read_name(500, 0)))
    yield "read, and flush", statements.read(500, 0, flushes=True)
    yield "install_sql", install_sql(tables, ["sender"], ["reader"])
    condition = schema._ONLY_FROM.replace("{from}", "1").replace("{regclass}", "'a.b'").split("IF NOT")[1].split("THEN")
    yield "_ONLY_FROM", f"SELECT {condition[0]}"
    for path in sorted(OUTBOX.glob("*.py")):
        module = importlib.import_module(f"pgnotify.outbox.{path.stem}")
        texts = {name: text for name, text in vars(module).items() if isinstance(text, str) and STATEMENT.match(text)}
        for name, text in texts.items():
            is_part = any(text in other and text != other for other in texts.values())
            if not is_part and "{position}" not in text:
                names = {"publication": '"jobs"', "subscription": '"jobs"', "source": "'host=first'"}
                yield f"{path.stem}.{name}", filled(text, tables, **names)


def checked(statement: str) -> list[str] | None:
    """Return the names without a schema, or None if it is prose, or a part of a statement."""
    from pglast.parser import ParseError

    gaps = GAP.findall(statement)
    for stand_ins in itertools.product(STAND_INS, repeat=min(len(gaps), 4)):
        instead = itertools.cycle(stand_ins)
        try:
            return unqualified(GAP.sub(lambda _: next(instead), statement))  # noqa: B023
        except ParseError:
            continue
    return None


FOUND = [
    pytest.param(statement, id=f"{path.relative_to(ROOT)}: {' '.join(statement.split())[:60]}")
    for paths, statements_of in ((PAGES, statements_of_page), (MODULES, statements_of_module))
    for path in sorted(paths)
    for statement in statements_of(path)
]

FOUND += [pytest.param(statement, id=f"outbox: {name}") for name, statement in outbox_statements()]


@pytest.mark.parametrize("statement", FOUND)
def test_a_statement_names_every_schema(statement):
    names = checked(statement)
    assert names is not None
    assert names == []


FUNCTIONS = re.findall(r"^CREATE FUNCTION .*?^END \$\$;$", install_sql(Tables("jobs", "app")), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.split()[2])
def test_the_statements_in_a_function_of_an_outbox_name_every_schema(function):
    transition_table = "RangeVar sent_now"  # it has no schema

    assert [name for name in unqualified_in_function(function) if name != transition_table] == []


def test_the_statements_are_found():
    found = [" ".join(parameter.values[0].split()) for parameter in FOUND]

    assert "SELECT pg_catalog.pg_notify('orders', '42')" in found  # in a comment of the README's code
    assert "SELECT pg_catalog.pg_notify('jobs', '42')" in found  # in the docstring of an example
    assert "SELECT pg_catalog.pg_notify('jobs', '42'); NOTIFY jobs, '42';" in found  # in a block of a page
    assert "SELECT 1 FROM {}" in found  # in an f-string
    assert any("pg_listening_channels" in statement for statement in found)
    assert any("advisory_unlock" in statement for statement in found)  # of an outbox
    assert len(found) > 30
    assert len(FUNCTIONS) == 4
