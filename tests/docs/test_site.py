"""The site builds without a warning, and a reader without a network sees all of it."""

from __future__ import annotations

import dataclasses
import html.parser
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

import pgnotify
import pgnotify.testing
from pgnotify.outbox.status import OutboxStatus, SubscriptionStatus
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

    assert len(pages) > 20
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


PUBLIC_MODULES = ("async_protocol", "errors", "limits", "notification", "protocol", "registry", "testing", "waiting")
CONTRIBUTED = ("prometheus.PrometheusObserver", "opentelemetry.OpenTelemetryObserver")
ENTRIES = [
    *(f"pgnotify.{name}" for name in pgnotify.__all__),
    *(f"pgnotify.testing.{name}" for name in pgnotify.testing.__all__),
    *(f"pgnotify.contrib.{name}" for name in CONTRIBUTED),
    *(f"module-pgnotify.{name}" for name in PUBLIC_MODULES),
    *(f"pgnotify.Status.{field.name}" for field in dataclasses.fields(pgnotify.Status)),
    *(f"pgnotify.Observer.{name}" for name in vars(pgnotify.Observer) if not name.startswith("_")),
]


def test_each_public_name_has_its_entry_in_the_reference(site: Path):
    reference = "".join(page.read_text() for page in site.glob("reference/*.html"))

    assert [name for name in ENTRIES if f'id="{name}"' not in reference] == []


CLASSES = [
    *((f"pgnotify.{name}", getattr(pgnotify, name)) for name in pgnotify.__all__),
    *((f"pgnotify.testing.{name}", getattr(pgnotify.testing, name)) for name in pgnotify.testing.__all__),
    ("pgnotify.outbox.status.OutboxStatus", OutboxStatus),
    ("pgnotify.outbox.status.SubscriptionStatus", SubscriptionStatus),
]


FOR_OURSELVES = {
    *("check_here", "forget_in_child", "following", "internal", "known_as", "mailbox", "place", "reading"),
    *("count", "index"),  # of a tuple
}
"""Members without an underscore that users do not need: docs/_extensions/names.py has them, too."""


def members(thing: object) -> Iterator[tuple[str, list[str]]]:
    """Yield the public methods and attributes of a class, each with the names of the classes that have it."""
    of_ours = [base for base in getattr(thing, "__mro__", ()) if base.__module__.startswith("pgnotify")]
    for name in {name for base in of_ours for name in (*vars(base), *getattr(base, "__annotations__", ()))}:
        if not name.startswith("_"):
            yield name, [base.__name__ for base in of_ours]


def test_each_public_member_of_a_public_class_has_its_entry(site: Path):
    reference = "".join(page.read_text() for page in site.glob("reference/*.html"))

    missing = [
        f"{full}.{name}"
        for full, thing in CLASSES
        if "Conformance" not in full  # its tests are its members
        for name, bases in members(thing)
        if name not in FOR_OURSELVES
        and f'id="{full}.{name}"' not in reference
        and not any(f'id="pgnotify.{base}.{name}"' in reference for base in bases)
    ]
    assert missing == []
    assert [name for name in FOR_OURSELVES if f'.{name}"' in reference] == []


def test_a_colon_in_the_docstring_of_an_attribute_is_a_colon(site: Path):
    page = re.sub(r"<[^>]*>", "", (site / "reference" / "status.html").read_text())

    assert "does not listen to: the latest two heartbeats have found that" in " ".join(page.split())


def test_each_public_module_is_in_the_reference_or_has_its_names_there():
    """A module in pgnotify/ itself is public; these only have names of `pgnotify`, or are for its own folders."""
    have_names_of_pgnotify = {"connection", "message"}
    for_ourselves = {"__init__", "__main__", "atomic", "entry_points", "sending", "threads", "uncopyable"}

    modules = {path.stem for path in (ROOT / "pgnotify").glob("*.py")}
    assert modules - have_names_of_pgnotify - for_ourselves == {*PUBLIC_MODULES} - {"testing"}


def test_each_command_is_on_the_page_of_the_command_line(site: Path):
    page = (site / "reference" / "command-line.html").read_text()

    for command in ("demo", "outbox-status", "outbox-replicate"):
        assert f'id="pgnotify-{command}"' in page
    assert "--debug" in page
