"""What a listener under test has in common with all others, whatever its front: its books, and what strikes it."""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from pgnotify.connecting.backoff import Backoff
from pgnotify.listener.gap import Gap, Reason
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.status import Status
from pgnotify.notification import Notification
from tests.ledger.books import Announced, Book, Delivered, number_of
from tests.ledger.clock import STEP, WallClock

HEARTBEAT = DEADLINE = 0.3
QUEUE_SIZE = 200
SHORT_QUEUE = 20
"""The size of the queue of a consumer that is slow by itself, so that it overflows now and then."""
LAZY_EACH = 50
"""How many notifications such a consumer takes between two pauses, on average."""
LONGEST_PAUSE = 0.5
"""Seconds of such a pause at most."""
BACKOFF = Backoff(initial=0.1, maximum=0.5)
POISON = "poison"  # its LISTEN is the occasion to take the others away
PATIENCE_SECONDS = 10.0
_MOST_VISITS = 50


class TimeLimit(Exception):
    """What the handler of SIGUSR1 raises, as task queues do."""


class Setting(NamedTuple):
    """What all participants of a trial share."""

    source: Any
    """Where their connections come from."""
    driver: str | None
    """With a connection string."""
    channels: tuple[str, ...]
    """To listen to."""
    clock: WallClock
    """What their wall clock shows."""
    connect: Callable[[], Any]
    """Opens a connection of the DB-API, in no autocommit mode, for the users' own statements.

    No proxy is on its way: its driver would wait for ever in a black hole.
    """
    connect_async: Callable[[], Coroutine[Any, Any, Any]] | None = None
    """The same for an event loop; None where the driver has nothing for one."""
    loop: str = "asyncio"
    """One of `LOOPS`, for those on event loops."""


class Participant(ABC):
    """A listener, a thread that uses it, and its books; a context manager, which begins when it is entered.

    Args:
        mode: one of `MODES` of its class.
        setting: of the trial.
        in_main: whether the main thread is to use it: it calls `use`, and signals strike there.
    """

    MODES: ClassVar[tuple[str, ...]]
    """The ways to use a listener."""
    QUEUED: ClassVar[tuple[str, ...]]
    """Those that have a queue, which may overflow."""
    STREAMS: ClassVar[str]
    """The one that uses streams: a prompt and a slow one for each channel, each with a book of its own."""
    HINTS: ClassVar[str | None] = None
    """The one that takes hints, if there is one."""
    VISITS: ClassVar[str | None] = None
    """The one with streams that come and go, if there is one. Each has a book of its own."""

    OWN: ClassVar[tuple[str, ...]] = ()
    """Those whose channels are the listener's own."""
    WAYS: ClassVar[Mapping[str, str]] = {}
    """How the listener is used, by the mode, where that has another name."""

    def __init__(self, mode: str, setting: Setting, in_main: bool = False) -> None:
        self.mode = mode
        self.way = self.WAYS.get(mode, mode)
        """How the listener is used, whatever it reads."""
        self.in_main = in_main
        self.setting = setting
        channels = setting.channels
        self.books = [Book((each,)) for each in channels * 2] if self.way == self.STREAMS else [Book(channels)]
        """Appended to from several threads, in the order in which it happened. Those of slow streams come last."""
        self.visits: list[Book] = []
        """Those of streams that came and went; the only other book has what on_listening was told then."""
        self.errors: list[BaseException] = []
        """What was raised, or reported to on_error; all of it is unexpected."""
        self.may_go_on = threading.Event()
        """Cleared while the user is slow."""
        self.may_go_on.set()
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
        self._to_take_away: tuple[str, ...] = ()
        self._rng = random.Random(mode)
        self._thread = None if in_main else threading.Thread(target=self.use, name=f"ledger {mode}", daemon=True)

    def __enter__(self) -> Participant:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def use(self) -> None:
        """Use it in this thread until it is stopped, and go on after each exception of a signal handler."""

    @abstractmethod
    def stop(self) -> bool:
        """End it, in another thread than its own; return whether it has ended. A second call does nothing."""

    @abstractmethod
    def lose_subscriptions(self, channels: tuple[str, ...]) -> Callable[[], object]:
        """Have the listener's own session UNLISTEN these behind its back; return what clears up afterwards."""

    @abstractmethod
    def status(self) -> Status:
        """Return that of the listener."""

    @property
    @abstractmethod
    def reconnects(self) -> int:
        """How many times it has come back."""

    @property
    @abstractmethod
    def _queues(self) -> tuple[Sequence[object], list[Mailbox]]:
        """What was fetched and not distributed, and what waits for the users."""

    # What the trial waits for.

    @property
    def has_a_queue(self) -> bool:
        """Whether it may overflow."""
        return self.way in self.QUEUED

    @property
    def can_take_no_more(self) -> bool:
        """Whether each of its queues is empty, or its user has reached an overflow.

        The user waits there until the gap is told, which needs a connection.
        """
        fetched, mailboxes = self._queues
        return not fetched and not any(each.items for each in mailboxes)

    @property
    def judged(self) -> list[Book]:
        """Those of its books that are held against what was sent."""
        return self.visits if self.way == self.VISITS else self.books

    def marks(self) -> list[int]:
        """Return how many entries each of its books has now."""
        return [len(book.entries) for book in self.books]

    def has_gap_since(self, marks: Sequence[int], overflow: bool = False) -> bool:
        """Whether a gap was announced since its books had so many entries.

        Of several gaps, a hint brings the latest one, which may be that of a full queue.
        """
        return any(
            isinstance(entry, Announced)
            and ((entry.gap.reason is Reason.QUEUE_OVERFLOW) is overflow or (self.way == self.HINTS and not overflow))
            for book, mark in zip(self.books, marks, strict=True)
            for entry in book.entries[mark:]
        )

    def has_received_beyond(self, number: int) -> bool:
        """Whether something was delivered that was sent later than that number, to each of its users."""
        if self.way == self.VISITS:
            return self.is_up_to_date(number, number)
        return all(any(each.number > number for each in book.latest()) for book in self.books)

    def is_up_to_date(self, number: int, latest: int) -> bool:
        """Whether all channels have brought something that was sent later.

        Args:
            number: one on each channel was sent later than this.
            latest: the number that was sent last. A hint says that of the latest one only.
        """
        if self.way == self.HINTS:
            return self.has_received_beyond(latest - 1)
        if self.way == self.VISITS:
            latest_visits = self.visits[-_MOST_VISITS:]
            delivered = {each.channel for book in latest_visits for each in book.latest() if each.number > number}
            return delivered == {*self.setting.channels}
        return all(
            {each.channel for each in book.latest() if each.number > number} == {*book.channels} for book in self.books
        )

    # What its users do.

    def _write(self, item: Notification | Gap, book: Book) -> None:
        if isinstance(item, Gap):
            self._announce(item, book)
        else:
            # The number comes first: from then on it is written down, whatever interrupts this. The padding is blank.
            book.entries.append(Delivered(number_of(item), item.channel, time.time()))

    def _announce(self, gap: Gap, book: Book) -> None:
        now = time.time()
        # A slow user may read a gap when the clock was set once more.
        set_by = STEP * round((gap.restored_at.timestamp() - now) / STEP)
        book.entries.append(Announced(gap, now, set_by))

    @property
    def _more_options(self) -> dict[str, Any]:
        """The listener's options that others do not have."""
        return {}

    @property
    def has_own_channels(self) -> bool:
        """Whether the channels are the listener's own, and not those of subscriptions only."""
        return self.way in self.OWN

    @property
    def may_lose_its_loop(self) -> bool:
        """Whether another listener on a new event loop may go on in its place."""
        return False

    def _is_lazy(self, book: Book) -> bool:
        """Whether the user of a book is to pause now."""
        return self.way == self.STREAMS and self._is_slow(book) and self._rng.random() * LAZY_EACH < 1

    def _is_slow(self, book: Book) -> bool:
        return any(each is book for each in self.books[len(self.setting.channels) :])

    def _queue_size(self, book: Book) -> int:
        return SHORT_QUEUE if self._is_slow(book) else QUEUE_SIZE

    def _has_read(self, set_by: float) -> None:
        self.setting_read = set_by

    def _report(self, error: Exception, _: Notification | None) -> None:
        self.errors.append(error)
