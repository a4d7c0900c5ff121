"""Outboxes for tests: each test has one of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from pgnotify import Outbox
from pgnotify.outbox.tables import Tables
from pgnotify.testing._wire import SqlSession, literal


def new_outbox(schema: str | None = None, **options: timedelta) -> Outbox:
    """Return an outbox with a name that no other test has. Nothing is installed."""
    return Outbox(f"outbox_{uuid.uuid4().hex[:12]}", schema, **options)


@contextmanager
def installed_outbox(session: SqlSession, schema: str | None = None, **options: timedelta) -> Iterator[Outbox]:
    """Install an outbox, and remove it at the end."""
    outbox = new_outbox(schema, **options)
    session.sql(outbox.install_sql())
    try:
        yield outbox
    finally:
        session.sql(outbox.uninstall_sql())


def tables_of(outbox: Outbox) -> Tables:
    """Return the names of its tables, as SQL has them."""
    return Tables(outbox.name, outbox.schema)


def make_older(session: SqlSession, outbox: Outbox, payloads: list[str], days: int = 8) -> None:
    """Make messages this old."""
    session.sql(
        f"UPDATE {tables_of(outbox).messages} SET sent_at = sent_at - '{days} days'::interval "
        f"WHERE payload = ANY (ARRAY[{','.join(map(literal, payloads))}])"
    )


def stored(session: SqlSession, outbox: Outbox) -> list[str]:
    """Return the payloads of all messages, in order."""
    return [row[0] for row in session.sql(f"SELECT payload FROM {tables_of(outbox).messages} ORDER BY id")]
