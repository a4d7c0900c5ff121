"""A listener under test, in one of the ways to use one, and its book."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pgnotify
from pgnotify.connecting.backoff import Backoff
from pgnotify.errors import ConnectionLost
from pgnotify.listener import Listener
from pgnotify.listener.gap import Listening, Reason
from pgnotify.notification import Notification
from tests.ledger.books import Announced, Delivered, Entry

MODES = ("iterate", "run", "workers", "pull")
"""start() and an iteration beside it; run() with callbacks; start() with callbacks in workers; an iteration alone."""
QUEUED = ("iterate", "workers")
"""Those that have a queue, which may overflow."""

HEARTBEAT = DEADLINE = 0.3
QUEUE_SIZE = 200
BACKOFF = Backoff(initial=0.1, maximum=0.5)
POISON = "poison"  # its LISTEN is the occasion to take the others away


class Participant:
    """A listener, a thread that uses it, and a book; a context manager, which begins when it is entered.

    Args:
        mode: one of `MODES`.
        source: where its connections come from.
        driver: with a connection string.
        channels: to listen to.
    """

    def __init__(self, mode: str, source: Any, driver: str | None, channels: Sequence[str]) -> None:
        self.mode = mode
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
        own = channels if mode in ("iterate", "pull") else ()
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
        self._thread = threading.Thread(target=self._run, name=f"ledger {mode}", daemon=True)

    def __enter__(self) -> Participant:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_go_on.set()
        if not self.listener.stop(timeout=10):
            self.errors.append(AssertionError("stop() has not ended it within 10 s"))
        self._thread.join(10)

    @property
    def has_a_queue(self) -> bool:
        """Whether it may overflow."""
        return self.mode in QUEUED

    @property
    def can_take_no_more(self) -> bool:
        """Whether its queue is empty, or one of its users has reached an overflow.

        The user waits there until the gap is told, which needs a connection.
        """
        return not self.listener.status().queued or bool(self.listener._watch.dropped_gaps)

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

    def _run(self) -> None:
        try:
            if self.mode == "run":
                self.listener.run()
            elif self.mode == "workers":
                self.listener.start()
            elif self.mode == "iterate":
                self.listener.start()
                self._iterate()
            else:
                with self.listener:
                    self._iterate()
        except BaseException as error:
            self.errors.append(error)

    def _iterate(self) -> None:
        for notification in self.listener:
            self._receive(notification)

    def _receive(self, notification: Notification) -> None:
        self.may_go_on.wait()
        number = int(notification.payload)  # the padding is blank
        self.book.append(Delivered(number, notification.channel, time.time()))

    def _on_listening(self, event: Listening) -> None:
        if event.gap is not None:
            self.book.append(Announced(event.gap, time.time()))
        self.listens = True
        if POISON in event.channels:
            self._take_away(event.connection)

    def _take_away(self, connection: Any) -> None:
        channels, self._to_take_away = self._to_take_away, ()
        try:
            for channel in channels:
                pgnotify.wrap(connection).unlisten(channel)
        except ConnectionLost:  # another fault was quicker
            return
