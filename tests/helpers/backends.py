"""What a test does with a backend: collect what arrives, and see it lost."""

from __future__ import annotations

from pgnotify.protocol import Backend
from pgnotify.testing.conformance._tools import collect, until_lost
from tests.helpers.notifications import payloads

__all__ = ["collect", "collect_payloads", "until_lost"]


def collect_payloads(backend: Backend, count: int) -> list[str]:
    """Return the payloads of what arrives until there are this many."""
    return payloads(collect(backend, count))
