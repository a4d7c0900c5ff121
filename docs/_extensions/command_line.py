"""The directive ``command-line``: the commands of `pgnotify`, their arguments and options, from the program itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from pgnotify.cli.app import app as program


def commands(command: Any, words: tuple[str, ...] = ("pgnotify",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield a command, and then all commands in it, each with the words that call it."""
    yield words, command
    for name, part in getattr(command, "commands", {}).items():
        if not part.hidden:
            yield from commands(part, (*words, name))


class CommandLine(SphinxDirective):
    """A section for each command."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        return [_section(" ".join(words), command) for words, command in commands(typer.main.get_command(program))]


def _section(name: str, command: Any) -> nodes.section:
    section = nodes.section("", nodes.title("", "", nodes.literal("", name)), ids=[nodes.make_id(name)])
    with command.make_context(name, [], resilient_parsing=True) as context:
        usage = " ".join((name, *command.collect_usage_pieces(context)))
        records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    section += nodes.literal_block(usage, usage, language="none")
    section += [_paragraph(text) for text in (command.help or "").replace("\b", "").split("\n\n")]
    entries = nodes.definition_list()
    for written, text in filter(None, records):
        if not written.endswith("--help"):
            term = nodes.term("", "", nodes.literal("", written))
            entries += nodes.definition_list_item("", term, nodes.definition("", _paragraph(text)))
    if entries.children:
        section += entries
    return section


def _paragraph(text: str) -> nodes.paragraph:
    """Return a text in which what stands in backquotes is code."""
    parts = " ".join(text.split()).split("`")
    inline = [nodes.literal("", part) if number % 2 else nodes.Text(part) for number, part in enumerate(parts) if part]
    return nodes.paragraph("", "", *inline)


def setup(app: Sphinx) -> dict[str, bool]:
    """Be an extension of Sphinx."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
