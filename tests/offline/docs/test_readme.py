"""The README is what PyPI shows: no link in it depends on where it stands, and it is short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
DOCUMENTATION = "https://pgnotify.readthedocs.io"
REPOSITORY = "https://github.com/pgnotify/pgnotify"
RAW = "https://raw.githubusercontent.com/pgnotify/pgnotify/main/"


def targets(text: str) -> list[str]:
    """Return where the links and the pictures of a text lead, in Markdown and in HTML."""
    inline = re.findall(r"\]\(\s*<?([^)\s>]+)", text)
    of_references = re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, re.MULTILINE)
    return inline + of_references + re.findall(r"""(?:href|src)=["']?([^"'\s>]+)""", text)


def file_of(url: str) -> Path | None:
    """Return the file in this checkout that one of our own addresses shows; None for others."""
    path = url.partition("#")[0]
    if path.startswith(f"{DOCUMENTATION}/en/latest/"):
        page = path.removeprefix(f"{DOCUMENTATION}/en/latest/") or "index.html"
        return ROOT / "docs" / page.replace(".html", ".md")
    for start in (f"{REPOSITORY}/blob/main/", RAW):
        if path.startswith(start):
            return ROOT / path.removeprefix(start)
    return None


def test_no_link_is_relative():
    assert len(targets(README)) >= 10
    assert [target for target in targets(README) if not target.startswith("https://")] == []


@pytest.mark.parametrize("text", ["[a](docs/a.md)", "![a](a.svg)", "[a]: docs/a.md", '<img src="a.svg">', "[a](#a)"])
def test_a_relative_link_would_be_found(text):
    assert [target for target in targets(text) if not target.startswith("https://")] != []


def test_each_link_to_ourselves_leads_to_something():
    files = [file for target in targets(README) if (file := file_of(target)) is not None]

    assert len(files) >= 10
    assert [file for file in files if not file.exists()] == []


def test_it_is_a_screen_and_a_half():
    assert len(README.splitlines()) <= 125


def test_the_metadata_names_the_same_addresses():
    metadata = (ROOT / "pyproject.toml").read_text()

    assert f'Documentation = "{DOCUMENTATION}"' in metadata
    assert f'Repository = "{REPOSITORY}"' in metadata
