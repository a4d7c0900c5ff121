"""The site builds without a warning, and a reader without a network sees all of it."""

from __future__ import annotations

import html.parser
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from tests.docs.blocks import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the site: the one that was built before, or a new one."""
    if "PGNOTIFY_SITE" in os.environ:
        return Path(os.environ["PGNOTIFY_SITE"])
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    done = subprocess.run([*command, "docs", str(directory)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return directory


class Loaded(html.parser.HTMLParser):
    """Collects what a browser loads by itself for a page."""

    LOADING: ClassVar = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.anchors: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") not in ("canonical", "search", "index", "next", "prev"):
            self.urls.append(values["href"] or "")
        elif url := values.get(self.LOADING.get(tag, "")):
            self.urls.append(url)


def loaded_by(text: str) -> list[str]:
    """Return the addresses of what a browser loads for a page."""
    parser = Loaded()
    parser.feed(text)
    return parser.urls


def test_nothing_is_loaded_from_elsewhere(site: Path):
    pages = sorted(site.rglob("*.html"))
    styles = sorted(site.rglob("*.css"))

    assert len(pages) > 15
    remote = [(page.name, url) for page in pages for url in loaded_by(page.read_text()) if "//" in url]
    assert remote == []
    assert [style.name for style in styles if "url(http" in style.read_text() or "@import" in style.read_text()] == []


def test_what_is_loaded_from_elsewhere_would_be_found():
    text = '<link rel="stylesheet" href="//cdn/x.css"><script src="https://cdn/x.js"></script><a href="https://x">x</a>'

    assert loaded_by(text) == ["//cdn/x.css", "https://cdn/x.js"]


def test_each_page_is_in_the_navigation(site: Path):
    front = (site / "index.html").read_text()
    pages = sorted(
        page.relative_to(site).as_posix()
        for part in ("how-to", "reference", "why")
        for page in site.glob(f"{part}/*.html")
    )

    assert pages
    assert [page for page in pages if f'href="{page}"' not in front] == []
