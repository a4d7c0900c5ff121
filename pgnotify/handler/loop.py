"""The documented handler's loop: in which order it listens, delivers, waits and ends, without any I/O."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from pgnotify.errors import ConnectionLost
from pgnotify.notification import Notification, Plain
from pgnotify.program.actions import DELIVER_ONE, FETCH, WAIT_FOR_EVER, Deliver, Program, ReportTimeout, Wait
from pgnotify.program.commands import carry_out
from pgnotify.program.state import State
from pgnotify.program.verbs import listen, unlisten
from pgnotify.program.watch import Watch


class HandlerOptions(Protocol):
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


def handler_loop(watch: Watch, settings: HandlerOptions, clock: Callable[[], float]) -> Program[None]:
    """Listen, deliver, wait, until a stop, the time-out, or a poll that finds no more.

    Args:
        watch: over the event and the stop event.
        settings: what the user may change while the loop runs.
        clock: seconds, monotonic; read once a wait, and only if there is a time-out.

    Raises:
        Stray: a notification of a third channel; the watch is unlistened, the rest is queued.
        ConnectionLost: after all that had arrived was delivered.
    """
    if watch.interrupted and (yield from _obey(watch)):
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


def _obey(watch: Watch) -> Program[bool]:
    """Do what was asked for from elsewhere; return whether the loop is to end, unlistened."""
    stop = yield from carry_out(watch)
    if stop:
        yield from unlisten(watch)
    return stop


def _loop_while_listening(watch: Watch, settings: HandlerOptions, clock: Callable[[], float]) -> Program[None]:
    deadline: float | None = None  # counts from the last notification, whatever else comes in
    while watch.state is State.LISTENING:
        if watch.interrupted:
            yield from _obey(watch)
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


def _deliver_the_rest(watch: Watch, settings: HandlerOptions) -> Program[None]:
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


def _delivery(queue: deque[Plain], settings: HandlerOptions) -> Deliver | None:
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


def _deliver_stop(watch: Watch, settings: HandlerOptions) -> Program[None]:
    """Unlisten, and only then deliver the stop notification that leads the queue, or raise the stray."""
    # If the server is gone, it was not worse than that.
    yield from unlisten(watch)
    if watch.queue[0][0] != settings.stop_event:
        raise Stray(Notification(*watch.queue.popleft()))
    yield DELIVER_ONE
