"""The facts that the doctor's findings judge: plain values, without I/O. `gathering` finds them out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import date
from typing import NamedTuple

from pgnotify.outbox.status import OutboxStatus
from pgnotify.protocol import Versions


class Unknown(NamedTuple):
    """In place of a fact that was not found out."""

    reason: str
    """Why, as a clause."""
    remedy: str = ""
    """How it can be found out, as a sentence; empty if nobody knows."""


NOT_LOOKED_AT = Unknown("it was not looked at")


class Connection(NamedTuple):
    """A connection that was opened."""

    place: str
    """Where it leads to: host:port/dbname."""
    seconds: float
    """How long the attempt took."""


class Failure(NamedTuple):
    """An attempt to connect that failed, or could not be made."""

    reason: str
    """The error's message in one line, without secrets."""
    sqlstate: str | None = None
    """The server's code for it, if the driver passes that on."""
    is_ours: bool = False
    """Whether nothing was sent: the connection string is wrong, or there is no driver."""


class Server(NamedTuple):
    """The server that answers."""

    release: str
    """As it names itself, such as "18.6 (Debian 18.6-1)"."""
    number: int
    """The same as a number: 180006."""
    product: str
    """All that it says of itself, such as "PostgreSQL 18.6 on x86_64-…"."""
    today: date
    """When it was asked."""


class Route(NamedTuple):
    """Which server process was reported to the driver, and which one answers."""

    connected_to: int | None
    """None if the driver does not say."""
    answered_by: int | None
    """None if the role may not ask."""
    arrives: bool | None
    """Whether a notification has arrived through it; None if none could be sent."""


class Role(NamedTuple):
    """Whether the server is the primary."""

    in_recovery: bool | None
    """None if the role may not ask."""


class Delivery(NamedTuple):
    """Notifications from a second session to an idle listener, one after the other."""

    latencies: tuple[float, ...]
    """Of each that arrived, the seconds from the call that sent it."""
    waited: float = 0.0
    """For how many seconds nothing arrived; 0 if all did."""
    refusal: str | None = None
    """Why the server refuses LISTEN, in its words; None if it does not."""
    obstacle: str | None = None
    """Why no notification could be sent; None if one was."""
    in_recovery: bool | None = None
    behind_pooler: bool = False
    left_behind: bool = False
    """Whether the LISTEN may have stayed in some session of a pooler's."""


class Queue(NamedTuple):
    """The server's notification queue."""

    usage: float
    """How full it is, from 0 to 1."""


class Session(NamedTuple):
    """Another session."""

    pid: int
    user: str
    application: str
    state: str = ""
    """Such as "idle in transaction"; empty if the role may not see it."""
    seconds: float | None = None
    """How long its transaction has been open; None if there is none."""
    xmin_age: int | None = None
    """How many transactions have begun since the oldest one whose rows vacuum keeps for it; None if there is none."""
    is_stuck: bool = False
    """Whether it waits for its client to read."""
    statement: str = ""
    """The beginning of its latest statement, if that is a LISTEN; empty otherwise."""


class Sessions(NamedTuple):
    """The other sessions, as far as the role may see them."""

    open: tuple[Session, ...]
    """Those that are inside a transaction, or wait for their client, the oldest first; at most `MOST_SHOWN`."""
    listening: tuple[Session, ...]
    """Those of this database whose latest statement shows that they listen; at most `MOST_SHOWN`."""
    count_listening: int
    """How many these are."""
    hidden: int
    """How many other sessions there are whose statements the role may not see."""


class Setting(NamedTuple):
    """A setting of the server, as it holds for this session."""

    value: str
    unit: str
    """Such as "ms"; empty if it has none."""
    source: str
    """Where it was set, such as "default", "configuration file", "database" or "user"."""

    @property
    def milliseconds(self) -> int:
        """A time."""
        return int(self.value) * {"ms": 1, "s": 1000, "min": 60_000}[self.unit]


Settings = dict[str, Setting]
"""By name. A server has only those of its version."""


class Encoding(NamedTuple):
    """In which encodings texts are stored and sent."""

    server: str
    client: str


class Encryption(NamedTuple):
    """How the server sees the connection."""

    version: str | None
    """Of TLS, such as "TLSv1.3"; None without TLS."""
    cipher: str | None
    client_address: str | None
    """Where the connection comes from; None for a Unix socket."""
    behind_pooler: bool = False
    """Whether that is a pooler's connection, and nobody knows ours."""


class SearchPath(NamedTuple):
    """The schemas along which this session looks names up."""

    schemas: tuple[str, ...]
    writable_by_all: tuple[str, ...]
    """Those of them in which every role may create objects."""


class Installation(NamedTuple):
    """The distributions that own files in ``pgnotify/``."""

    owners: tuple[str, ...]
    """Each with its version."""
    python: str = ""
    """The Python that runs, such as "CPython 3.13.1 on Linux"."""


class OutboxState(NamedTuple):
    """One outbox of the database."""

    name: str
    """With its schema."""
    status: OutboxStatus | Unknown


class Outboxes(NamedTuple):
    """The outboxes of the database."""

    states: tuple[OutboxState, ...]


MOST_SHOWN = 5
"""How many sessions are named."""


@dataclass
class Facts:
    """All that the doctor has found out."""

    installation: Installation | Unknown = NOT_LOOKED_AT
    connection: Connection | Failure | Unknown = NOT_LOOKED_AT
    versions: Versions | Unknown = NOT_LOOKED_AT
    server: Server | Unknown = NOT_LOOKED_AT
    role: Role | Unknown = NOT_LOOKED_AT
    route: Route | Unknown = NOT_LOOKED_AT
    delivery: Delivery | Unknown = NOT_LOOKED_AT
    queue: Queue | Unknown = NOT_LOOKED_AT
    sessions: Sessions | Unknown = NOT_LOOKED_AT
    settings: Settings | Unknown = field(default=NOT_LOOKED_AT)
    encoding: Encoding | Unknown = NOT_LOOKED_AT
    encryption: Encryption | Unknown = NOT_LOOKED_AT
    search_path: SearchPath | Unknown = NOT_LOOKED_AT
    outboxes: Outboxes | Unknown = NOT_LOOKED_AT

    @property
    def is_connected(self) -> bool:
        """Whether there was a connection."""
        return isinstance(self.connection, Connection)


NAMES = tuple(each.name for each in fields(Facts))
