"""The page on writing a backend shows its two examples as they are."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from pgnotify.testing import AsyncBackendConformance, BackendConformance
from pgnotify.testing.conformance import running

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "how-to" / "write-a-backend.md").read_text()
EXAMPLES = [ROOT / "examples" / "backend-libpq", ROOT / "examples" / "backend-asyncpg"]
BLOCKS = re.findall(r"^```(?:python|toml)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def _lines(code: str) -> list[str]:
    return textwrap.dedent(code).splitlines()


def _occurs(block: list[str], file: Path) -> bool:
    """Whether the lines stand in a file one after the other, all of them indented by as much again."""
    lines = file.read_text().splitlines()
    starts = range(len(lines) - len(block) + 1)
    return any(_lines("\n".join(lines[start : start + len(block)])) == block for start in starts)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.strip().splitlines()[0][:40])
def test_a_block_of_the_page_stands_in_the_example(block):
    files = [file for example in EXAMPLES for file in (*example.rglob("*.py"), example / "pyproject.toml")]

    assert any(_occurs(_lines(block), file) for file in files)


def test_the_page_has_blocks_and_is_short():
    assert len(BLOCKS) >= 7
    assert len(PAGE.splitlines()) < 150


def test_the_links_of_the_page_lead_somewhere():
    targets = re.findall(r"\]\(((?:\.\./)+[^)]+)\)", PAGE)

    assert targets
    assert [target for target in targets if not (ROOT / "docs" / "how-to" / target).exists()] == []


def test_the_counts_of_the_page_are_those_of_the_tests_that_there_are():
    tests = len(running.tests_of(BackendConformance))

    ok, failed, skipped = map(
        int, re.search(r"^(\d+) ok, (\d+) FAILED, (\d+) skipped, in", PAGE, re.MULTILINE).groups()
    )
    assert (failed, ok + skipped) == (0, tests)
    passed, skipped = map(int, re.search(r"^(\d+) passed, (\d+) skipped in", PAGE, re.MULTILINE).groups())
    assert passed + skipped == tests
    assert f"the same {tests} tests and {len(running.tests_of(AsyncBackendConformance)) - tests} of" in PAGE


def test_the_page_says_how_long_its_first_example_is():
    backend = (EXAMPLES[0] / "src" / "pgnotify_libpq" / "backend.py").read_text()

    assert f"one of {len(backend.splitlines())} lines" in PAGE
