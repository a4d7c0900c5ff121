"""Everything that pgnotify asks of a backend."""

from __future__ import annotations

from typing import ClassVar

import pgnotify_asyncpg

from pgnotify.testing import Address, BackendConformance


class TestAsyncpg(BackendConformance):
    """Every promise of the protocol, on connections of `pgnotify_asyncpg.connect`."""

    cannot: ClassVar = {
        "undecodable": "asyncpg drops what is not UTF-8, and its next statement ends the connection or hangs",
        "sql_ascii": "asyncpg asks for UTF-8, so the server ends a session that it cannot send that to",
        "implicit_transactions": "asyncpg has no other mode than autocommit",
    }

    def connect(self, address: Address) -> pgnotify_asyncpg.BlockingConnection:
        """Return a new connection."""
        return pgnotify_asyncpg.connect(address.dsn)
