"""Everything that pgnotify asks of a backend."""

from __future__ import annotations

from typing import ClassVar

import pgnotify_libpq

from pgnotify.testing import Address, BackendConformance


class TestLibpq(BackendConformance):
    """Every promise of the protocol, on connections of `pgnotify_libpq.connect`."""

    cannot: ClassVar = {
        "sql_ascii": "the driver asks for UTF-8, so the server ends a session that it cannot send that to",
        "implicit_transactions": "the driver has no other mode than autocommit",
    }

    def connect(self, address: Address) -> pgnotify_libpq.Connection:
        """Return a new connection."""
        return pgnotify_libpq.connect(address.dsn)
