"""Who stores the numbered messages: several sessions at once, whose transactions cross.

Some messages are far larger than a notification can be, and some are rolled back, with the whole transaction or to a
savepoint.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from pgnotify.testing.address import Address
from tests.ledger.books import Sent
from tests.ledger.outbox.sessions import Inserting, SendingSession, Stored

SESSIONS = 3
"""How many sessions of each kind send at once."""
PAUSES_PER_SECOND = 8.0
"""How many transactions a session begins in a second, on average."""
SIZES = (1, 1, 1, 2, 3, 8, 30)
"""How many messages a transaction has; one of these."""
LONGEST_STAY = 0.2
"""Seconds for which a transaction is open, at most, where it is."""
STAYS = 0.3
"""How often it is, between two statements."""
ROLLED_BACK = 0.15
"""How often a transaction is rolled back, or a part of it to a savepoint."""
LENGTHS = ((0.96, 300), (0.995, 30_000), (0.9995, 200_000), (1.0, 1_000_000))
"""The largest length of a payload, in bytes, below each threshold of a random number."""
_RETRY_SECONDS = 0.01


class Numbers:
    """Hands out numbers that grow over all sessions."""

    def __init__(self) -> None:
        self.latest = 0
        """The number that was handed out last."""
        self._lock = threading.Lock()

    def take(self, count: int) -> range:
        """Return this many new ones."""
        with self._lock:
            first = self.latest + 1
            self.latest += count
            return range(first, self.latest + 1)


class OutboxSender:
    """Stores messages in threads of its own; a context manager, with the same face as `tests.ledger.sender.Sender`.

    Args:
        address: the server's.
        channels: to send to.
        rng: the seed of everything that is random here.
        more: each makes further sessions that send.
    """

    def __init__(
        self,
        address: Address,
        channels: Sequence[str],
        rng: random.Random,
        more: Sequence[Callable[[], SendingSession]] = (),
    ) -> None:
        self._channels = channels
        self.sent: list[Sent] = []
        """The book, without what was rolled back."""
        self.server_is_up = threading.Event()
        """Cleared while there is no point in connecting."""
        self.server_is_up.set()
        self.error: BaseException | None = None
        """What has ended it, if that was not foreseen."""
        self.session_of: dict[int, int] = {}
        """Which session has sent each number."""
        self._numbers = Numbers()
        self._wanted: list[list[str]] = []
        self._stopping = threading.Event()
        makes = [partial(Inserting, address), *more]
        self._sessions: list[SendingSession] = [make() for make in makes for _ in range(SESSIONS)]
        self._threads = [
            threading.Thread(target=self._run, args=(place, random.Random(rng.random())), daemon=True)
            for place in range(len(self._sessions))
        ]

    @property
    def latest(self) -> int:
        """The number that was handed out last: what follows is sent later."""
        return self._numbers.latest

    @property
    def is_bursting(self) -> bool:
        """Whether a burst was not written down yet."""
        return bool(self._wanted)

    def burst(self, count: int) -> None:
        """Send so many to each channel, as soon as possible, in one transaction."""
        self._wanted.append([channel for channel in self._channels for _ in range(count)])

    def stop(self) -> None:
        """End the threads; `send_one_each` goes on to work."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def send_one_each(self) -> None:
        """Send one to each channel, now; when the threads have ended."""
        session = self._sessions[0]
        if not session.is_connected:  # a fault has struck it just before the end
            try:
                session.connect()
            except Exception:  # of whichever driver; the caller tries again
                session.hang_up()
        self._send(0, self._channels, random.Random(0), simply=True)

    def __enter__(self) -> OutboxSender:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for session in self._sessions:
            session.end()

    def _run(self, place: int, rng: random.Random) -> None:
        try:
            while not self._stopping.wait(rng.expovariate(PAUSES_PER_SECOND)):
                self._send(place, rng.choices(self._channels, k=rng.choice(SIZES)), rng)
                while place == 0 and self._wanted:
                    self._send(place, self._wanted[0], rng, simply=True)
                    del self._wanted[0]
        except BaseException as error:
            self.error = error

    def _send(self, place: int, channels: Sequence[str], rng: random.Random, simply: bool = False) -> None:
        """Send one to each of these in one transaction, and write down what is known of it."""
        session = self._sessions[place]
        if not self._connected(session):
            return
        numbers = self._numbers.take(len(channels))
        self.session_of.update(dict.fromkeys(numbers, place))
        messages = [Stored(*each, _payload(each[0], rng)) for each in zip(numbers, channels, strict=True)]
        before = time.time()
        try:
            session.begin()
            kept = _store(session, messages, rng, simply)
            if not kept:
                session.rollback()
                return
        except Exception:  # of whichever driver; it is not committed
            session.hang_up()
            return
        try:
            session.commit()
            self._write(kept, before, sure=True)
        except Exception:
            session.hang_up()
            self._write(kept, before, sure=False)

    def _write(self, messages: Iterable[Stored], before: float, sure: bool) -> None:
        after = time.time()
        self.sent.extend([Sent(number, channel, before, after, sure) for number, channel, _ in messages])

    def _connected(self, session: SendingSession) -> bool:
        while not session.is_connected and not self._stopping.is_set():
            if self.server_is_up.wait(_RETRY_SECONDS):
                try:
                    session.connect()
                except Exception:  # of whichever driver
                    session.hang_up()
                    self._stopping.wait(_RETRY_SECONDS)
        return session.is_connected


def _store(session: SendingSession, messages: list[Stored], rng: random.Random, simply: bool) -> list[Stored]:
    """Store messages in the transaction that is open; return those to commit, none if it is to be rolled back."""
    if simply:
        session.store(messages, rng)
        return messages
    kept: list[Stored] = []
    for part in _parts(messages, rng):
        if rng.random() < ROLLED_BACK:
            session.run("SAVEPOINT part")
            session.store(part, rng)
            session.run("ROLLBACK TO SAVEPOINT part")
        else:
            session.store(part, rng)
            kept += part
        if rng.random() < STAYS:
            time.sleep(rng.uniform(0, LONGEST_STAY))  # a transaction that stays open, so that commits cross
    return [] if rng.random() < ROLLED_BACK else kept


def _parts(messages: list[Stored], rng: random.Random) -> Iterator[list[Stored]]:
    """Yield them in parts, each of which a statement stores."""
    place = 0
    while place < len(messages):
        size = rng.randint(1, len(messages))
        yield messages[place : place + size]
        place += size


def _payload(number: int, rng: random.Random) -> str:
    """Return a payload that says its number and its length."""
    chance = rng.random()
    longest = next(length for threshold, length in LENGTHS if chance < threshold)
    length = rng.randint(20, longest)
    return f"{number} {length}".ljust(length)
