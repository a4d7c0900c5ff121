"""The built-in backends, on each kind of connection, in the class that every backend must pass."""

from __future__ import annotations

import pytest

from pgnotify.testing import BackendConformance
from tests.kinds import Kind

_DECODED_BEFORE_US = "the driver decodes payloads before anything else can, with errors=replace"
_UTF_8_ONLY = "the driver decodes payloads as UTF-8 only, and raises for others"
_NO_SQL_ASCII = "the wrapper cannot use such a database"


def cannot_of(kind: Kind) -> dict[str, str]:
    """Return the features that a kind's driver lacks; the tests of each driver show what it does instead."""
    if "psycopg2" in kind.name:
        lacks = {"surrogateescape": _DECODED_BEFORE_US}
    elif kind.driver == "pygresql":
        lacks = {"surrogateescape": _UTF_8_ONLY, "encodings": _UTF_8_ONLY}
    else:
        lacks = {}
    if kind.name in ("pg", "pg.DB", "pg8000.native"):
        lacks["implicit_transactions"] = "the driver has only the autocommit mode"
    return lacks | ({"sql_ascii": _NO_SQL_ASCII} if kind.driver == "wrappers" else {})


class TestConformance(BackendConformance):
    """Each kind of connection."""

    @pytest.fixture(autouse=True)
    def _of_kind(self, kind, address):
        self.kind = kind
        self.address = address
        self.cannot = cannot_of(kind)
        self.implicit_transactions = kind.implicit_transactions

    def connect(self, address):
        return self.kind.connect(address)

    def leave_autocommit(self, connection):
        if self.kind.name == "django":
            connection.set_autocommit(False)
        else:
            connection.autocommit = False
