"""Count orders, each exactly once, whatever is killed and when: a durable consumer of an outbox.

python examples/outbox_consumer.py "postgresql://localhost/postgres"

    -- In the transaction that stores an order, in any language:
    INSERT INTO public.pgnotify_outbox (channel, payload) VALUES ('orders', '42');

Start it twice, and the second process takes over when the first one ends.
"""

from __future__ import annotations

import signal
import sys

import psycopg

import pgnotify


def main(dsn: str) -> None:
    """Count until SIGTERM."""
    outbox = pgnotify.Outbox()
    with psycopg.connect(dsn, autocommit=True) as connection:
        outbox.install(connection)  # does nothing if it is there
        connection.execute("CREATE TABLE IF NOT EXISTS public.totals (orders pg_catalog.int8)")
        connection.execute("INSERT INTO public.totals SELECT 0 WHERE NOT EXISTS (SELECT FROM public.totals)")
        with pgnotify.Listener(dsn, "orders", outbox=outbox, durable="totals", start="all") as listener:
            signal.signal(signal.SIGTERM, lambda number, frame: listener.stop())
            print("reading", flush=True)
            for batch in listener.batches(500):
                # The effect and the acknowledgement are committed together, or neither is.
                with connection.transaction():
                    connection.execute(
                        "UPDATE public.totals SET orders = orders OPERATOR(pg_catalog.+) %s", [len(batch)]
                    )
                    batch.acknowledge(connection)
                print(f"counted {[message.payload for message in batch]}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
