"""The page on the log has each message that the package writes to a log, with its level, and no other one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pgnotify

PACKAGE = Path(pgnotify.__file__).parent
PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "log.md").read_text()

METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
# The functions that pass a message on, and the place of the message among their arguments. Before it comes the level.
WRITERS = {"self._write": 1, "self._repeats.log": 2, "write": 2}

PLACE = re.compile(r"%(?:\.\d)?[srdf]")


def calls():
    """Yield each call that writes to a log, with the strings that its function or its module gives names to."""
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text()
        tree = ast.parse(text if "import logging" in text else "")
        in_module = dict(assigned(tree.body))
        functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
        for function in functions:
            names = {**in_module, **dict(assigned(ast.walk(function)))}
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                place = place_of_message(call)
                if place is not None and not passes_on(function, call, place):
                    yield f"{path.relative_to(PACKAGE)}:{call.lineno}", call, place, names


def assigned(statements):
    for statement in statements:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
            pairs = (
                zip(target.elts, value.elts, strict=True)
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                else [(target, value)]
            )
            yield from ((each.id, what) for each, what in pairs if isinstance(each, ast.Name))


def place_of_message(call):
    """Return the place of the message among the arguments of a call that writes to a log; None for any other call."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if ast.unparse(function) in WRITERS:
        return WRITERS[ast.unparse(function)]
    if name not in METHODS or not isinstance(function, ast.Attribute):
        return None
    of = ast.unparse(function.value)
    if of == "log" or "getLogger" in of or of == "logging":
        return 1 if name == "log" else 0
    return None


def passes_on(function, call, place):
    """Return whether a call has its message from the caller of the function that it stands in."""
    names = {argument.arg for argument in function.args.args}
    message = ast.unparse(call.args[place])
    return message in names or "{message}" in message


def messages(node, names):
    """Return the texts that an expression may be."""
    if isinstance(node, ast.Constant):
        return {node.value}
    if isinstance(node, ast.IfExp):
        return messages(node.body, names) | messages(node.orelse, names)
    assert isinstance(node, ast.Name), f"the message cannot be read from {ast.unparse(node)}"
    return messages(names[node.id], names)


def as_on_the_page(message):
    return PLACE.sub("…", message).replace("%%", "%")


def level_of(call, place, message):
    function = call.func
    if place == 0:
        return function.attr.upper()
    level = ast.unparse(call.args[0])
    return level.removeprefix("logging.") if level.startswith("logging.") else None


WRITTEN = [
    pytest.param(as_on_the_page(message), level_of(call, place, message), id=f"{where} {message[:30]}")
    for where, call, place, names in calls()
    for message in sorted(messages(call.args[place], names))
]
ROWS = {message: level for level, message in re.findall(r"^\| ([\w ]+) \| `(.+?)` \| .+\|$", PAGE, re.MULTILINE)}


@pytest.mark.parametrize(("message", "level"), WRITTEN)
def test_each_message_has_its_row(message, level):
    assert message in ROWS
    if level is not None:
        assert ROWS[message] == level


def test_each_row_has_its_message():
    assert {*ROWS} - {"pgnotify.listener", "pgnotify.handler"} == {each.values[0] for each in WRITTEN}


def test_all_loggers_are_on_the_page():
    used = {name for path in PACKAGE.rglob("*.py") for name in re.findall(r'getLogger\("(.+?)"\)', path.read_text())}

    assert used == {*re.findall(r"^\| `(pgnotify\.\w+)` \|", PAGE, re.MULTILINE)}
