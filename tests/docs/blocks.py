"""The blocks of code in the documentation: where they stand, and how each kind is run.

Sybil runs them in the order of their page. CONTRIBUTING.md has the rules for authors.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from sybil import Document, Example, Region, Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.myst import SkipParser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
MODULES = sorted(ROOT.glob("pgnotify/**/*.py"))

RUN = ("python", "sql", "console")
PARSED = ("toml", "ini", "service", "yaml", "json")
SHOWN = ("", "text")
"""What a python block printed, if one before it has printed anything."""
NOT_RUN = ("python3", "html", "javascript", "dockerfile", "nginx")
"""Python of another project, and what needs programs that we do not have."""

IN_EXAMPLES = ("python", "toml", "html", "sql")
"""Of these, a part of an example is not run by itself."""

_FENCE = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>`{3,})(?P<language>[\w-]*|\{[\w-]+\})[^\n`]*\n(?P<body>.*?)^(?P=indent)(?P=fence)[ ]*$"
    r"|^<!-- invisible-code-block: (?P<hidden>\w+)\n(?P<hidden_body>.*?)^-->$",
    re.DOTALL | re.MULTILINE,
)
_IN_DOCSTRING = re.compile(
    r"(?<=::\n\n)(?P<body>(?P<indent>[ ]{4,})\S[^\n]*\n(?:(?P=indent)[^\n]*\n|[ ]*\n(?=(?P=indent)))*)"
)


class Block:
    """A block of a page.

    Args:
        language: behind its fence; empty if none stands there.
        code: its lines, without their common indentation.
        is_hidden: whether it stands in a comment, so that nobody sees it.
        numbers_vary: whether the comment ``<!-- numbers vary -->`` stands above it.
    """

    def __init__(self, language: str, code: str, is_hidden: bool = False, numbers_vary: bool = False) -> None:
        self.language = language
        self.code = code
        self.is_hidden = is_hidden
        self.numbers_vary = numbers_vary


class DocStrings(PythonDocStringDocument):
    """The docstrings of a module, which is not imported for that."""

    def __init__(self, text: str, path: str) -> None:
        Document.__init__(self, text, path)


def _blocks(document: Document) -> Iterator[Region]:
    for found in _FENCE.finditer(document.text):
        if found["language"] and found["language"].startswith("{"):
            continue  # a directive of Sphinx's
        if found["hidden"] is not None:
            block = Block(found["hidden"], found["hidden_body"], is_hidden=True)
        else:
            vary = document.text[: found.start()].rstrip().endswith("<!-- numbers vary -->")
            block = Block(found["language"], _without_indent(found["body"], found["indent"]), numbers_vary=vary)
        yield Region(found.start(), found.end(), block, _run)


def _blocks_in_docstrings(document: Document) -> Iterator[Region]:
    for found in _IN_DOCSTRING.finditer(document.text):
        block = Block("python", textwrap.dedent(found["body"]))
        yield Region(found.start("body"), found.end("body"), block, _run)


def _without_indent(text: str, indent: str) -> str:
    return "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))


def stands_in_an_example(block: Block) -> bool:
    """Whether a block is a part of a file in examples/, which has tests of its own. All lines may be indented there."""
    lines = block.code.splitlines()
    for path in sorted(ROOT.glob("examples/**/*")):
        if path.suffix in (".py", ".toml", ".html", ".sql"):
            there = path.read_text().splitlines()
            for start in range(len(there) - len(lines) + 1):
                part = "\n".join(there[start : start + len(lines)])
                if textwrap.dedent(part).splitlines() == lines:
                    return True
    return False


def _run(example: Example) -> None:
    example.namespace["run"](example.parsed, example.line)


def blocks_of(path: Path) -> Document:
    """Return a page, or the docstrings of a module, with its blocks. They run with `run` in its namespace."""
    if path.suffix == ".py":
        sybil = Sybil([_blocks_in_docstrings], document_types={".py": DocStrings})
    else:
        sybil = Sybil([_blocks, SkipParser()])
    return sybil.parse(path)
