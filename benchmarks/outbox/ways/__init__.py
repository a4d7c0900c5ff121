"""The ways to store messages that are compared: each is installed, filled, sends and reads in its own manner.

All of them call back with the text of each message. A callback that returns True ends the reader.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

from pgnotify.testing.address import Address

CHANNEL = "bench"

Callback = Callable[[str], bool]
Read = Callable[[Callback], None]
Send = Callable[[str], object]


class Store(Protocol):
    """One way to store messages."""

    tables: tuple[str, str]
    """The schema of its tables, and what their names begin with."""

    def install(self, address: Address) -> None:
        """Make its tables, in a database that has none."""

    def fill(self, address: Address, count: int) -> None:
        """Store this many messages at once."""

    def sender(self, address: Address) -> Send:
        """Return a function that sends one message, and commits it."""

    def reader(self, address: Address) -> Read:
        """Connect, and return a function that reads what is sent from now on."""

    def helped(self, address: Address) -> AbstractContextManager[object]:
        """Do what has to be done all the while, such as ticking."""
        return nullcontext()


class Way(NamedTuple):
    """A way to store messages and to read them."""

    name: str
    group: str
    """One of `benchmarks.results.GROUPS`: peers are others' own ways, and the limit is NOTIFY alone."""
    driver: str
    modules: tuple[str, ...]
    """Modules that must be importable."""
    module: str
    """The module here."""
    options: tuple[str, ...] = ()
    """The arguments of its class `Stored`."""
    most: int = 1_000_000
    """How many messages it drains in a time that one can wait for."""

    @property
    def kind(self) -> str:
        """The kind of connection that the name ends with."""
        return self.name.rpartition(", ")[2]

    @property
    def absent(self) -> str | None:
        """Why it cannot be measured here, or None."""
        missing = [module for module in self.modules if importlib.util.find_spec(module.partition(".")[0]) is None]
        if missing:
            return f"{', '.join(missing)} not installed"
        module = importlib.import_module(f"benchmarks.outbox.ways.{self.module}")
        reason: str | None = getattr(module, "absent", lambda: None)()
        return reason

    def store(self) -> Store:
        """Return how it does it."""
        module = importlib.import_module(f"benchmarks.outbox.ways.{self.module}")
        made: Store = module.Stored(*self.options)
        return made


PLAIN = "plain NOTIFY, psycopg"
UNNAMED = "outbox, psycopg"
DURABLE = "outbox, durable, psycopg"
HORIZON = "xid horizon by hand, psycopg"
PGQUE = "PgQue, psycopg"
PGQUEUER = "pgqueuer, asyncpg"
PROCRASTINATE = "procrastinate, psycopg"

_OTHERS = (("psycopg2", "psycopg2"), ("pygresql", "pg"), ("pg8000", "pg8000.native"))

WAYS = (
    Way(PLAIN, "limit", "psycopg", ("psycopg",), "plain"),
    Way(UNNAMED, "ours", "psycopg", ("psycopg",), "ours", ("psycopg",)),
    Way(DURABLE, "ours", "psycopg", ("psycopg",), "ours", ("psycopg", "bench")),
    *(
        Way(f"outbox, {kind}", "ours", driver, ({"pg": "pgdb"}.get(kind, kind), "psycopg"), "ours", (kind,))
        for driver, kind in _OTHERS
    ),
    Way(HORIZON, "by hand", "psycopg", ("psycopg",), "horizon"),
    Way(PGQUE, "own way", "psycopg", ("pgque", "psycopg"), "pgque"),
    Way(PGQUEUER, "own way", "asyncpg", ("pgqueuer", "asyncpg"), "pgqueuer", most=20_000),
    Way(PROCRASTINATE, "own way", "psycopg", ("procrastinate", "psycopg"), "procrastinate", most=2_000),
)
