"""What a user does with a connection besides listening, in the words of its driver.

So a test can be in the midst of a transaction of the user's, or run a query of theirs, on any kind.
"""

from __future__ import annotations

import importlib
from typing import Any

from pgnotify.testing.conformance._statements import run_statement
from tests.helpers.native import errors_of_asyncpg
from tests.kinds import Kind


class User:
    """The user of one connection."""

    def __init__(self, kind: Kind, db: Any) -> None:
        self.kind = kind
        self.db = db

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as the driver does by default, which may open a transaction; return its rows."""
        return run_statement(self.db, statement)

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement and commit; the connection is idle afterwards."""
        rows = self.sql(statement)
        if self.kind.implicit_transactions:
            self.db.commit()
        return rows

    def begin(self) -> None:
        """Open a transaction, in the way that is usual for the kind."""
        self.sql("SELECT 1" if self.kind.implicit_transactions else "BEGIN")

    def commit(self) -> None:
        """End the transaction and keep what it did."""
        if self.kind.implicit_transactions:
            self.db.commit()
        else:
            self.sql("COMMIT")

    def rollback(self) -> None:
        """End the transaction and take back what it did."""
        if self.kind.implicit_transactions:
            self.db.rollback()
        else:
            self.sql("ROLLBACK")

    def fail(self) -> None:
        """Have a statement fail inside a transaction."""
        self.begin()
        try:
            self.sql("SELECT 1/0")
        except Exception as error:  # each driver has its own
            if "division by zero" not in str(error):
                raise

    @property
    def pid(self) -> int:
        """The process on the server."""
        return int(self.run("SELECT pg_backend_pid()")[0][0])

    @property
    def listened_to(self) -> set[str]:
        """The channels that the connection listens to, as the server says."""
        return {name for (name,) in self.run("SELECT pg_listening_channels()")}

    @property
    def driver(self) -> Any:
        """The module of the driver below, which has the exceptions of the DB-API."""
        if self.kind.name == "asyncpg":
            return errors_of_asyncpg()
        return importlib.import_module(self.kind.modules[-1])
