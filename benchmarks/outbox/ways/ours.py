"""Our outbox, with and without a durable name."""

from __future__ import annotations

from typing import Any

import pgnotify
from benchmarks.outbox.ways import CHANNEL, Callback, Read, Send, Store
from pgnotify.testing.address import Address
from tests.kinds import KINDS

TABLE = "pgnotify_outbox"


class Stored(Store):
    """Our outbox.

    Args:
        kind: of the reader's connection.
        durable: the reader's name, None if it has none.
    """

    tables = ("public", TABLE)

    def __init__(self, kind: str, durable: str | None = None) -> None:
        (self._kind,) = (each for each in KINDS if each.name == kind)
        self._durable = durable
        self._outbox = pgnotify.Outbox(TABLE)

    def install(self, address: Address) -> None:
        """Install it, and leave it without statistics."""
        with _connected(address) as db:
            db.execute(self._outbox.install_sql())
            db.execute(f"ALTER TABLE public.{TABLE} SET (autovacuum_enabled = false)")

    def fill(self, address: Address, count: int) -> None:
        """Insert all in one statement, as any language can."""
        with _connected(address) as db:
            db.execute(
                f"INSERT INTO public.{TABLE} (channel, payload) SELECT '{CHANNEL}', "
                "'payload' OPERATOR(pg_catalog.||) pg_catalog.lpad(i::pg_catalog.text, 7, '0') "
                f"FROM pg_catalog.generate_series(1, {count}) AS i"
            )

    def sender(self, address: Address) -> Send:
        """Send with notify()."""
        db = _connected(address)
        return lambda payload: self._outbox.notify(db, CHANNEL, payload)

    def reader(self, address: Address) -> Read:
        """Read with callbacks, in this thread."""
        listener = pgnotify.Listener(
            lambda: self._kind.connect(address), outbox=self._outbox, durable=self._durable, start="all"
        )
        subscription = listener.subscribe(CHANNEL, print)
        listener.__enter__()

        def read(callback: Callback) -> None:
            def call(message: Any) -> None:
                if callback(message.payload):
                    listener.stop()

            subscription.callback = call
            listener.run()
            listener.__exit__(None, None, None)  # acknowledges the last ones

        return read


def _connected(address: Address) -> Any:
    import psycopg

    return psycopg.connect(address.dsn, autocommit=True)
