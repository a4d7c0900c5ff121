"""The programs: what happens in which order, without any I/O.

A program is a generator. It yields an action, is sent the action's outcome, and so on; a runner
(`pgnotify.runner`) performs the actions on a backend. So one program serves blocking and asyncio
code alike, and is tested without a server, a thread or a clock.

The way between program and runner is taken per batch of notifications, not per notification:
`Deliver` speaks of a whole run of them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

from pgnotify.errors import ConnectionLost, HandlerClosed, PgNotifyError
from pgnotify.machine import Input, State, advance
from pgnotify.notification import Notification, Plain

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


class Listen(NamedTuple):
    """LISTEN to a channel."""

    channel: str


class Unlisten(NamedTuple):
    """UNLISTEN a channel."""

    channel: str


class Wait(NamedTuple):
    """Wait until something may have arrived; the outcome does not matter, the clock decides."""

    timeout: float | None
    """Seconds; None waits for ever."""


class Fetch(NamedTuple):
    """Fetch a batch; the outcome is a list of notifications, plain or not."""


class Notify(NamedTuple):
    """Send a notification."""

    channel: str
    payload: str


class Close(NamedTuple):
    """Close the connection."""


class Deliver(NamedTuple):
    """Deliver from the head of the watch's queue, and end early if the watch is interrupted."""

    at_most: int
    """How many notifications."""


class ReportTimeout(NamedTuple):
    """Tell the user that the time-out has passed."""


# The loop asks for these all the time, and does not make a new one of them each time.
FETCH = Fetch()
WAIT_FOR_EVER = Wait(None)
DELIVER_ONE = Deliver(1)


Call: TypeAlias = Listen | Unlisten | Wait | Fetch | Notify | Close
"""What a backend does; an error of it is raised inside the program."""
Action: TypeAlias = Call | Deliver | ReportTimeout
"""`Deliver` and `ReportTimeout` call the user; an error there ends the program and is the user's."""
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
        """What other threads have asked for, as programs; see `obey`."""
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


class LoopSettings(Protocol):
    """What the documented loop reads afresh at each step, since users may change it meanwhile."""

    @property
    def event(self) -> str:
        """The channel that is delivered."""

    @property
    def stop_event(self) -> str:
        """The channel whose notification is delivered and ends the loop."""

    @property
    def timeout(self) -> float | None:
        """Seconds without a notification; None waits for ever, 0 never waits."""


class Stray(Exception):
    """The loop was notified of a channel that is not its own; the front words the error."""

    def __init__(self, notification: Notification) -> None:
        super().__init__(notification)
        self.notification = notification


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


def obey(watch: Watch) -> Program[bool]:
    """Carry out what was asked for from elsewhere; return whether the loop is to end."""
    watch.interrupted = False
    while watch.commands:
        try:
            yield from watch.commands.popleft()
        except BaseException:
            watch.interrupt()  # what is left is still to be obeyed
            raise
    stop, watch.stop_requested = watch.stop_requested, False
    if stop:
        yield from unlisten(watch)
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


def documented_loop(watch: Watch, settings: LoopSettings, clock: Callable[[], float]) -> Program[None]:
    """Listen, deliver, wait, until a stop, the time-out, or a poll that finds no more.

    Args:
        watch: over the event and the stop event.
        settings: what the user may change while the loop runs.
        clock: seconds, monotonic; read once a wait, and only if there is a time-out.

    Raises:
        Stray: a notification of a third channel; the watch is unlistened, the rest is queued.
        ConnectionLost: after all that had arrived was delivered.
    """
    if watch.interrupted and (yield from obey(watch)):
        return
    if watch.state is State.CLOSED:
        return
    try:
        yield from listen(watch)
        yield from _loop_while_listening(watch, settings, clock)
    except ConnectionLost:
        watch.lost()
        yield from _deliver_the_rest(watch, settings)
        raise
    if watch.state is not State.LISTENING:
        watch.stop_requested = False  # it was this loop that was to end


def _loop_while_listening(watch: Watch, settings: LoopSettings, clock: Callable[[], float]) -> Program[None]:
    deadline: float | None = None  # counts from the last notification, whatever else comes in
    while watch.state is State.LISTENING:
        if watch.interrupted:
            yield from obey(watch)
        elif watch.queue:
            if delivery := _delivery(watch.queue, settings):
                yield delivery
            else:
                yield from _deliver_stop(watch, settings)
            deadline = None
        # Fetch before waiting: what the driver has read already makes no socket readable.
        elif batch := (yield FETCH):
            watch.queue.extend(batch)
        elif (timeout := settings.timeout) is None or timeout == math.inf:
            yield WAIT_FOR_EVER
        elif timeout == 0:
            return
        else:
            now = clock()
            deadline = now + timeout if deadline is None else deadline
            if now < deadline:
                yield Wait(deadline - now)
            else:
                yield from unlisten(watch)
                yield ReportTimeout()


def _deliver_the_rest(watch: Watch, settings: LoopSettings) -> Program[None]:
    """Deliver what had arrived before the connection was lost, up to a stop notification."""
    while watch.state is State.LOST:
        if not watch.queue:
            try:
                watch.queue.extend((yield FETCH))
            except ConnectionLost:
                return
            if not watch.queue:
                return
        if delivery := _delivery(watch.queue, settings):
            yield delivery
        else:
            yield from _deliver_stop(watch, settings)
            return


def _delivery(queue: deque[Plain], settings: LoopSettings) -> Deliver | None:
    """Return the delivery of what leads the queue, None if that is no event: a stop, or a stray."""
    event = settings.event
    if queue[0][0] != event or event == settings.stop_event:
        return None
    if len(queue) == 1:
        return DELIVER_ONE
    channels = [plain[0] for plain in queue]
    if channels.count(event) == len(channels):  # nearly always, and at half the time of a loop
        return Deliver(len(channels))
    return Deliver(next(index for index, channel in enumerate(channels) if channel != event))


def _deliver_stop(watch: Watch, settings: LoopSettings) -> Program[None]:
    """Unlisten, and only then deliver the stop notification that leads the queue, or raise the stray."""
    # If the server is gone, it was not worse than that.
    yield from unlisten(watch)
    if watch.queue[0][0] != settings.stop_event:
        raise Stray(Notification(*watch.queue.popleft()))
    yield DELIVER_ONE


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
