"""The names of an outbox's tables and functions, quoted and with their schema."""

from __future__ import annotations

from dataclasses import dataclass

from pgnotify.limits import check_channel

# PostgreSQL cuts names at 63 bytes, and the longest name of ours has this many more than the outbox's.
LONGEST_NAME_BYTES = 63 - len("_subscription_copied")
DEFAULT_SCHEMA = "public"


@dataclass(frozen=True)
class Tables:
    """The names of one outbox's objects.

    Args:
        name: the name of the table of messages, as written.
        schema: the schema's name, as written.

    Raises:
        ValueError, TypeError: a name is not possible.
    """

    name: str
    schema: str

    def __post_init__(self) -> None:
        name = check_channel(self.name, "name")  # the same limits as for every name
        size = len(name.encode())
        if size > LONGEST_NAME_BYTES:
            raise ValueError(f"name {name!r} has {size} bytes, an outbox's has at most {LONGEST_NAME_BYTES}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "schema", check_channel(self.schema, "schema"))

    @property
    def messages(self) -> str:
        """The table of messages."""
        return self.qualified("")

    @property
    def subscriptions(self) -> str:
        """The table of durable subscriptions and their positions."""
        return self.qualified("_subscription")

    @property
    def home(self) -> str:
        """The table of the two rows that tell a copy from the original."""
        return self.qualified("_home")

    @property
    def pruned(self) -> str:
        """The table of what retention has removed."""
        return self.qualified("_pruned")

    def qualified(self, suffix: str) -> str:
        """Return the name of an object of the outbox, as SQL has it."""
        return f"{quoted(self.schema)}.{quoted(self.name + suffix)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL literal, whatever standard_conforming_strings is."""
    escaped = text.replace("'", "''")
    return f" E'{escaped.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{escaped}'"
