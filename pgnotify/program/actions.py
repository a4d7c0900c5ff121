"""What a program may ask for.

A program is a generator. It yields an action, is sent the action's outcome, and so on; the runner
(`pgnotify.program.runner`) performs the actions on a backend. So one program serves blocking and
asyncio code alike, and is tested without a server, a thread or a clock.

Program and runner alternate per batch of notifications, not per notification: `Deliver` speaks of a
whole run of them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from pgnotify.protocol import Backend

T = TypeVar("T")


class Listen(NamedTuple):
    """LISTEN to a channel."""

    channel: str


class ListenMany(NamedTuple):
    """LISTEN to several channels, in one round trip if the backend can."""

    channels: tuple[str, ...]


class Unlisten(NamedTuple):
    """UNLISTEN a channel."""

    channel: str


class UnlistenMany(NamedTuple):
    """UNLISTEN several channels, in one round trip if the backend can."""

    channels: tuple[str, ...]


class Wait(NamedTuple):
    """Wait until something may have arrived, or, without a connection, until woken; the clock decides what follows."""

    timeout: float | None
    """Seconds; None waits for ever."""


class Fetch(NamedTuple):
    """Fetch a batch; the outcome is a list of notifications, plain or not."""


class Notify(NamedTuple):
    """Send a notification."""

    channel: str
    payload: str


class AskHealth(NamedTuple):
    """Ask the server how it stands; the outcome is a `Health`, None if it has merely answered."""


class Close(NamedTuple):
    """Close the connection."""


class Connect(NamedTuple):
    """Open a new connection, or go on with the attempt under way; the outcome is an `Opened`, None if woken or late."""

    timeout: float | None
    """Seconds; None waits for ever. The attempt goes on after that."""


class Opened(NamedTuple):
    """The outcome of `Connect`: a connection that nothing was sent on yet."""

    backend: Backend | None
    """For those that are told of the connection; programs call nothing of it."""
    server_pid: int | None
    """The server process that the driver was told it is connected to; None if the backend does not say."""


class Disconnect(NamedTuple):
    """Release the connection, and an attempt to open one; neither fails."""


class Deliver(NamedTuple):
    """Deliver from the head of the watch's queue, and end early if the watch is interrupted.

    The outcome is true if another part of the program may now have what it waits for.
    """

    at_most: int
    """How many notifications."""


class ReportTimeout(NamedTuple):
    """Tell the user that the time-out has passed."""


class Tell(NamedTuple):
    """Report an event to the front; the outcome is the front's."""

    event: tuple[Any, ...]
    """A named tuple; its class says what has happened."""


# The loops ask for these all the time; making a new one each time would cost more than the rest of the step.
FETCH = Fetch()
WAIT_FOR_EVER = Wait(None)
DELIVER_ONE = Deliver(1)
ASK_HEALTH = AskHealth()
DISCONNECT = Disconnect()


Call: TypeAlias = (
    Listen | ListenMany | Unlisten | UnlistenMany | Wait | Fetch | Notify | AskHealth | Close | Connect | Disconnect
)
"""Performed on a backend, or on the source of connections; an error there is raised inside the program."""
Action: TypeAlias = Call | Deliver | ReportTimeout | Tell
"""`Deliver`, `ReportTimeout` and `Tell` call the user; an error there ends the program and is the user's."""
Program: TypeAlias = Generator[Action, Any, T]
"""Yields actions, is sent their outcomes, returns a result."""
