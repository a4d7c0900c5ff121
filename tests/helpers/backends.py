"""What a test does with a backend: collect what comes, see it lost, wait for the server's side."""

from __future__ import annotations

from collections.abc import Callable

from pgnotify.protocol import Backend
from pgnotify.testing._wire import Session, literal
from pgnotify.testing.conformance import _tools
from pgnotify.testing.conformance._tools import collect, until_lost

__all__ = ["collect", "payloads", "send_numbers", "until", "until_lost"]


def payloads(backend: Backend, count: int) -> list[str]:
    """Return the payloads of what arrives until there are so many."""
    return [each.payload for each in collect(backend, count)]


def until(condition: Callable[[], object]) -> None:
    """Ask until the answer is true."""
    _tools.until(condition, "it did not become true")


def send_numbers(session: Session, channel: str, count: int, size: int = 100) -> list[str]:
    """Send so many payloads of so many bytes in one transaction, and return them."""
    payload = f"lpad(n::text, {size}, '.')"
    session.sql(f"SELECT count(pg_notify({literal(channel)}, {payload})) FROM generate_series(1, {count}) n")
    return [str(n).rjust(size, ".") for n in range(1, count + 1)]
