"""The actions that a program may yield.

A program is a generator. It yields an action, is sent the action's outcome, and yields the next one.
The runner (`pgnotify.program.runner`) performs the actions on a backend. So one program serves both
blocking and asyncio code, and it is tested without a server, a thread or a clock.

Program and runner take turns once per batch of notifications, not once per notification: one
`Deliver` covers many of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from pgnotify.notification import Plain
from pgnotify.protocol import Backend

T = TypeVar("T")


class Listen(NamedTuple):
    """LISTEN to a channel."""

    channel: str


class ListenMany(NamedTuple):
    """LISTEN to several channels in one round trip: to all if the backend can, otherwise to the first one.

    The outcome is a tuple of the others.
    """

    channels: tuple[str, ...]


class Unlisten(NamedTuple):
    """UNLISTEN a channel."""

    channel: str


class UnlistenMany(NamedTuple):
    """UNLISTEN several channels in one round trip; the outcome is that of `ListenMany`."""

    channels: tuple[str, ...]


class Wait(NamedTuple):
    """Wait until something may have arrived; without a connection, until woken.

    There is no outcome: the program reads the clock to see whether the time has passed.
    """

    timeout: float | None
    """Seconds; None waits for ever."""


class Fetch(NamedTuple):
    """Fetch a batch into a queue.

    There is no outcome: if the queue has not grown, everything that had arrived is fetched.
    """

    queue: deque[Plain]
    """Notifications are appended; each is a `Notification` or a plain tuple."""


class Notify(NamedTuple):
    """Send a notification. The outcome is whether it waits for the commit of the user's transaction."""

    channel: str
    payload: str


class AskHealth(NamedTuple):
    """Ask the server for its state.

    The outcome is a `Health`; None if the backend cannot ask, but then the server has at least answered.
    """


class NameSession(NamedTuple):
    """Give the session a name on the server, unless it has one. There is no outcome."""

    name: str


class Query(NamedTuple):
    """Run a statement; see `pgnotify.protocol.Queries`. The outcome is its rows."""

    sql: str
    parameters: tuple[str | None, ...] = ()
    prepare: bool = False


class Close(NamedTuple):
    """Close the connection."""


class Connect(NamedTuple):
    """Open a new connection, or continue the attempt that is under way.

    The outcome is an `Opened`, or None if the runner was woken or the timeout passed first.
    """

    timeout: float | None
    """Seconds; None waits for ever. The attempt continues after a timeout."""
    seeks_primary: bool = False
    """Whether an earlier connection led to a standby."""


class Opened(NamedTuple):
    """The outcome of `Connect`: a connection on which nothing was sent yet."""

    backend: Backend | None
    """Passed on in events. Programs never call it."""
    server_pid: int | None
    """The server process that was reported to the driver; None if that is not known."""


class Disconnect(NamedTuple):
    """Release the connection, and an attempt to open one; neither fails."""


class Deliver(NamedTuple):
    """Deliver notifications from the head of the watch's queue; end early if the watch is interrupted.

    The outcome is true if a thread may now have the notification that it waits for.
    """

    at_most: int
    """The largest number of notifications to deliver."""


class ReportTimeout(NamedTuple):
    """Tell the user that the time-out has passed."""


class Tell(NamedTuple):
    """Report an event to the front. The front decides the outcome."""

    event: tuple[Any, ...]
    """A named tuple. Its class is the kind of event."""


# The loops yield these all the time. Making a new one each time would cost more than the rest of the step.
WAIT_FOR_EVER = Wait(None)
DELIVER_ONE = Deliver(1)
ASK_HEALTH = AskHealth()
DISCONNECT = Disconnect()


Call: TypeAlias = (
    Listen
    | ListenMany
    | Unlisten
    | UnlistenMany
    | Wait
    | Fetch
    | Notify
    | AskHealth
    | NameSession
    | Query
    | Close
    | Connect
    | Disconnect
)
"""Performed on a backend, or on the source of connections. An error there is raised inside the program."""
Action: TypeAlias = Call | Deliver | ReportTimeout | Tell
"""`Deliver`, `ReportTimeout` and `Tell` call the user's code. An error there ends the program, and is the user's."""
Program: TypeAlias = Generator[Action, Any, T]
"""A generator that yields actions, is sent their outcomes, and returns a result."""
