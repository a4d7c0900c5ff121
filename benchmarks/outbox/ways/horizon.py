"""A reader by hand that reads what is older than every running transaction: the usual answer to ids out of order."""

from __future__ import annotations

from typing import Any

from benchmarks.outbox.ways import CHANNEL, Callback, Read, Send, Store
from pgnotify.testing.address import Address

MOST_ROWS = 500

_INSTALL = """
CREATE TABLE public.horizon (id pg_catalog.int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid pg_catalog.xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(), payload pg_catalog.text NOT NULL);
CREATE INDEX ON public.horizon (xid, id);
ALTER TABLE public.horizon SET (autovacuum_enabled = false)"""
_READ = f"""SELECT xid::pg_catalog.text, id, payload FROM public.horizon
WHERE ROW(xid, id) OPERATOR(pg_catalog.>) ROW(%s::pg_catalog.xid8, %s::pg_catalog.int8)
    AND xid OPERATOR(pg_catalog.<) pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
ORDER BY horizon.xid, horizon.id LIMIT {MOST_ROWS}"""


class Stored(Store):
    """A table with the transaction of each row."""

    tables = ("public", "horizon")

    def install(self, address: Address) -> None:
        """Make it."""
        with _connected(address) as db:
            db.execute(_INSTALL)

    def fill(self, address: Address, count: int) -> None:
        """Insert all in one statement, and notify."""
        with _connected(address) as db:
            db.execute(
                "INSERT INTO public.horizon (payload) "
                "SELECT 'payload' OPERATOR(pg_catalog.||) pg_catalog.lpad(i::pg_catalog.text, 7, '0') "
                f"FROM pg_catalog.generate_series(1, {count}) AS i"
            )
            db.execute(f"NOTIFY {CHANNEL}")

    def sender(self, address: Address) -> Send:
        """Insert and notify in one statement."""
        db = _connected(address)
        sql = f"""WITH stored AS (INSERT INTO public.horizon (payload) VALUES (%s) RETURNING id)
            SELECT pg_catalog.pg_notify('{CHANNEL}', '') FROM stored"""
        return lambda payload: db.execute(sql, (payload,))

    def reader(self, address: Address) -> Read:
        """Read until nothing is there, and wait for a notification."""
        db = _connected(address)
        db.execute(f"LISTEN {CHANNEL}")

        def read(callback: Callback) -> None:
            xid, number = "0", 0
            while True:
                rows = db.execute(_READ, (xid, number), prepare=True).fetchall()
                for xid, number, payload in rows:  # noqa: B007  # the last ones are the position
                    if callback(payload):
                        return
                if not rows:
                    next(db.notifies(timeout=1, stop_after=1), None)

        return read


def _connected(address: Address) -> Any:
    import psycopg

    return psycopg.connect(address.dsn, autocommit=True)
