"""Keeps account of numbered notifications: what was delivered, and which gaps were told, in their order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pgnotify.listener.gap import Gap, Listening, Reason
from pgnotify.notification import Notification
from tests.helpers.threads import Background
from tests.helpers.waiting import PATIENCE


class Account:
    """The consumer of a listener. It stays at the first notification until `go` is set, and then acts.

    The payloads are 1, 2, 3 and so on. `seen` has them as numbers, and each gap of a full queue in its place.
    """

    def __init__(self) -> None:
        self.seen: list[int | Gap] = []
        self.entered = threading.Event()
        self.go = threading.Event()
        self.act: Callable[[], object] = lambda: None

    def on_listening(self, event: Listening) -> None:
        """Enter the gap of a full queue."""
        if event.gap is not None and event.gap.reason is Reason.QUEUE_OVERFLOW:
            self.seen.append(event.gap)

    def receive(self, notification: Notification) -> None:
        """Enter a notification, as a callback does."""
        self.seen.append(int(notification.payload))
        if not self.entered.is_set():
            self.entered.set()
            assert self.go.wait(PATIENCE)
            self.act()

    @property
    def dropped(self) -> int:
        """How many notifications the gaps have."""
        return sum(each.dropped for each in self.seen if isinstance(each, Gap))

    def accounted_for(self) -> int:
        """Return up to which number everything was delivered once, in order, or told in its place."""
        number = 0
        for each in self.seen:
            if isinstance(each, Gap):
                number += each.dropped
            else:
                number += 1
                assert each == number, self.seen
        return number


WITH_A_READER = ("run with workers", "start with workers", "start and iterate", "start and hint")
"""The ways in which a thread reads while the consumer is busy."""
WAYS = ("run", *WITH_A_READER, "iterate", "iterate beside workers", "with", "hint", "pieces", "start and pieces")


def consume(way: str, listener: Any, account: Account, channel: str, patience: float) -> Background:
    """Receive in one of the ways, in a thread of its own; the listener was made with this channel.

    What ends it is raised by the thread's `ended`, unless the listener has a thread that only logs it.
    """
    started = "start" in way
    if "run" in way or "workers" in way:
        listener.subscribe(channel, account.receive)
    if started:
        listener.start()
    return Background(_consume, way, listener, account, patience)


def _consume(way: str, listener: Any, account: Account, patience: float) -> None:
    if "run" in way:
        listener.run()
    elif way == "start with workers":
        return
    elif "hint" in way:
        while True:
            hint = listener.wait_or_poll(patience, patience)
            if isinstance(hint, Notification):
                account.receive(hint)
    elif "pieces" in way:
        while True:
            for notification in listener.notifications(timeout=0.01, stop_after=2):
                account.receive(notification)
    elif way == "with":
        with listener:
            _iterate(listener, account)
    else:
        _iterate(listener, account)


def _iterate(listener: Any, account: Account) -> None:
    for notification in listener:
        account.receive(notification)
