"""Keep a copy of a table in memory, up to date through every loss of the connection.

python examples/mirror.py "postgresql://localhost/postgres"

    CREATE TABLE public.orders (id pg_catalog.int8 PRIMARY KEY, item pg_catalog.text);
    -- A trigger sends the key of each row that changes; `pgnotify trigger` prints one.
    INSERT INTO public.orders VALUES (1, 'two books');

A notification only says which row to read. Whatever is missed lies in a gap, and after a gap the whole table is read.
"""

from __future__ import annotations

import signal
import sys

import psycopg

import pgnotify


class Mirror:
    """The rows of the table, by key."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.rows: dict[int, str] = {}

    def read_all(self, event: pgnotify.Listening) -> None:
        """Read the table: LISTEN is in force, so each later change is told. If this fails, the listener comes again."""
        with psycopg.connect(self._dsn) as connection:
            self.rows = dict(connection.execute("SELECT id, item FROM public.orders"))
        self._show("everything" if event.gap is None else f"again, after a gap: {event.gap.reason}")

    def read_one(self, notification: pgnotify.Notification) -> None:
        """Read the row that has changed, or forget the one that was deleted."""
        key = int(notification.payload)
        with psycopg.connect(self._dsn) as connection:
            row = connection.execute(
                "SELECT item FROM public.orders WHERE id OPERATOR(pg_catalog.=) %s", [key]
            ).fetchone()
        if row is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = row[0]
        self._show(f"row {key}")

    def _show(self, what: str) -> None:
        print(f"read {what}: {sorted(self.rows.items())}", flush=True)


def main(dsn: str) -> None:
    """Mirror until SIGTERM."""
    mirror = Mirror(dsn)
    # With "raise", a row that cannot be read ends the program: an old copy would be worse.
    listener = pgnotify.Listener(dsn, name="mirror", on_listening=mirror.read_all, on_error="raise")
    listener.subscribe("orders", mirror.read_one)
    signal.signal(signal.SIGTERM, lambda number, frame: listener.stop())
    listener.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
