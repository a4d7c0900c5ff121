"""The programs: what happens in which order, without any I/O.

A program is a generator. It yields an action, is sent the action's outcome, and so on; a runner
(`pgnotify.program.runner`) performs the actions on a backend. So one program serves blocking and asyncio
code alike, and is tested without a server, a thread or a clock.

The way between program and runner is taken per batch of notifications, not per notification:
`Deliver` speaks of a whole run of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from pgnotify.errors import ConnectionLost, HandlerClosed, PgNotifyError
from pgnotify.notification import Plain
from pgnotify.program.state import Input, State, advance

if TYPE_CHECKING:
    from concurrent.futures import Future

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
    """Have a new connection, or go on with the attempt under way; the outcome is False if woken, or too late."""

    timeout: float | None
    """Seconds; None waits for ever. The attempt goes on behind it."""


class Disconnect(NamedTuple):
    """Let go of the connection, and of an attempt to have one; whatever comes of it is no error."""


class Deliver(NamedTuple):
    """Deliver from the head of the watch's queue, and end early if the watch is interrupted."""

    at_most: int
    """How many notifications."""


class ReportTimeout(NamedTuple):
    """Tell the user that the time-out has passed."""


class Tell(NamedTuple):
    """Tell the front what has happened, or have the user told; the outcome is the front's."""

    what: tuple[Any, ...]
    """A named tuple; its class says what."""


# The loop asks for these all the time, and does not make a new one of them each time.
FETCH = Fetch()
WAIT_FOR_EVER = Wait(None)
DELIVER_ONE = Deliver(1)
ASK_HEALTH = AskHealth()
DISCONNECT = Disconnect()


Call: TypeAlias = Listen | ListenMany | Unlisten | Wait | Fetch | Notify | AskHealth | Close | Connect | Disconnect
"""What a backend does, or who has it connected; an error of it is raised inside the program."""
Action: TypeAlias = Call | Deliver | ReportTimeout | Tell
"""`Deliver`, `ReportTimeout` and `Tell` call the user; an error there ends the program and is the user's."""
Program: TypeAlias = Generator[Action, Any, T]
"""Yields actions, is sent their outcomes, returns a result."""


class Watch:
    """What is remembered between the steps of a program: one watch over some channels.

    The queue holds what was fetched and not delivered yet; a callback that raises loses nothing.
    """

    __slots__ = ("channels", "commands", "in_force", "interrupted", "queue", "state", "stop_requested")

    def __init__(self, *channels: str) -> None:
        self.channels: tuple[str, ...] = tuple(dict.fromkeys(channels))
        self.state: State = State.IDLE
        self.in_force: list[str] = []
        """The channels whose LISTEN is in force, or may be: a Ctrl-C leaves that open."""
        self.queue: deque[Plain] = deque()
        self.commands: deque[Program[object]] = deque()
        """What other threads have asked for, as programs; see `carry_out`."""
        self.stop_requested: bool = False
        self.interrupted: bool = False
        """Set last by whoever changes anything else here; a delivery that sees it ends early."""

    def happened(self, fact: Input) -> None:
        """Take the state that follows."""
        self.state = advance(self.state, fact)

    def closed(self) -> None:
        """Take note that the connection is closed, or is not ours any more."""
        self.in_force.clear()
        self.happened(Input.CLOSED)

    def lost(self) -> None:
        """Take note that the connection is lost; whoever finds out may do so."""
        self.in_force.clear()
        if self.state is not State.CLOSED:
            self.happened(Input.CONNECTION_LOST)

    def interrupt(self) -> None:
        """Have the running delivery end after the current notification."""
        self.interrupted = True

    def request_stop(self) -> None:
        """Ask the loop to end; safe in a signal handler."""
        self.stop_requested = True
        self.interrupt()

    def request(self, command: Program[object]) -> None:
        """Ask the loop to run a program in its own thread; safe in a signal handler."""
        self.commands.append(command)
        self.interrupt()


def listen(watch: Watch) -> Program[None]:
    """Bring the LISTENs of all channels into force, or of none."""
    _refuse_closed(watch)
    if watch.state is State.LISTENING:
        return
    try:
        with _noticing_loss(watch):
            for channel in watch.channels:
                yield from _listen_to(watch, channel)
    except (Exception, KeyboardInterrupt):
        yield from unlisten(watch)
        raise
    watch.happened(Input.LISTENED)


def unlisten(watch: Watch) -> Program[None]:
    """Bring the UNLISTENs of all channels into force whose LISTENs are."""
    with _noticing_loss(watch):
        while watch.in_force:
            yield from _unlisten(watch, watch.in_force[0])


def notify(watch: Watch, channel: str, payload: str) -> Program[None]:
    """Send a notification on the connection that is watched."""
    _refuse_closed(watch)
    with _noticing_loss(watch):
        yield Notify(channel, payload)


def close(watch: Watch) -> Program[None]:
    """Unlisten if that is possible, and close the connection; the server forgets the rest."""
    if watch.state is State.CLOSED:
        return
    try:
        yield from unlisten(watch)
    except PgNotifyError:
        # Lost already, or inside a transaction: closing ends the LISTENs all the same.
        pass
    finally:
        watch.closed()
        yield Close()


def carry_out(watch: Watch) -> Program[bool]:
    """Run what was asked for from elsewhere; return whether the loop is to end."""
    watch.interrupted = False
    while watch.commands:
        try:
            yield from watch.commands.popleft()
        except BaseException:
            watch.interrupt()  # what is left is still to be carried out
            raise
    stop, watch.stop_requested = watch.stop_requested, False
    return stop


def answering(program: Program[T], future: Future[T]) -> Program[None]:
    """Run a program on behalf of another thread, which waits for the future.

    What ends the loop too, such as a lost connection, is raised in both places.
    """
    try:
        result = yield from program
    except BaseException as error:
        future.set_exception(error)
        if isinstance(error, ConnectionLost) or not isinstance(error, Exception):
            raise
    else:
        future.set_result(result)


def _listen_to(watch: Watch, channel: str) -> Program[None]:
    before = list(watch.in_force)
    if channel not in before:
        watch.in_force.append(channel)
    try:
        yield Listen(channel)
    except Exception:  # and not after a Ctrl-C, which may have come when all was done
        watch.in_force[:] = before
        raise


def _unlisten(watch: Watch, channel: str) -> Program[None]:
    try:
        yield Unlisten(channel)
    except KeyboardInterrupt:  # it may be in force, so that we may be deaf
        _no_longer_listening(watch)
        raise
    watch.in_force.remove(channel)
    _no_longer_listening(watch)


def _no_longer_listening(watch: Watch) -> None:
    if watch.state is State.LISTENING:
        watch.happened(Input.UNLISTENED)


def _refuse_closed(watch: Watch) -> None:
    if watch.state is State.CLOSED:
        raise HandlerClosed("the handler was closed meanwhile")


@contextmanager
def _noticing_loss(watch: Watch) -> Iterator[None]:
    try:
        yield
    except ConnectionLost:
        watch.lost()
        raise
