"""The directive ``log-messages``: every line that a listener logs, from the code that logs it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pgnotify.listener.log import Log

LEVELS = ("error", "warning", "info")


class Line(NamedTuple):
    """A line of the log."""

    level: str
    message: str
    """As in `logging`: %s and %d stand for what varies."""
    reason: str
    """When it is written."""


def lines() -> list[Line]:
    """Return all lines, errors first."""
    module = ast.parse(inspect.getsource(inspect.getmodule(Log)))
    (log,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == Log.__name__)
    found = [line for method in log.body if isinstance(method, ast.FunctionDef) for line in _lines_of(method)]
    return sorted(dict.fromkeys(found), key=lambda line: LEVELS.index(line.level))


def _lines_of(method: ast.FunctionDef) -> Iterator[Line]:
    reason = (ast.get_docstring(method) or "").partition("\n\n")[0].partition(": `")[0]
    texts = {
        node.targets[0].id: node.value
        for node in ast.walk(method)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for call in ast.walk(method):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        if call.func.attr in LEVELS:
            levels, message = [call.func.attr], call.args[0]
        elif call.func.attr == "log":
            levels, message = _levels(call.args[0], texts), call.args[2]
        else:
            continue
        text = ast.literal_eval(texts[message.id] if isinstance(message, ast.Name) else message)
        for level in levels:
            yield Line(level, text.removeprefix("%s: "), " ".join(reason.split()))


def _levels(level: ast.expr, texts: dict[str, ast.expr]) -> list[str]:
    if isinstance(level, ast.Name):
        level = texts[level.id]
    return [node.attr.lower() for node in ast.walk(level) if isinstance(node, ast.Attribute) and node.attr.isupper()]


class LogMessages(SphinxDirective):
    """A definition for each line: the message, its level, and when it is written."""

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        entries = nodes.definition_list()
        for line in lines():
            term = nodes.term(
                "", "", nodes.strong("", line.level.upper()), nodes.Text(" "), nodes.literal("", line.message)
            )
            entries += nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", line.reason)))
        return [entries]


def setup(app: Sphinx) -> dict[str, bool]:
    """Be an extension of Sphinx."""
    app.add_directive("log-messages", LogMessages)
    return {"parallel_read_safe": True}
