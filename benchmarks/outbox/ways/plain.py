"""NOTIFY alone, which stores nothing: the limit of the latency."""

from __future__ import annotations

from typing import Any

import pgnotify
from benchmarks.outbox.ways import CHANNEL, Callback, Read, Send, Store
from pgnotify.testing.address import Address


class Stored(Store):
    """Nothing is stored."""

    tables = ("", "")

    def install(self, address: Address) -> None:
        """Do nothing."""

    def fill(self, address: Address, count: int) -> None:
        """Refuse."""
        raise NotImplementedError("nothing is stored")

    def sender(self, address: Address) -> Send:
        """Send with `pgnotify.notify`."""
        import psycopg

        db = psycopg.connect(address.dsn, autocommit=True)
        return lambda payload: pgnotify.notify(db, CHANNEL, payload)

    def reader(self, address: Address) -> Read:
        """Read with a Listener."""
        listener = pgnotify.Listener(address.dsn, driver="psycopg")
        subscription = listener.subscribe(CHANNEL, print)
        listener.__enter__()

        def read(callback: Callback) -> None:
            def call(notification: Any) -> None:
                if callback(notification.payload):
                    listener.stop()

            subscription.callback = call
            listener.run()

        return read
