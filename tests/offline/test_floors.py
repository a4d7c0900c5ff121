"""Imports go down only, and drivers are named in one place: the house as it is meant to be."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pgnotify

PACKAGE = Path(pgnotify.__file__).parent

# A module imports from lower floors; on its own floor, only what is said below.
FLOORS = {
    "errors": 0,
    "limits": 0,
    "waiting": 0,
    "reading": 0,
    "conninfo": 0,
    "backoff": 0,
    "lifeline": 0,
    "diagnosis": 0,
    "notification": 1,
    "gap": 1,
    "machine": 1,
    "mailbox": 1,
    "status": 1,
    "protocol": 2,
    "program": 2,
    "documented": 2,
    "lasting": 2,
    "news": 2,
    "remembering": 2,
    "registry": 2,
    "source": 2,
    "subscriptions": 2,
    "runner": 3,
    "reconnecting": 3,
    "workers": 3,
    "handler": 4,
    "connection": 4,
    "telling": 4,
    "delivery": 4,
    "keeper": 4,
    "probing": 4,
    "listener": 4,
    "aio": 4,
    "testing": 5,  # a customer of all the others, for the tests of users
    "checking": 5,
    "": 5,  # pgnotify/__init__.py
    "cli": 6,
    "demo": 6,
    "__main__": 6,
}
BACKENDS = "backends"  # beside the floors: loaded by name, and they see what is below the runners
BACKENDS_SEE = 2

SAME_FLOOR = {
    ("backoff", "limits"),
    ("limits", "errors"),  # the errors are the very ground
    ("lifeline", "errors"),
    ("diagnosis", "errors"),
    ("documented", "program"),  # the two loops are made of the common programs
    ("lasting", "program"),
    ("lasting", "protocol"),
    ("lasting", "news"),
    ("lasting", "remembering"),
    ("news", "protocol"),
    ("remembering", "news"),
    ("remembering", "program"),
    ("source", "protocol"),
    ("source", "registry"),
    ("mailbox", "gap"),
    ("mailbox", "notification"),
    ("status", "gap"),
    ("reconnecting", "runner"),  # the same, with a connection that changes
    ("listener", "delivery"),
    ("listener", "keeper"),
    ("keeper", "delivery"),
    ("keeper", "telling"),
    ("listener", "telling"),
    ("delivery", "telling"),
    ("listener", "probing"),
    ("registry", "protocol"),  # it hands out what the protocol describes
    ("connection", "handler"),  # the documented factory: a connection makes handlers
    ("aio", "handler"),
    ("checking", "testing"),
    ("", "checking"),
    ("cli", "demo"),
    ("__main__", "cli"),
}

DRIVERS = re.compile(r"\b(psycopg|psycopg2|pg8000|pygresql|pgdb|asyncpg|sqlalchemy|django)\b", re.IGNORECASE)
MAY_NAME_DRIVERS = ("registry.py", "cli.py", "backends/")


def modules():
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def unit(dotted):
    """Return the name in FLOORS of a dotted module name: a package counts as one."""
    return dotted.removeprefix("pgnotify").lstrip(".").partition(".")[0]


def unit_of(path):
    return unit(".".join(("pgnotify", *path.with_suffix("").parts)).removesuffix("__init__"))


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
    if importer == target:
        return True
    if target == BACKENDS:
        return False
    if importer == BACKENDS:
        return FLOORS[target] <= BACKENDS_SEE
    return FLOORS[target] < FLOORS[importer] or (importer, target) in SAME_FLOOR


@pytest.mark.parametrize("path", modules(), ids=str)
def test_every_module_has_a_floor(path):
    assert unit_of(path) in {*FLOORS, BACKENDS}


@pytest.mark.parametrize("path", modules(), ids=str)
def test_imports_go_down_only(path):
    tree = ast.parse((PACKAGE / path).read_text())

    upwards = [name for name in imported(tree, path) if not may_import(unit_of(path), unit(name))]

    assert upwards == []


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
        path.stem for path in (PACKAGE / BACKENDS).glob("*.py") if not path.stem.startswith("_")
    }


def _targets():
    from pgnotify.registry import BUILT_IN, DRIVERS

    return [*BUILT_IN.values(), *(driver.connect for driver in DRIVERS.values())]


# The tests of this test: it must see what it is meant to see.


def test_an_import_within_a_function_counts():
    tree = ast.parse("def late():\n    from pgnotify.handler import NotificationHandler")

    assert list(imported(tree, "x.py")) == ["pgnotify.handler"]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("from pgnotify import program as p", ["pgnotify.program"]),
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
        ("program", "machine", True),
        ("machine", "program", False),
        ("program", "protocol", False),
        ("registry", "protocol", True),
        ("protocol", "registry", False),
        ("backends", "registry", True),
        ("backends", "runner", False),
        ("handler", "backends", False),
        ("errors", "", False),
    ],
)
def test_the_table_allows_what_it_should(importer, target, allowed):
    assert may_import(importer, target) is allowed


def test_a_driver_is_seen_in_code_and_not_in_a_docstring():
    tree = ast.parse('"""For psycopg."""\nimport psycopg\nx = "a psycopg2 one"\npg8000 = 1\ny = "psycopgs"')

    assert [word for _, word in words(tree) if DRIVERS.search(word)] == [
        "psycopg",
        "psycopg",
        "a psycopg2 one",
        "pg8000",
    ]
