"""What the tests of the web examples share: the table of messages, and a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgnotify.testing._wire import Session, literal


class Room:
    """Somebody who writes to one room, in a session of their own."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self.name = name

    def write(self, body: str) -> None:
        """Store a message, and send it."""
        self._session.sql(
            f"INSERT INTO public.messages (room, body) VALUES ({literal(self.name)}, {literal(body)}) RETURNING "
            f"pg_catalog.pg_notify('room:{self.name}', pg_catalog.row_to_json(messages)::pg_catalog.text)"
        )

    def store(self, body: str) -> None:
        """Store a message, and send nothing."""
        self._session.sql(f"INSERT INTO public.messages (room, body) VALUES ({literal(self.name)}, {literal(body)})")


@pytest.fixture
def room(session: Session) -> Iterator[Room]:
    """A room in an empty table."""
    session.sql(
        "CREATE TABLE public.messages "
        "(id pg_catalog.int8 GENERATED ALWAYS AS IDENTITY, room pg_catalog.text, body pg_catalog.text)"
    )
    yield Room(session, "7")
    session.sql("DROP TABLE public.messages")
