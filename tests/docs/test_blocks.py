"""Every block of code in the documentation runs, and prints what stands below it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import kinds
from tests.docs import blocks, running
from tests.docs.blocks import ROOT, Block
from tests.docs.docstrings import SETUP
from tests.docs.running import Page

pytestmark = [
    # A page leaves connections open where a reader would; `Page` closes them.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks_on(path: Path) -> list[Block]:
    return [example.parsed for example in blocks.blocks_of(path) if isinstance(example.parsed, Block)]


DRIVERS = {module for kind in (*kinds.KINDS, *kinds.NATIVE) for module in kind.modules}
WITH_BLOCKS = [path for path in (*blocks.PAGES, *blocks.MODULES) if blocks_on(path)]


@pytest.mark.parametrize("path", WITH_BLOCKS, ids=name)
def test_the_blocks_of_a_page_run(path: Path, page: Page, record_property: Callable[[str, object], None]):
    if name(path) in SETUP:
        page.run_block(Block("python", SETUP[name(path)], is_hidden=True), 0)
    try:
        count = page.run(path)
    except ModuleNotFoundError as error:
        if error.name not in DRIVERS:
            raise
        pytest.skip(f"{error.name} is not installed")
    for kind, number in count.items():
        record_property(kind, number)


@pytest.mark.parametrize("path", blocks.PAGES, ids=name)
def test_each_block_is_of_a_kind_that_is_looked_at_or_known_not_to_be(path: Path):
    known = (*blocks.RUN, *blocks.PARSED, *blocks.SHOWN, *blocks.NOT_RUN)

    assert [block.code for block in blocks_on(path) if block.language not in known] == []


BROKEN = {
    "python": ("```python\nprint(1 / 0)\n```\n", ZeroDivisionError),
    "python with await": ("```python\nawait missing\n```\n", NameError),
    "hidden python": ("<!-- invisible-code-block: python\nprint(1 / 0)\n-->\n", ZeroDivisionError),
    "indented python": ("- a list\n\n  ```python\n  print(1 / 0)\n  ```\n", ZeroDivisionError),
    "output": ("```python\nprint(1)\n```\n\n```\n2\n```\n", AssertionError),
    "a test": ("```python\ndef test_it():\n    assert False\n```\n", AssertionError),
    "sql": ("```sql\nSELECT 1 FROM public.missing\n```\n", Exception),
    "output of a command": ("```console\n$ echo 1\n2\n```\n", AssertionError),
    "a command": ("```console\n$ false\n```\n", AssertionError),
    "toml": ("```toml\na = \n```\n", ValueError),
    "yaml": ("```yaml\na: [\n```\n", Exception),
    "json": ("```json\n{\n```\n", ValueError),
    "a unit of systemd": ("```service\n[Service\n```\n", Exception),
}


@pytest.mark.parametrize(("text", "error"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_block_is_found(text: str, error: type[Exception], page: Page, tmp_path: Path):
    broken = tmp_path / "broken.md"
    broken.write_text(f"# A page\n\n{text}\n")

    with pytest.raises(error):
        page.run(broken)


def test_a_page_that_is_right_is_counted_by_kind(page: Page, tmp_path: Path):
    right = tmp_path / "right.md"
    right.write_text("""
<!-- invisible-code-block: python
x = 1
-->

```python
# shop.py
print("x", await one())
print(dsn == "postgresql://localhost/postgres")
```

```
x ...
True
```

```console
$ python -c 'import pathlib; print(pathlib.Path("shop.py").exists())'
True
$ pip install something
```
""")
    page.names["one"] = one

    assert page.run(right) == {"hidden": 1, "python": 1, "output": 1, "console": 1}


async def one() -> int:
    return 1


@pytest.mark.parametrize(
    ("expected", "printed", "is_the_same"),
    [
        ("a\n", "a", True),
        ("a", "b", False),
        ("a ... c", "a b c", True),
        ("a\n...\nc", "a\nb\nb\nc", True),
        ("a\n…\nc", "a\nc", True),
        ("a.c", "abc", False),
    ],
)
def test_an_ellipsis_stands_for_what_varies(expected: str, printed: str, is_the_same: bool):
    assert running.matches(expected, printed) is is_the_same


def test_numbers_may_vary_where_the_page_says_so():
    assert running.matches("│ size │ 49,152 bytes │ 5.9 s ago │", "│ size │ 8 bytes   │ 2.1 m ago │", numbers_vary=True)
    assert not running.matches("1", "2")
