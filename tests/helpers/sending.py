"""What another session sends."""

from __future__ import annotations

from pgnotify.testing._wire import Session, literal

SEND = "SELECT pg_catalog.pg_notify($1::pg_catalog.text, $2::pg_catalog.text)::pg_catalog.text"
"""A statement for query(), whose effect another session can see."""


def burst(session: Session, channel: str, count: int, start: int = 0) -> None:
    """Send the payloads "start", "start + 1" and so on, in one transaction."""
    numbers = f"generate_series({start}, {start + count - 1})"
    session.sql(f"SELECT count(pg_notify({literal(channel)}, number::text)) FROM {numbers} AS number")


def send_numbers(session: Session, channel: str, count: int, size: int = 100) -> list[str]:
    """Send so many payloads of so many bytes in one transaction, and return them."""
    payload = f"lpad(n::text, {size}, '.')"
    session.sql(f"SELECT count(pg_notify({literal(channel)}, {payload})) FROM generate_series(1, {count}) n")
    return [str(n).rjust(size, ".") for n in range(1, count + 1)]


def flood(session: Session, channel: str, count: int, size: int) -> None:
    """Send so many payloads of a size, which begin with their number, in transactions of a thousand."""
    for first in range(0, count, 1000):
        last = min(first + 1000, count) - 1
        session.sql(
            f"SELECT count(pg_notify({literal(channel)}, rpad(n::text || ' ', {size}, '.'))) "
            f"FROM generate_series({first}, {last}) n"
        )
