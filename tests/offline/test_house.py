"""Imports go down one line, and drivers are named in one place: the house as it is meant to be."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pgnotify
from pgnotify import registry

PACKAGE = Path(pgnotify.__file__).parent

# Each row sees the rows before it, and nothing of its own row. A package is one name.
LINE = (
    "errors atomic uncopyable threads | waiting | notification | message limits protocol"
    " | async_protocol sending entry_points | program registry | connecting handler | listener backends connection"
    " | aio | testing outbox contrib | __init__ cli | __main__"
)
ROW = {name: number for number, names in enumerate(LINE.split("|")) for name in names.split()}

# What decides performs nothing, and so is tested without a server, a thread or a clock.
PURE = [
    *(
        path
        for path in (PACKAGE / "program").glob("*.py")
        if path.name not in ("runner.py", "ownership.py", "ctrl_c.py")
    ),
    PACKAGE / "handler" / "loop.py",
    *(
        PACKAGE / "listener" / f"{name}.py"
        for name in ("loop", "channels", "failure", "draining", "watch", "events", "flow", "gap", "policy")
    ),
]
IMPURE = {"socket", "select", "threading", "time", "logging", "asyncio"}

DRIVERS = re.compile(
    rf"\b({'|'.join({*registry.DRIVERS, *registry.BUILT_IN, 'asyncpg'} - {'pgnotify', 'pg'})})\b", re.IGNORECASE
)
# The app of the outbox is for the users of a framework that is among them. Nothing imports it.
MAY_NAME_DRIVERS = ("registry.py", "backends/", "outbox/django/")


def modules():
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def unit_of(dotted):
    """Return the name in LINE of a dotted module name."""
    return dotted.removeprefix("pgnotify").lstrip(".").partition(".")[0] or "__init__"


def dotted_name(path):
    return ".".join(("pgnotify", *path.with_suffix("").parts)).removesuffix(".__init__")


def imported(tree, path):
    """Yield the dotted names of all imports from pgnotify, those within functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if unit_root(alias.name))
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively"
            if node.module == "pgnotify":  # from pgnotify import program: a module, or a name of the top
                yield from (f"pgnotify.{alias.name}" if is_module(alias.name) else "pgnotify" for alias in node.names)
            elif unit_root(node.module):
                yield node.module


def unit_root(dotted):
    return dotted.partition(".")[0] == "pgnotify"


def is_module(name):
    return (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()


def may_import(importer, target):
    return importer == target or ROW[target] < ROW[importer]


@pytest.mark.parametrize("path", modules(), ids=str)
def test_every_module_has_a_row(path):
    assert unit_of(dotted_name(path)) in ROW


@pytest.mark.parametrize("path", modules(), ids=str)
def test_imports_go_down_the_line_only(path):
    tree = ast.parse((PACKAGE / path).read_text())
    importer = unit_of(dotted_name(path))

    upwards = [name for name in imported(tree, path) if not may_import(importer, unit_of(name))]

    assert upwards == []


def top_level_names(tree):
    """Yield the first part of each imported name, those within functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_decides_imports_nothing_that_performs(path):
    tree = ast.parse(path.read_text())

    assert IMPURE.isdisjoint(top_level_names(tree))


@pytest.mark.parametrize("path", [path for path in modules() if path.parts[0] not in ("aio", "testing")], ids=str)
def test_asyncio_is_imported_where_event_loops_are_used_only(path):
    tree = ast.parse((PACKAGE / path).read_text())

    assert "asyncio" not in top_level_names(tree)


def docstrings(tree):
    """Return the docstrings of modules, classes and functions, and the strings below attributes."""
    bodies = [node.body for node in ast.walk(tree) if isinstance(getattr(node, "body", None), list)]
    statements = [statement for body in bodies for statement in body if isinstance(statement, ast.Expr)]
    return {statement.value for statement in statements if isinstance(statement.value, ast.Constant)}


def words(tree):
    """Yield (line, word) for all that is code: names, imports, and strings that document nothing."""
    documentation = docstrings(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and node not in documentation:
                yield line, node.value
        elif isinstance(node, ast.Import):
            yield from ((line, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield line, node.module or ""
        for field in ("id", "attr", "name", "arg"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield line, value


@pytest.mark.parametrize("path", [path for path in modules() if not str(path).startswith(MAY_NAME_DRIVERS)], ids=str)
def test_no_driver_is_named_outside_the_backends_and_the_registry(path):
    tree = ast.parse((PACKAGE / path).read_text())

    assert [(line, word) for line, word in words(tree) if DRIVERS.search(word)] == []


def test_the_backends_are_imported_by_name_only():
    by_name = {target.partition(":")[0] for target in (*_targets(),) if target.startswith("pgnotify.backends.")}

    assert {name.rpartition(".")[2] for name in by_name} == {
        path.stem for path in (PACKAGE / "backends").glob("*.py") if not path.stem.startswith("_")
    }


def _targets():
    from pgnotify.registry import ASYNC_BUILT_IN, ASYNC_DRIVERS, BUILT_IN, DRIVERS

    tables = [*BUILT_IN.values(), *ASYNC_BUILT_IN.values()]
    return [*tables, *(driver.connect for driver in [*DRIVERS.values(), *ASYNC_DRIVERS.values()])]


# The tests of this test: it must see what it is meant to see.


def test_an_import_within_a_function_counts():
    tree = ast.parse("def late():\n    from pgnotify.handler import NotificationHandler")

    assert list(imported(tree, "x.py")) == ["pgnotify.handler"]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("from pgnotify.program import verbs as p", ["pgnotify.program"]),
        ("from pgnotify import connect", ["pgnotify"]),
        ("import pgnotify.backends.psycopg", ["pgnotify.backends.psycopg"]),
        ("import pgnotifyx", []),
    ],
)
def test_every_form_of_import_is_seen(code, names):
    assert list(imported(ast.parse(code), "x.py")) == names


@pytest.mark.parametrize(
    ("importer", "target", "allowed"),
    [
        ("program", "protocol", True),
        ("protocol", "program", False),
        ("limits", "protocol", False),
        ("listener", "listener", True),
        ("listener", "backends", False),
        ("backends", "connecting", True),
        ("connecting", "listener", False),
        ("errors", "__init__", False),
    ],
)
def test_the_line_allows_what_it_should(importer, target, allowed):
    assert may_import(importer, target) is allowed


@pytest.mark.parametrize("code", ["import time", "def late():\n    from time import sleep", "import time.x as y"])
def test_an_impure_import_is_seen_in_every_form(code):
    assert "time" in top_level_names(ast.parse(code))


def test_a_driver_is_seen_in_code_and_not_in_a_docstring():
    tree = ast.parse('"""For psycopg."""\nimport psycopg\nx = "a psycopg2 one"\npg8000 = 1\ny = "psycopgs"')

    assert [word for _, word in words(tree) if DRIVERS.search(word)] == [
        "psycopg",
        "psycopg",
        "a psycopg2 one",
        "pg8000",
    ]
