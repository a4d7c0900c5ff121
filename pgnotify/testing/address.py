"""Where a server listens."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote


class Address(NamedTuple):
    """Where a server listens, and as whom to connect; its repr() does not show the password."""

    host: str
    """A host name or an IP address."""
    port: int
    """The TCP port."""
    database: str = "postgres"
    """The database to connect to."""
    user: str = "postgres"
    """The role to connect as."""
    password: str | None = None
    """The password of the role; None if the server asks for none."""

    @property
    def dsn(self) -> str:
        """The address as a libpq URI, with the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = quote(self.user, safe="")
        if self.password is not None:
            user += f":{quote(self.password, safe='')}"
        return f"postgresql://{user}@{host}:{self.port}/{quote(self.database, safe='')}"

    def __repr__(self) -> str:
        """Return the fields, with "***" for a password."""
        shown = {**self._asdict(), "password": None if self.password is None else "***"}
        return f"Address({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
