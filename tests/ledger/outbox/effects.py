"""What consumers that take batches have done: rows of a table, written in the transaction that acknowledges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgnotify.notification import Notification
from pgnotify.testing._wire import Session, literal
from tests.ledger.books import Book, Delivered, number_of

TABLE = """\
CREATE TABLE public.effects (
    place pg_catalog.int8 GENERATED ALWAYS AS IDENTITY,
    consumer pg_catalog.text,
    number pg_catalog.int8,
    channel pg_catalog.text,
    done_at pg_catalog.timestamptz DEFAULT pg_catalog.clock_timestamp()
)"""


def insertion(consumer: str, messages: Sequence[Notification]) -> str:
    """Return the statement that says that a consumer has done its work for these."""
    rows = (f"({literal(consumer)}, {number_of(each)}, {literal(each.channel)})" for each in messages)
    return f"INSERT INTO public.effects (consumer, number, channel) VALUES {', '.join(rows)}"


def book_of(consumer: str, channels: tuple[str, ...], session: Session) -> Book:
    """Return what the table says, as one life: not even another process does anything again."""
    rows: list[tuple[Any, ...]] = session.sql(
        "SELECT number, channel, extract(epoch FROM done_at) FROM public.effects "
        f"WHERE consumer OPERATOR(pg_catalog.=) {literal(consumer)} ORDER BY place"
    )
    return Book(channels, [Delivered(int(number), channel, float(at)) for number, channel, at in rows])
