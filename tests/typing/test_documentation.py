"""The examples in the documentation pass type checkers, as strict as a user may set them.

The blocks of a page make one module, the hidden ones included. Those of a page on a library that is not installed here
are checked as far as that goes: everything of the library is Any.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
    "reportAttributeAccessIssue=false\n"
)


def _modules() -> dict[str, str]:
    """Return the module of each page, by its name."""
    modules = {}
    for page in blocks.PAGES:
        found = [example.parsed for example in blocks.blocks_of(page) if isinstance(example.parsed, Block)]
        code = [block.code for block in found if block.language == "python" and not blocks.stands_in_an_example(block)]
        if code:
            name = page.relative_to(ROOT).with_suffix("").as_posix().replace("/", "_").replace("-", "_")
            modules[f"{name}.py"] = "\n\n".join([FOR_PYRIGHT, "dsn: str = ''", *code])
    return modules


MODULES = _modules()


def test_there_are_examples_on_these_pages() -> None:
    pages = ("README", "docs_reference_asyncio", "docs_reference_handler", "docs_reference_listener")

    assert {f"{page}.py" for page in pages} <= MODULES.keys()


def _faults(tmp_path: Path, *command: str) -> str:
    """Run a type checker on all examples, each in a module of its own; return what it finds."""
    for library in ("mypy", "prometheus_client", "opentelemetry.sdk"):
        pytest.importorskip(library)
    for name, code in MODULES.items():
        (tmp_path / name).write_text(code)
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
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_the_examples_pass_mypy(tmp_path: Path) -> None:
    assert _faults(tmp_path, sys.executable, "-m", "mypy", *MYPY_OPTIONS) == ""


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("pyright") is None, reason="not applicable: pyright is not installed")
def test_the_examples_pass_pyright(tmp_path: Path) -> None:
    assert _faults(tmp_path, "pyright", "--pythonpath", sys.executable) == ""
