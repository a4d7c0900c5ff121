"""Where a server listens."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote


class Address(NamedTuple):
    """Where a server listens, and as whom to connect; it asks for no password."""

    host: str
    """A host name or an IP address."""
    port: int
    """The TCP port."""
    database: str = "postgres"
    """The database to connect to."""
    user: str = "postgres"
    """The role to connect as."""

    @property
    def dsn(self) -> str:
        """The address as a libpq URI."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{quote(self.user, safe='')}@{host}:{self.port}/{quote(self.database, safe='')}"
