"""What a test does with a backend: collect what comes, see it lost, wait for the server's side."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pgnotify.errors import ConnectionLost
from pgnotify.notification import Notification
from pgnotify.protocol import Backend
from tests.wire import Session, literal

PATIENCE_SECONDS = 20


def collect(backend: Backend, count: int) -> list[Notification]:
    """Return what arrives until there are so many; fail if it takes too long."""
    arrived: list[Notification] = []
    while len(arrived) < count:
        assert backend.wait(PATIENCE_SECONDS), f"{len(arrived)} of {count} notifications arrived"
        arrived += backend.fetch()
    return arrived


def payloads(backend: Backend, count: int) -> list[str]:
    """Return the payloads of what arrives until there are so many."""
    return [each.payload for each in collect(backend, count)]


def until_lost(backend: Backend) -> tuple[list[Notification], ConnectionLost]:
    """Play a listener until the connection is lost; return what arrived before, and the error."""
    arrived: list[Notification] = []
    for _ in range(100):
        try:
            assert backend.wait(PATIENCE_SECONDS), "the loss was not noticed"
            arrived += backend.fetch()
        except ConnectionLost as lost:
            return arrived, lost
    raise AssertionError("wait() is True for ever, and fetch() does not say that the connection is lost")


def until(condition: Callable[[], Any]) -> None:
    """Ask until the answer is true. Each question should cost a round trip, or it is a busy loop."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"


def send_numbers(session: Session, channel: str, count: int, size: int = 100) -> list[str]:
    """Send so many payloads of so many bytes in one transaction, and return them."""
    payload = f"lpad(n::text, {size}, '.')"
    session.sql(f"SELECT count(pg_notify({literal(channel)}, {payload})) FROM generate_series(1, {count}) n")
    return [str(n).rjust(size, ".") for n in range(1, count + 1)]


def state_of(session: Session, pid: int) -> str | None:
    """Return what pg_stat_activity says of a session: "idle", "idle in transaction", …; None if it is gone."""
    rows = session.sql(f"SELECT state FROM pg_stat_activity WHERE pid = {pid}")
    return rows[0][0] if rows else None
