"""What a name in a docstring or a signature leads to, and which signatures are shown.

Docstrings call things by short names, such as `Gap` or `stop`. One that is found is a link, all others are code.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import pgnotify

PUBLIC_MODULES = (
    "pgnotify",
    "pgnotify.async_protocol",
    "pgnotify.contrib.opentelemetry",
    "pgnotify.contrib.prometheus",
    "pgnotify.errors",
    "pgnotify.limits",
    "pgnotify.notification",
    "pgnotify.protocol",
    "pgnotify.registry",
    "pgnotify.testing",
    "pgnotify.waiting",
)
"""The modules whose names users import. What is defined elsewhere has no page."""

MADE_BY_US = frozenset(
    ("AsyncBatch", "AsyncStream", "AsyncSubscription", "Batch", "Message", "Probe", "Status", "Stream", "Subscription")
)
"""Classes that users do not call. Their arguments are not shown."""

FOR_OURSELVES = frozenset(
    (
        *("check_here", "forget_in_child", "following", "internal", "known_as", "mailbox", "place", "reading"),
        *("count", "index"),  # of a tuple
    )
)
"""Members without an underscore that only other modules of pgnotify use."""


def public_name(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.Element | None:
    """Return what stands for a name that Sphinx has not found by itself; None leaves it to a warning."""
    module, _, name = node["reftarget"].rpartition(".")
    python: Any = env.get_domain("py")
    if name in pgnotify.__all__ and f"pgnotify.{name}" in python.objects:
        found: nodes.Element | None = python.resolve_xref(
            env, node["refdoc"], app.builder, "obj", f"pgnotify.{name}", node, content
        )
        return found
    is_in_a_docstring = node["reftype"] == "obj"
    is_type_variable = len(name) == 1
    return content if is_in_a_docstring or is_type_variable or module not in PUBLIC_MODULES else None


def shown_signature(
    app: Sphinx, kind: str, name: str, thing: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Return the signature to show."""
    is_protocol = signature == "(*args, **kwargs)"
    is_called_by_users = name.rpartition(".")[2] not in MADE_BY_US and not is_protocol
    return (signature, returned) if kind != "class" or is_called_by_users else ("", None)


_kept: dict[str, list[str]] = {}


def keep(app: Sphinx, kind: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Remember the docstring of an attribute. Napoleon takes what stands before its first colon for a type."""
    has_sections = any(line.strip() in ("Args:", "Raises:", "Returns:") for line in lines)
    if kind in ("attribute", "data", "property") and not has_sections:
        _kept[name] = [*lines]


def restore(app: Sphinx, kind: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Put a docstring back that was kept."""
    lines[:] = _kept.pop(name, lines)
    if kind == "class" and name.rpartition(".")[2] in MADE_BY_US:
        text = "\n".join(lines)
        lines[:] = re.sub(r"^:(param|type) .*\n?(^[ ]+\S.*\n?)*", "", text, flags=re.MULTILINE).splitlines()


def skip(app: Sphinx, kind: str, name: str, thing: object, is_skipped: bool, options: object) -> bool | None:
    """Return True for a member that is not shown; None leaves the decision to others."""
    return True if name in FOR_OURSELVES else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Be an extension of Sphinx."""
    app.connect("missing-reference", public_name)
    app.connect("autodoc-process-signature", shown_signature)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", keep, priority=400)  # Napoleon's is 500
    app.connect("autodoc-process-docstring", restore, priority=600)
    return {"parallel_read_safe": True}
