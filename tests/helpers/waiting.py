"""How tests wait for others without sleeping: they ask until the answer is yes, and fail if it stays no."""

from __future__ import annotations

from collections.abc import Callable

from pgnotify.testing.conformance import _tools

PATIENCE = _tools.PATIENCE_SECONDS
"""Reached only if something is wrong."""
LONGER_THAN_PATIENCE = 3 * PATIENCE
"""For what must not be waited for: a test that does so has failed before."""
IN_MEMORY = 10.0
"""The patience of tests without a server."""


def eventually(condition: Callable[[], object], what: str = "", patience: float = PATIENCE) -> None:
    """Return as soon as the condition is true; fail if it is still not true after ``patience`` seconds."""
    __tracebackhide__ = True
    _tools.until(condition, f"still not true: {what or condition}", patience)
