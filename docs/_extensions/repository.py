"""Links from a page to a file outside docs/ lead to the repository: a checkout and the site have the same pages."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from sphinx.application import Sphinx

FILES = "https://github.com/pgnotify/pgnotify/blob/main/"
_LINK = re.compile(r"(?<=\]\()(?:\.\./)+[^)#\s]+")


def lead_to_repository(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the relative links of a page that leave docs/."""
    directory = posixpath.dirname(f"docs/{page}")

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(directory, link[0]))
        if path.startswith("docs/"):
            return link[0]
        if not (Path(app.srcdir).parent / path).exists():
            raise FileNotFoundError(f"{page}: {link[0]} leads to {path}, which is not there")
        return FILES + path

    source[0] = _LINK.sub(target, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Be an extension of Sphinx."""
    app.connect("source-read", lead_to_repository)
    return {"parallel_read_safe": True}
