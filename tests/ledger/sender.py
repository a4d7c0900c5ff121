"""Who sends the numbered notifications, in a session of its own, and comes back by itself when the server does."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

from pgnotify.testing._wire import Session, SQLError, literal
from pgnotify.testing.address import Address
from tests.ledger.books import Sent
from tests.ledger.clock import WallClock

TRANSACTIONS_PER_SECOND = 60.0
SIZES = (1, 1, 1, 2, 3, 8, 30)
"""How many notifications a transaction has; one of these."""
LONGEST_PADDING = 300
_RETRY_SECONDS = 0.01


class Sender:
    """Sends in a thread of its own; a context manager.

    Args:
        address: the server's.
        channels: to send to.
        rng: chooses channels, sizes and pauses.
        clock: shows when something is sent.
    """

    def __init__(self, address: Address, channels: Sequence[str], rng: random.Random, clock: WallClock) -> None:
        self._address = address
        self._channels = channels
        self._rng = rng
        self._clock = clock
        self.sent: list[Sent] = []
        """The book."""
        self.server_is_up = threading.Event()
        """Cleared while there is no point in connecting."""
        self.server_is_up.set()
        self.error: BaseException | None = None
        """What has ended it, if that was not foreseen."""
        self._number = 0
        self._wanted: list[list[str]] = []
        """Transactions to send besides: the channels of their notifications."""
        self._stopping = threading.Event()
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._run, name="ledger sender", daemon=True)

    @property
    def latest(self) -> int:
        """The number that was sent last."""
        return self.sent[-1].number if self.sent else 0

    @property
    def is_bursting(self) -> bool:
        """Whether a burst was not written down yet."""
        return bool(self._wanted)

    def burst(self, count: int) -> None:
        """Send so many to each channel, as soon as possible, in one transaction."""
        self._wanted.append([channel for channel in self._channels for _ in range(count)])

    def stop(self) -> None:
        """End the thread; `send_one_each` goes on to work."""
        self._stopping.set()
        self._thread.join()

    def send_one_each(self) -> None:
        """Send one to each channel, now; when the thread has ended."""
        self._send(self._channels)

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._hang_up()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._rng.expovariate(TRANSACTIONS_PER_SECOND)):
                self._send(self._rng.choices(self._channels, k=self._rng.choice(SIZES)))
                while self._wanted:
                    self._send(self._wanted[0])
                    del self._wanted[0]
        except BaseException as error:
            self.error = error

    def _send(self, channels: Sequence[str]) -> None:
        """Send one to each of these in one transaction, and write down what is known of it."""
        session = self._connected()
        if session is None:
            return
        numbered = [(self._number + place, channel) for place, channel in enumerate(channels, 1)]
        self._number += len(numbered)
        statement = "SELECT " + ", ".join(
            f"pg_notify({literal(channel)}, '{number}{' ' * self._rng.randrange(LONGEST_PADDING)}')"
            for number, channel in numbered
        )
        with self._clock.lock:
            set_by = self._clock.set_by
            before, sure = time.time() + set_by, True
            try:
                session.sql(statement)
            except (OSError, SQLError):
                sure = False
                self._hang_up()
            after = time.time() + set_by
        self.sent += [Sent(number, channel, before, after, sure, set_by) for number, channel in numbered]

    def _connected(self) -> Session | None:
        while self._session is None and not self._stopping.is_set():
            if self.server_is_up.wait(_RETRY_SECONDS):
                self._connect()
        return self._session

    def _connect(self) -> None:
        try:
            self._session = Session(*self._address)
        except (OSError, SQLError):
            self._stopping.wait(_RETRY_SECONDS)

    def _hang_up(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
