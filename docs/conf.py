"""How Sphinx makes the site: `make docs`. Every warning is an error, and nothing is fetched from the network."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from pygments.lexers.configs import IniLexer
from pygments.lexers.sql import PostgresLexer
from sphinx.highlighting import lexers

import pgnotify

project = "pgnotify"
author = "The pgnotify developers"
copyright = f"2026, {author}"  # noqa: A001  # Sphinx's name for it
release = version = pgnotify.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    # In _extensions/.
    "command_line",
    "names",
    "repository",
]
exclude_patterns = ["_extensions"]
nitpicky = True

html_theme = "furo"
html_title = "pgnotify"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["pgnotify.css"]
html_theme_options = {
    "source_repository": "https://github.com/pgnotify/pgnotify/",
    "source_branch": "main",
    "source_directory": "docs/",
}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
lexers["sql"] = PostgresLexer()
lexers["service"] = IniLexer()  # a unit of systemd
highlight_language = "none"  # of a block that names no language, such as the output of the one above it
copybutton_exclude = ".linenos, .gp, .go"  # prompts and output

default_role = "obj"
"""In a docstring, a name in backquotes is a link if this documentation has it; see `_extensions/names.py`."""
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 100
