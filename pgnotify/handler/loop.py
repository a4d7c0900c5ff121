"""The documented handler's loop: the order in which it listens, delivers, waits and ends, without any I/O."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from pgnotify.errors import ConnectionLost
from pgnotify.notification import Notification, Plain
from pgnotify.program.actions import DELIVER_ONE, WAIT_FOR_EVER, Deliver, Program, ReportTimeout, Wait
from pgnotify.program.commands import carry_out
from pgnotify.program.state import State
from pgnotify.program.verbs import listen, unlisten
from pgnotify.program.watch import Watch


class HandlerOptions(Protocol):
    """The options that the loop reads again at each step, because users may change them at any time."""

    @property
    def event(self) -> str:
        """The channel whose notifications are delivered."""

    @property
    def stop_event(self) -> str:
        """The channel whose notification is delivered, and ends the loop."""

    @property
    def timeout(self) -> float | None:
        """Seconds without a notification after which the loop ends; None waits for ever, 0 never waits."""


class Stray(Exception):
    """A notification of a channel that is not the loop's own. The front turns it into the user's error."""

    def __init__(self, notification: Notification) -> None:
        super().__init__(notification)
        self.notification = notification


def handler_loop(watch: Watch, settings: HandlerOptions, clock: Callable[[], float]) -> Program[None]:
    """Listen, deliver and wait, until a stop, the time-out, or a poll that finds nothing more.

    Args:
        watch: over the event and the stop event.
        settings: the options, which the user may change while the loop runs.
        clock: returns seconds of a monotonic clock; read once for each wait, and only if there is a time-out.

    Raises:
        Stray: a notification came from a third channel; the watch is unlistened, and later notifications are queued.
        ConnectionLost: the connection is lost; every notification that had arrived was delivered.
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
        watch.stop_requested = False  # the request was for this loop


def _obey(watch: Watch) -> Program[bool]:
    """Carry out the requests of other threads; return whether the loop is to end. If so, it is unlistened."""
    stop = yield from carry_out(watch)
    if stop:
        yield from unlisten(watch)
        watch.stop_requested = False
    return stop


def _loop_while_listening(watch: Watch, settings: HandlerOptions, clock: Callable[[], float]) -> Program[None]:
    deadline: float | None = None  # counts from the last notification; nothing else moves it
    while watch.state is State.LISTENING:
        if watch.interrupted:
            yield from _obey(watch)
        elif watch.queue:
            if delivery := _delivery(watch.queue, settings):
                yield delivery
            else:
                yield from _deliver_stop(watch, settings)
            deadline = None
        else:
            yield watch.fetch  # before waiting: data that the driver has already read makes no socket readable
            if watch.queue:
                continue
            if (timeout := settings.timeout) is None or timeout == math.inf:
                yield WAIT_FOR_EVER
                continue
            if timeout == 0:
                return
            now = clock()
            deadline = now + timeout if deadline is None else deadline
            if now < deadline:
                yield Wait(deadline - now)
            else:
                yield from unlisten(watch)
                yield ReportTimeout()


def _deliver_the_rest(watch: Watch, settings: HandlerOptions) -> Program[None]:
    """Deliver the notifications that had arrived before the loss of the connection, up to a stop notification."""
    while watch.state is State.LOST:
        if not watch.queue:
            try:
                yield watch.fetch
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
    """Return the delivery of the events at the head of the queue; None if its first item is a stop or a stray."""
    event = settings.event
    if queue[0][0] != event or event == settings.stop_event:
        return None
    if len(queue) == 1:
        return DELIVER_ONE
    channels = [plain[0] for plain in queue]
    if channels.count(event) == len(channels):  # nearly always, and this takes half the time of a loop
        return Deliver(len(channels))
    return Deliver(next(index for index, channel in enumerate(channels) if channel != event))


def _deliver_stop(watch: Watch, settings: HandlerOptions) -> Program[None]:
    """Unlisten, and only then deliver the stop notification at the head of the queue, or raise the stray."""
    # After a loss there is nothing left to unlisten.
    yield from unlisten(watch)
    if watch.queue[0][0] != settings.stop_event:
        raise Stray(Notification(*watch.queue.popleft()))
    yield DELIVER_ONE
