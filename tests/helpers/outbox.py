"""An outbox on a real server, which many tests share: each has channels and names of its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pgnotify
from pgnotify.testing._wire import Session, literal
from tests.kinds import Address


@contextmanager
def installed(address: Address) -> Iterator[pgnotify.Outbox]:
    """An outbox that is there for the block. Its name needs quoting, and is new, so tests may run beside each other."""
    outbox = pgnotify.Outbox(f'Out"box {os.getpid()} {uuid.uuid4().hex[:8]}')
    with Session(*address) as session:
        session.sql(outbox.install_sql())
        try:
            yield outbox
        finally:
            session.sql(outbox.uninstall_sql())


class Sending:
    """A session that stores messages with INSERT, as any language does.

    Args:
        session: the session.
        outbox: the outbox.
    """

    def __init__(self, session: Session, outbox: pgnotify.Outbox) -> None:
        self.session = session
        self._outbox = outbox

    def send(self, channel: str, *payloads: object) -> None:
        """Store messages, each of a statement of its own, in one transaction."""
        rows = "; ".join(self._insert(f"VALUES ({literal(channel)}, {literal(str(each))})") for each in payloads)
        self.session.sql(rows)

    def send_numbers(self, channel: str, count: int) -> list[str]:
        """Store as many messages in one statement: "0", "1" and so on; return these payloads."""
        numbers = f"pg_catalog.generate_series(0, {count - 1})"
        self.session.sql(self._insert(f"SELECT {literal(channel)}, number::text FROM {numbers} AS number"))
        return list(map(str, range(count)))

    def after(self, name: str) -> str | None:
        """Return the id up to which a durable subscription is acknowledged within its set."""
        ((after,),) = self.session.sql(f"SELECT after FROM {self._table('_subscription')} WHERE name = {literal(name)}")
        return after

    def _insert(self, rows: str) -> str:
        return f"INSERT INTO {self._table()} (channel, payload) {rows}"

    def _table(self, suffix: str = "") -> str:
        name = (self._outbox.name + suffix).replace('"', '""')
        return f'public."{name}"'
