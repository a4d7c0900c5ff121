"""What a name in a docstring leads to.

Docstrings call things by short names, such as `Gap` or `stop`. One that is found is a link, all others are code.
"""

from __future__ import annotations

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import pgnotify


def public_name(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.Element | None:
    """Return what stands for a name that Sphinx has not found by itself; None leaves it to a warning."""
    name = node["reftarget"]
    last = name.rpartition(".")[2]
    python = env.get_domain("py")
    for full in (f"pgnotify.{name}", f"pgnotify.{last}"):
        if last in pgnotify.__all__ and full in python.objects:
            return python.resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, content)
    in_a_docstring = node["reftype"] == "obj"
    of_others = not name.startswith("pgnotify.")
    return content if in_a_docstring or of_others else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Be an extension of Sphinx."""
    app.connect("missing-reference", public_name)
    return {"parallel_read_safe": True}
