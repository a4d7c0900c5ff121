"""A listener under test, in one of the ways to use one, and its book."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import pgnotify
from pgnotify.connecting.backoff import Backoff
from pgnotify.errors import ConnectionLost
from pgnotify.listener import Listener
from pgnotify.listener.gap import Gap, Listening, Reason
from pgnotify.notification import Notification
from tests.ledger.books import Announced, Delivered, Entry
from tests.ledger.clock import WallClock

MODES = ("iterate", "run", "workers", "pull")
"""start() and an iteration beside it; run() with callbacks; callbacks in workers; an iteration alone.

Workers have start(); in the main thread they have run().
"""
QUEUED = ("iterate", "workers")
"""Those that have a queue, which may overflow."""

HEARTBEAT = DEADLINE = 0.3
QUEUE_SIZE = 200
BACKOFF = Backoff(initial=0.1, maximum=0.5)
POISON = "poison"  # its LISTEN is the occasion to take the others away


class TimeLimit(Exception):
    """What the handler of SIGUSR1 raises, as task queues do."""


class Participant:
    """A listener, a thread that uses it, and a book; a context manager, which begins when it is entered.

    Args:
        mode: one of `MODES`.
        source: where its connections come from.
        driver: with a connection string.
        channels: to listen to.
        clock: what its wall clock shows.
        in_main: whether the main thread is to use it: it calls `use`, and signals strike there.
    """

    def __init__(
        self,
        mode: str,
        source: Any,
        driver: str | None,
        channels: Sequence[str],
        clock: WallClock,
        in_main: bool = False,
    ) -> None:
        self.mode = mode
        self.in_main = in_main
        self.book: list[Entry] = []
        """Appended to from several threads, in the order in which it happened."""
        self.errors: list[BaseException] = []
        """What was raised, or reported to on_error; all of it is unexpected."""
        self.may_go_on = threading.Event()
        """Cleared while the user is slow."""
        self.may_go_on.set()
        self._to_take_away: tuple[str, ...] = ()
        self.listens = False
        """Whether it has begun to."""
        self.may_be_struck = False
        """Whether an exception of a signal handler would be caught now."""
        self.struck = 0
        """How many such exceptions were caught."""
        self.lost_in_driver: list[float] = []
        """When a time limit was raised just after a driver had taken a notification: a limit that the docs state."""
        self.setting_read = 0.0
        """The setting of the wall clock that the listener has read last, as `WallClock.set_by`."""
        self._clock = clock
        self._told_in_vain: Gap | None = None
        """The gap whose on_listening was interrupted; the listener tells of it again."""
        own = channels if mode in ("iterate", "pull") else ()
        with clock.read_by_listeners(self._has_read):
            self.listener = Listener(
                source,
                *own,
                driver=driver,
                name=f"ledger {mode}",
                on_listening=self._on_listening,
                on_error=lambda error, _: self.errors.append(error),
                workers=2 if mode == "workers" else 0,
                queue_size=QUEUE_SIZE,
                heartbeat=HEARTBEAT,
                answer_timeout=DEADLINE,
                backoff=BACKOFF,
            )
        for channel in () if own else channels:
            self.listener.subscribe(channel, self._receive)
        self._thread = None if in_main else threading.Thread(target=self.use, name=f"ledger {mode}", daemon=True)

    def __enter__(self) -> Participant:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> bool:
        """End it, in another thread than its own; return whether it has ended. A second call does nothing."""
        self.may_go_on.set()
        has_ended = self.listener.stop(timeout=10)
        if not has_ended:
            self.errors.append(AssertionError("stop() has not ended it within 10 s"))
        if self._thread is not None:
            self._thread.join(10)
        return has_ended

    @property
    def has_a_queue(self) -> bool:
        """Whether it may overflow."""
        return self.mode in QUEUED

    @property
    def can_take_no_more(self) -> bool:
        """Whether each of its queues is empty, or its user has reached an overflow.

        The user waits there until the gap is told, which needs a connection.
        """
        listener = self.listener
        mailboxes = [listener._delivery.mailbox, *(each.mailbox for each in listener._routes.subscriptions())]
        return not listener._watch.queue and not any(each.items for each in mailboxes)

    def lose_subscriptions(self, channels: tuple[str, ...]) -> Callable[[], None]:
        """Have the listener's own session UNLISTEN these behind its back; return what clears up afterwards."""
        self._to_take_away = channels
        return self.listener.subscribe(POISON, lambda _: None).cancel

    def has_gap_since(self, index: int, overflow: bool = False) -> bool:
        """Whether a gap was announced since the book had so many entries."""
        return any(
            isinstance(entry, Announced) and (entry.gap.reason is Reason.QUEUE_OVERFLOW) is overflow
            for entry in self.book[index:]
        )

    def has_received_beyond(self, number: int) -> bool:
        """Whether something was delivered that was sent later than that number."""
        return any(isinstance(entry, Delivered) and entry.number > number for entry in reversed(self.book[-500:]))

    def use(self) -> None:
        """Use it in this thread until it is stopped, and go on after each exception of a signal handler."""
        try:
            if self.mode == "iterate" or (self.mode == "workers" and not self.in_main):
                self.listener.start()
            if self.mode == "pull":
                self.listener.__enter__()
            if self.mode != "workers" or self.in_main:
                while self._is_interrupted():
                    pass
        except BaseException as error:
            self.errors.append(error)

    def _is_interrupted(self) -> bool:
        """Return False when it has come to its end, and True after an exception of a signal handler."""
        try:
            self.may_be_struck = self.in_main
            if self.mode in ("run", "workers"):
                self.listener.run()
            else:
                for notification in self.listener:
                    self._receive(notification)
        except (KeyboardInterrupt, TimeLimit) as error:
            self.may_be_struck = False
            self._account_for(error)
            self.struck += 1
            return True
        return False

    def _account_for(self, error: BaseException) -> None:
        """Write down the notification whose callback was interrupted: it counts as delivered."""
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code is Participant._receive.__code__:
                notification = frame.f_locals["notification"]
                number = int(notification.payload)
                if not any(isinstance(each, Delivered) and each.number == number for each in self.book[-20:]):
                    self.book.append(Delivered(number, notification.channel, time.time()))
            if frame.f_code is Participant._on_listening.__code__:
                self._told_in_vain = frame.f_locals["event"].gap

    def _receive(self, notification: Notification) -> None:
        # The number comes first: from then on it is written down, whatever interrupts this. The padding is blank.
        self.book.append(Delivered(int(notification.payload), notification.channel, time.time()))
        if not self.may_go_on.is_set():  # wait() is no function to be interrupted in
            self.may_go_on.wait()

    def _on_listening(self, event: Listening) -> None:
        gap, in_vain = event.gap, self._told_in_vain
        if gap is not None and not (gap == in_vain and self._has_written(gap)):
            self.book.append(Announced(gap, time.time(), self._clock.set_by))
        self._told_in_vain = None
        self.listens = True
        if POISON in event.channels:
            self._take_away(event.connection)

    def _has_written(self, gap: Gap) -> bool:
        return any(isinstance(each, Announced) and each.gap == gap for each in self.book[-500:])

    def _has_read(self, set_by: float) -> None:
        self.setting_read = set_by

    def _take_away(self, connection: Any) -> None:
        channels, self._to_take_away = self._to_take_away, ()
        try:
            for channel in channels:
                pgnotify.wrap(connection).unlisten(channel)
        except ConnectionLost:  # another fault was quicker
            return
