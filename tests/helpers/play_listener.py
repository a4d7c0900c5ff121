"""Plays the runner's and the front's part for the listener's loop: no server, no thread, no clock.

    lasting = Lasting("jobs")

    got = play(lasting, *CONNECTING, ("fetch", [note("1")]), ("fetch", LEFT))

The steps are those of `tests.helpers.play`; `Deliver` and `Tell` are played without one. `play` returns what the user
got, in order: notifications, and the `ListenInForce` that on_listening would be called with. `Lasting.actions` has
everything that the loop asked for, `Lasting.news` every event.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from pgnotify.listener.events import ListenInForce
from pgnotify.listener.gap import Moment, utc
from pgnotify.listener.loop import listener_loop
from pgnotify.listener.policy import Policy
from pgnotify.listener.wanted import Wanted
from pgnotify.listener.watch import ListenerWatch
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.protocol import Health
from tests.helpers.play import LEFT, Clock, Step, play_script

EPOCH = 1_700_000_000.0
"""What the wall clock shows when the monotonic one shows 0."""


class Permanent(Exception):
    """An error that trying again does not mend."""


class Passing(Exception):
    """An error that trying again may mend."""


class Lasting:
    """A watch, the settings, and what a user gets; the delay is ten seconds for each failed attempt."""

    def __init__(
        self,
        *channels: str,
        heartbeat: float | None = 30.0,
        can_reconnect: bool = True,
        new_is_fresh: bool = True,
    ) -> None:
        self.heartbeat = heartbeat
        self.can_reconnect = can_reconnect
        self.new_is_fresh = new_is_fresh
        self.session_name: Callable[[], str] | None = None
        self.clock = Clock()
        self.set_by = 0.0
        """By how many seconds somebody has set the wall clock, in all."""
        self.setting = 0
        """Counts how many times."""
        self.settings_read: set[int] = set()
        """The settings that the loop has seen."""
        self.wanted = Wanted(*channels)
        self.watch = ListenerWatch(self.wanted)
        self.on_listening: Callable[[ListenInForce], bool] = lambda news: True
        self.callback: Callable[[Notification], object] = lambda notification: None
        self.got: list[Notification | ListenInForce] = []
        self.news: list[Any] = []
        self.actions: list[p.Action] = []
        self.result: object = LEFT
        """What the latest run has returned."""

    # The settings.

    def now(self) -> Moment:
        self.settings_read.add(self.setting)
        return Moment(EPOCH + self.set_by + self.clock.now, self.clock.now)

    def next_check(self, now: float) -> float:
        return Policy.next_check(self, now)

    def latest_check(self, now: float) -> float:
        return Policy.latest_check(self, now)

    def soon(self, answer_seconds: float) -> float:
        return Policy.soon(self, answer_seconds)

    def delay(self, attempt: int) -> float:
        return 10.0 * attempt

    def is_healthy_after(self, seconds: float) -> bool:
        return seconds >= 60.0

    def is_permanent(self, error: Exception, at_start: bool) -> bool:
        return isinstance(error, Permanent)

    # The front.

    def deliver(self, at_most: int) -> bool:
        queue = self.watch.queue
        assert 0 < at_most <= len(queue), f"Deliver({at_most}) with {len(queue)} queued"
        for _ in range(at_most):
            notification = Notification._make(queue.popleft())
            self.got.append(notification)
            self.callback(notification)
            if self.watch.interrupted:
                break
        return True

    def tell(self, news: Any) -> object:
        self.news.append(news)
        if not isinstance(news, ListenInForce):
            return None
        self.got.append(news)
        return self.on_listening(news)

    # What a test asks and does.

    def asked(self, verb: type[p.Action]) -> list[Any]:
        """Return the actions of one kind, in order."""
        return [action for action in self.actions if isinstance(action, verb)]

    def told(self, kind: type) -> list[Any]:
        """Return the news of one kind, in order."""
        return [news for news in self.news if isinstance(news, kind)]

    def gaps(self) -> list[Any]:
        """Return the gap of each announcement, in order."""
        return [news.gap for news in self.told(ListenInForce)]

    def want(self, *channels: str) -> None:
        """Do what subscribing and cancelling does."""
        for channel in self.wanted.all():
            if channel not in channels:
                self.wanted.remove(channel)
        for channel in channels:
            if channel not in self.wanted.channels:
                self.wanted.add(channel)
        self.watch.interrupt()

    def set_clock(self, seconds: float) -> None:
        """Set the wall clock by so many seconds, back if they are negative."""
        self.set_by += seconds
        self.setting += 1

    def at(self, seconds: float) -> Any:
        """Return the moment so many seconds after the first one."""
        return utc(EPOCH + 1000.0 + seconds)


def health(*channels: str, in_recovery: bool = False, queue_usage: float = 0.0, server_pid: int = 42) -> Health:
    """Return what a server says."""
    return Health(in_recovery, queue_usage, server_pid, frozenset(channels))


OPENED = p.Opened(None, 42)
"""The outcome of a Connect."""

CONNECTING = (("connect", OPENED), ("askhealth", health()), ("listenmany", None))


def play(
    lasting: Lasting,
    *steps: Step,
    until: Callable[[], bool] = lambda: False,
    deadline: float | None = None,
) -> list[Notification | ListenInForce]:
    """Play a script; return what the user got during it. What the loop raises is raised here."""
    before = len(lasting.got)
    front = {
        p.Deliver: lambda action: lasting.deliver(action.at_most),
        p.Tell: lambda action: lasting.tell(action.event),
    }
    lasting.result = LEFT
    program = listener_loop(lasting.watch, lasting, until, deadline)
    lasting.result = play_script(program, steps, lasting.actions, front)
    return lasting.got[before:]


def moments_of_questions(
    lasting: Lasting, arrivals: Sequence[tuple[float, Notification]], answer_seconds: float = 0.0
) -> list[float]:
    """Have notifications arrive at these moments, in order; return when the loop has asked, until it is idle again."""
    clock, to_come, asked = lasting.clock, deque(arrivals), []
    program = listener_loop(lasting.watch, lasting)
    action = next(program)
    while not (isinstance(action, p.Wait) and not to_come and action.timeout > 1):
        outcome: object = None
        match action:
            case p.Fetch(queue):
                while to_come and to_come[0][0] <= clock.now:
                    queue.append(to_come.popleft()[1])
            case p.Wait(timeout):
                clock.now = min(clock.now + timeout, *(moment for moment, _ in list(to_come)[:1]), math.inf)
            case p.AskHealth():
                asked.append(clock.now)
                clock.now += answer_seconds
                outcome = health(*lasting.watch.in_force)
            case p.Deliver(at_most):
                outcome = lasting.deliver(at_most)
            case p.Tell(news):
                outcome = lasting.tell(news)
        action = program.send(outcome)
    program.close()
    return asked
