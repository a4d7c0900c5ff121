"""PgQue, with its own consumer. Its tables are made by a file of its repository, which its Python package lacks."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.outbox.ways import Callback, Read, Send, Store
from pgnotify.testing.address import Address

FILE_VARIABLE = "PGNOTIFY_BENCH_PGQUE_SQL"
"""The environment's variable that says where sql/pgque.sql of its repository is."""
TICK_SECONDS = 0.1  # as its scheduler does
NAME = "reader"


def absent() -> str | None:
    """Return why it cannot be installed, or None."""
    return None if Path(os.environ.get(FILE_VARIABLE, "")).is_file() else f"{FILE_VARIABLE} does not name its pgque.sql"


class Stored(Store):
    """A queue of PgQue's."""

    tables = ("pgque", "")

    def __init__(self) -> None:
        self._queue = "bench"

    def install(self, address: Address) -> None:
        """Run its file, and make a queue with one consumer."""
        with _connected(address) as db:
            with db.transaction():
                db.execute(Path(os.environ[FILE_VARIABLE]).read_text())
            db.execute("SELECT pgque.create_queue(%s)", (self._queue,))
            # Otherwise fewer than 500 events wait for three seconds.
            db.execute("SELECT pgque.set_queue_config(%s, 'ticker_max_lag', '1 millisecond')", (self._queue,))
            db.execute("SELECT pgque.subscribe(%s, %s)", (self._queue, NAME))

    def fill(self, address: Address, count: int) -> None:
        """Send them in batches, and tick."""
        from pgque import PgqueClient

        with _connected(address) as db:
            client = PgqueClient(db)
            with db.transaction():
                for first in range(0, count, 10_000):
                    payloads = [f'"payload{number:07}"' for number in range(first, min(count, first + 10_000))]
                    client.send_batch(self._queue, "default", payloads)
            db.execute("SELECT pgque.force_next_tick(%s)", (self._queue,))
            db.execute("SELECT pgque.ticker()")

    def sender(self, address: Address) -> Send:
        """Send with its client."""
        from pgque import PgqueClient

        client = PgqueClient(_connected(address))
        return lambda payload: client.send(self._queue, json.dumps(payload))

    def reader(self, address: Address) -> Read:
        """Run its consumer."""
        from pgque import Consumer

        def read(callback: Callback) -> None:
            consumer = Consumer(address.dsn, queue=self._queue, name=NAME)

            @consumer.on("*")
            def handle(message: Any) -> None:
                payload = message.payload
                if callback(json.loads(payload) if isinstance(payload, str) and payload[:1] == '"' else payload):
                    consumer.stop()

            consumer.start()

        return read

    @contextmanager
    def helped(self, address: Address) -> Iterator[None]:
        """Tick ten times a second."""
        done = threading.Event()

        def tick() -> None:
            with _connected(address) as db:
                while not done.wait(TICK_SECONDS):
                    db.execute("SELECT pgque.ticker()")

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _connected(address: Address) -> Any:
    import psycopg

    return psycopg.connect(address.dsn, autocommit=True)
