"""A blocking listener under test, in one of the ways to use one."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import pgnotify
from pgnotify.errors import ConnectionLost
from pgnotify.listener import Listener
from pgnotify.listener.gap import Gap, Listening
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.status import Status
from pgnotify.notification import Notification
from tests.ledger.books import Announced, Book, Delivered, number_of
from tests.ledger.participant import (
    BACKOFF,
    DEADLINE,
    HEARTBEAT,
    LONGEST_PAUSE,
    PATIENCE_SECONDS,
    POISON,
    QUEUE_SIZE,
    Participant,
    Setting,
    TimeLimit,
)


class BlockingParticipant(Participant):
    """A `Listener`; see `Participant`."""

    MODES = ("iterate", "run", "workers", "pull", "streams")
    """start() and an iteration beside it; run() with callbacks; callbacks in workers; an iteration alone; streams.

    Workers and streams have start(); workers in the main thread have run().
    """
    OWN = ("iterate", "pull", "batches")
    QUEUED = ("iterate", "workers", "streams")
    STREAMS = "streams"

    def __init__(self, mode: str, setting: Setting, in_main: bool = False) -> None:
        super().__init__(mode, setting, in_main)
        self._told_in_vain: Gap | None = None
        """The gap whose on_listening was interrupted; the listener tells of it again."""
        own = setting.channels if self.has_own_channels else ()
        with setting.clock.read_by_listeners(self._has_read):
            self.listener = Listener(
                setting.source,
                *own,
                driver=setting.driver,
                name=f"ledger {mode}",
                on_listening=self._on_listening,
                on_error=self._report,
                workers=2 if self.way == "workers" else 0,
                queue_size=QUEUE_SIZE,
                heartbeat=HEARTBEAT,
                answer_timeout=DEADLINE,
                backoff=BACKOFF,
                **self._more_options,
            )
        for channel in setting.channels if self.way in ("run", "workers") else ():
            self.listener.subscribe(channel, self._receive)

    def stop(self) -> bool:
        """End it, in another thread than its own; return whether it has ended. A second call does nothing."""
        self.may_go_on.set()
        has_ended = self.listener.stop(timeout=PATIENCE_SECONDS)
        if not has_ended:
            self.errors.append(AssertionError(f"stop() has not ended it within {PATIENCE_SECONDS:.0f} s"))
        if self._thread is not None:
            self._thread.join(PATIENCE_SECONDS)
        return has_ended

    def status(self) -> Status:
        """Return that of the listener."""
        return self.listener.status()

    @property
    def reconnects(self) -> int:
        """How many times it has come back."""
        return self.status().reconnects

    @property
    def _queues(self) -> tuple[Sequence[object], list[Mailbox]]:
        listener = self.listener
        mailboxes = [listener._delivery.mailbox, *(each.mailbox for each in listener._routes.subscriptions())]
        return listener._watch.queue, mailboxes

    def lose_subscriptions(self, channels: tuple[str, ...]) -> Callable[[], object]:
        """Have the listener's own session UNLISTEN these behind its back; return what clears up afterwards."""
        self._to_take_away = channels
        return self.listener.subscribe(POISON, lambda _: None).cancel

    def use(self) -> None:
        """Use it in this thread until it is stopped, and go on after each exception of a signal handler."""
        try:
            with ExitStack() as stack:
                self._use(stack)
        except BaseException as error:
            self.errors.append(error)

    def _use(self, stack: ExitStack) -> None:
        if self.way in ("iterate", "streams", "batches") or (self.way == "workers" and not self.in_main):
            self.listener.start()
        if self.way in ("pull", "alone"):
            self.listener.__enter__()
        items: Iterable[Notification | Gap] = self.listener
        if self.way == "streams":
            items = self._streams(stack)
            self.listens = True
        if self.way != "workers" or self.in_main:
            while self._is_interrupted(items):
                pass

    def _streams(self, stack: ExitStack) -> Iterable[Notification | Gap]:
        """Open all streams, and read all except the first, which is returned, in threads of their own."""
        first, *others = [
            (book, stack.enter_context(self.listener.subscription(book.channels[0], self._queue_size(book))))
            for book in self.books
        ]
        for book, stream in others:
            threading.Thread(target=self._take, args=(stream, book), name="ledger stream", daemon=True).start()
        return first[1]

    def _take(self, items: Iterable[Notification | Gap], book: Book) -> None:
        try:
            for item in items:
                self._receive(item, book)
                if self._is_lazy(book):
                    time.sleep(self._rng.uniform(0, LONGEST_PAUSE))  # a consumer that is too slow
        except BaseException as error:
            self.errors.append(error)

    def _is_interrupted(self, items: Iterable[Notification | Gap]) -> bool:
        """Return False when it has come to its end, and True after an exception of a signal handler."""
        try:
            self.may_be_struck = self.in_main
            self._read_all(items)
        except (KeyboardInterrupt, TimeLimit) as error:
            self.may_be_struck = False
            self._account_for(error)
            self.struck += 1
            return True
        return False

    def _read_all(self, items: Iterable[Notification | Gap]) -> None:
        if self.way in ("run", "workers"):
            self.listener.run()
        else:
            for item in items:
                self._receive(item)

    def _account_for(self, error: BaseException) -> None:
        """Write down the item that a user was interrupted with: it counts as delivered."""
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code is BlockingParticipant._receive.__code__:
                item, book = frame.f_locals["item"], frame.f_locals["book"] or self.books[0]
                if not _is_written(item, book):
                    self._write(item, book)
            if frame.f_code is BlockingParticipant._on_listening.__code__:
                self._told_in_vain = frame.f_locals["event"].gap

    def _receive(self, item: Notification | Gap, book: Book | None = None) -> None:
        self._write(item, book or self.books[0])
        if not self.may_go_on.is_set():  # wait() is no function to be interrupted in
            self.may_go_on.wait()

    def _on_listening(self, event: Listening) -> None:
        gap, in_vain = event.gap, self._told_in_vain
        is_told_here = gap is not None and self.way != self.STREAMS
        if is_told_here and not (gap == in_vain and _is_written(gap, self.books[0])):
            self._write(gap, self.books[0])
        self._told_in_vain = None
        self.listens = self.listens or self.way != self.STREAMS
        if POISON in event.channels:
            self._take_away(event.connection)

    def _take_away(self, connection: Any) -> None:
        channels, self._to_take_away = self._to_take_away, ()
        try:
            for channel in channels:
                pgnotify.wrap(connection).unlisten(channel)
        except ConnectionLost:  # another fault was quicker
            return


def _is_written(item: Notification | Gap, book: Book) -> bool:
    if isinstance(item, Gap):
        return any(isinstance(each, Announced) and each.gap == item for each in book.entries[-500:])
    return any(isinstance(each, Delivered) and each.number == number_of(item) for each in book.entries[-20:])
