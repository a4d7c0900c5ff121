"""Plays the runner's and the front's part for the listener's loop: no server, no thread, no clock.

    lasting = Lasting("jobs")

    got = play(lasting, *CONNECTING, ("fetch", [note("1")]), ("fetch", LEFT))

A step is the verb that the loop must ask for next, and what becomes of it, as in `tests.helpers.play_handler`.
`Deliver` and `Tell` are played without a step. What is returned is what the user got, in order: notifications, and the
`ListenInForce` that on_listening would be called with. All that was asked for is in `Lasting.actions`, all news in
`Lasting.news`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pgnotify.listener.events import ListenInForce
from pgnotify.listener.gap import utc
from pgnotify.listener.loop import listener_loop
from pgnotify.listener.watch import ListenerWatch
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.protocol import Health
from tests.helpers.play_handler import LEFT, Clock

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
        self.clock = Clock()
        self.wanted = channels
        self.watch = ListenerWatch(lambda: self.wanted)
        self.on_listening: Callable[[ListenInForce], bool] = lambda news: True
        self.callback: Callable[[Notification], object] = lambda notification: None
        self.got: list[Notification | ListenInForce] = []
        self.news: list[Any] = []
        self.actions: list[p.Action] = []
        self.result: object = LEFT
        """What the latest run has returned."""

    # The settings.

    def now(self) -> float:
        return EPOCH + self.clock.now

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
        self.wanted = channels
        for channel in self.watch.refused.keys() - set(channels):
            del self.watch.refused[channel]
        self.watch.interrupt()

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
    *steps: tuple[str, object],
    until: Callable[[], bool] = lambda: False,
    deadline: float | None = None,
) -> list[Notification | ListenInForce]:
    """Play a script; return what the user got during it. What the loop raises is raised here."""
    before, left = len(lasting.got), list(steps)
    program = listener_loop(lasting.watch, lasting, until, deadline)
    lasting.result = LEFT
    try:
        _play(lasting, program, left)
    finally:
        program.close()
    return lasting.got[before:]


def _play(lasting: Lasting, program: p.Program[bool], steps: list[tuple[str, object]]) -> None:
    outcome: object = None
    while True:
        try:
            action = program.throw(outcome) if _is_error(outcome) else program.send(outcome)
        except StopIteration as end:
            assert not steps, f"the loop has ended, but the script goes on with {steps}"
            lasting.result = end.value
            return
        except BaseException:
            assert not steps, f"the loop has raised, but the script goes on with {steps}"
            raise
        lasting.actions.append(action)
        outcome = _outcome(lasting, action, steps)
        if outcome is LEFT:
            return


def _outcome(lasting: Lasting, action: p.Action, steps: list[tuple[str, object]]) -> object:
    if isinstance(action, p.Deliver):
        return lasting.deliver(action.at_most)
    if isinstance(action, p.Tell):
        return lasting.tell(action.event)
    assert steps, f"the script has ended, but the loop asks for {action}"
    verb, outcome = steps.pop(0)
    assert type(action).__name__.lower() == verb, f"the loop asks for {action}, not for {verb!r}"
    if callable(outcome) and not _is_error(outcome):
        return outcome()
    return outcome


def _is_error(outcome: object) -> bool:
    return isinstance(outcome, BaseException) or (isinstance(outcome, type) and issubclass(outcome, BaseException))
