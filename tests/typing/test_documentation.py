"""The examples in the documentation pass type checkers, as strict as a user may set them.

The blocks of a page make one module, the hidden ones included. Those of a page on a library that is not installed here
are checked as far as that goes: everything of the library is Any.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

sybil = pytest.importorskip("sybil")

from tests.docs import blocks  # noqa: E402
from tests.docs.blocks import Block  # noqa: E402

ROOT = Path(__file__).parents[2]

# Names that a page uses twice, and an `await` outside a function, as in a notebook.
MYPY_OPTIONS = (
    "--strict",
    "--allow-redefinition",
    "--allow-subclassing-any",
    "--allow-untyped-decorators",
    "--ignore-missing-imports",
    "--no-warn-unused-ignores",
    "--disable-error-code=no-redef",
    "--disable-error-code=top-level-await",
    "--disable-error-code=no-any-return",
)
FOR_PYRIGHT = (
    "# pyright: reportMissingImports=false, reportMissingModuleSource=false, reportRedeclaration=false, "
    "reportAttributeAccessIssue=false"
)


class Module(NamedTuple):
    """The blocks of a page, one behind the other."""

    code: str
    hidden: frozenset[int]
    """The numbers of the lines that nobody sees, such as a stand-in for a server. Those need no types."""


def _modules() -> dict[str, Module]:
    """Return the module of each page, by its name."""
    modules = {}
    for page in blocks.PAGES:
        lines, hidden = [FOR_PYRIGHT, "dsn: str = ''"], set[int]()
        for example in blocks.blocks_of(page):
            block = example.parsed
            if isinstance(block, Block) and block.language == "python" and not blocks.stands_in_an_example(block):
                first = len(lines) + 1
                lines += block.code.splitlines()
                hidden.update(range(first, len(lines) + 1) if block.is_hidden else ())
        if len(lines) > 2:
            name = page.relative_to(ROOT).with_suffix("").as_posix().replace("/", "_").replace("-", "_")
            modules[f"{name}.py"] = Module("\n".join(lines) + "\n", frozenset(hidden))
    return modules


MODULES = _modules()


def test_there_are_examples_on_these_pages() -> None:
    pages = ("README", "docs_reference_asyncio", "docs_reference_handler", "docs_reference_listener")

    assert {f"{page}.py" for page in pages} <= MODULES.keys()


def _faults(tmp_path: Path, *command: str) -> list[str]:
    """Run a type checker on all pages, each in a module of its own; return the errors in what readers see."""
    for library in ("mypy", "prometheus_client", "opentelemetry.sdk"):
        pytest.importorskip(library)
    for name, module in MODULES.items():
        (tmp_path / name).write_text(module.code)
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *(str(tmp_path / name) for name in MODULES)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    errors = re.findall(r"^.*?(\w+\.py):(\d+):(.* error: .*|.* - error: .*)$", done.stdout, re.MULTILINE)
    assert errors or done.returncode == 0, done.stdout + done.stderr
    return [f"{name}:{line}:{text}" for name, line, text in errors if int(line) not in MODULES[name].hidden]


@pytest.mark.timeout(300)
def test_the_examples_pass_mypy(tmp_path: Path) -> None:
    assert _faults(tmp_path, sys.executable, "-m", "mypy", *MYPY_OPTIONS) == []


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("pyright") is None, reason="not applicable: pyright is not installed")
def test_the_examples_pass_pyright(tmp_path: Path) -> None:
    assert _faults(tmp_path, "pyright", "--pythonpath", sys.executable) == []
