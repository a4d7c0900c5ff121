"""What a listener with an outbox has in place of bounded queues: nothing is dropped.

The table is read on only when the consumers have room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from pgnotify.listener.delivery import Delivery
from pgnotify.listener.gap import Moment
from pgnotify.listener.mailbox import Mailbox, Overflow
from pgnotify.listener.timed import TimedDelivery
from pgnotify.notification import Plain


class PatientMailbox(Mailbox):
    """A mailbox that drops nothing, and knows whether its consumer has asked for more than it has.

    Args:
        size: how many messages may wait before no more are read; None for any number.
        lock: as in `Mailbox`.
        asked: called when the consumer has asked for more.
    """

    def __init__(self, size: int | None, lock: AbstractContextManager[object], asked: Callable[[], object]) -> None:
        super().__init__(size, lock)
        self._asked = asked
        self.is_done = True
        """Whether the consumer is done with everything that was put in. It changes under the lock."""

    def has_room(self, count: int, now: Moment) -> bool:
        """Return True: there is always room for what was read."""
        super().has_room(count, now)
        return True

    def overflow(self) -> Overflow | None:
        """Take into account that the consumer asks for more, as it finds nothing here. There is no overflow."""
        with self.lock:
            if self.items or self.is_done:
                return None
            self.is_done = True
        self._asked()
        return None

    @property
    def has_overflow(self) -> bool:
        """False, for a consumer that asks; see `overflow`."""
        self.overflow()
        return False


class PatientDelivery(Delivery):
    """A delivery that knows whether the consumers are done with everything, or have room for more.

    Args:
        watch, routes, reporter, kind: as in `Delivery`.
    """

    _has_failed = False
    """Whether the latest delivery was interrupted, perhaps in a callback."""

    def new_mailbox(self, size: int | None) -> PatientMailbox:
        """Return a mailbox that drops nothing."""
        return PatientMailbox(size, self.lock, lambda: self.asked())

    def deliver(self, at_most: int) -> bool:
        """Do the same as `Delivery.deliver`."""
        self._has_failed = True
        outcome = super().deliver(at_most)
        self._has_failed = False
        return outcome

    def is_done(self) -> bool:
        """Return whether all consumers are done with everything that was delivered, and ask for more."""
        if self.watch.queue or (self.workers is not None and not self.workers.is_idle):
            return False
        return all(mailbox.is_done for mailbox in self._mailboxes())

    def has_room(self) -> bool:
        """Return whether all consumers have room for more."""
        limits = [(len(mailbox), mailbox.size) for mailbox in self._mailboxes()]
        return not self.watch.queue and all(size is None or waiting < size for waiting, size in limits)

    def undone(self) -> int | None:
        """Return how many of the messages delivered last the consumers are not done with; None if that is not known."""
        if self.is_done():
            return int(self._has_failed)
        if self.workers is not None or self._routes.queued:
            return None
        in_hand = int(self._has_failed) + (not self.mailbox.is_done)  # type: ignore[attr-defined]
        return len(self.watch.queue) + len(self.mailbox.items) + in_hand

    def _mailboxes(self) -> Iterator[PatientMailbox]:
        yield self.mailbox  # type: ignore[misc]
        for each in self._routes.subscriptions():
            if isinstance(each.mailbox, PatientMailbox):
                yield each.mailbox

    # Each puts something in and says so under the lock, which a consumer needs to say that it is done.

    def _share(self, plains: list[Plain]) -> bool:
        with self.lock:
            has_shared = super()._share(plains)
            for channel in {plain[0] for plain in plains}:
                _given(stream.mailbox for stream in self._routes.queued.get(channel, ()))
        return has_shared

    def _enqueue(self, plains: list[Plain]) -> None:
        with self.lock:
            for_iteration = self._still_wanted([plain for plain in plains if plain[0] not in self._routes.of])
            super()._enqueue(plains)
            if for_iteration:
                _given((self.mailbox,))

    def _enqueue_for_iteration(self, plains: list[Plain]) -> None:
        with self.lock:
            wanted = self._still_wanted(plains)
            super()._enqueue_for_iteration(plains)
            if wanted:
                _given((self.mailbox,))


class TimedPatientDelivery(PatientDelivery, TimedDelivery):
    """Reports the duration of each callback, too; see `TimedDelivery`."""


def _given(mailboxes: Iterable[Mailbox]) -> None:
    """Record that something was put into mailboxes."""
    for mailbox in mailboxes:
        if isinstance(mailbox, PatientMailbox):
            mailbox.is_done = False
