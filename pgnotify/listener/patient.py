"""What a listener with an outbox has in place of bounded queues: nothing is dropped.

The table is read on only when the consumers have room.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import islice, repeat

from pgnotify.atomic import Call, at_once, pops
from pgnotify.listener import clocks
from pgnotify.listener.delivery import Delivery, removal
from pgnotify.listener.gap import Moment
from pgnotify.listener.mailbox import Mailbox, Overflow
from pgnotify.listener.report import Reporter
from pgnotify.listener.subscriptions import Queued, Routes, Subscription
from pgnotify.listener.timed import TimedDelivery
from pgnotify.listener.watch import ListenerWatch
from pgnotify.listener.workers import Interruptible
from pgnotify.notification import Notification, Plain, new

# More than are delivered before the consumers have to be done with them.
MOST_ABANDONED = 10_000


class PatientMailbox(Mailbox):
    """A mailbox that drops nothing, and knows whether its consumer has asked for more than it has.

    Args:
        size: how many messages may wait before no more are read; None for any number.
        lock: as in `Mailbox`.
        asked: called when the consumer has asked for more.
        left: called with the ids of messages that the consumer is not done with, when it is gone.
    """

    def __init__(
        self,
        size: int | None,
        lock: AbstractContextManager[object],
        asked: Callable[[], object],
        left: Callable[[list[int]], object],
    ) -> None:
        super().__init__(size, lock)
        self._asked = asked
        self._left = left
        self.is_done = True
        """Whether the consumer is done with everything that was put in. It changes under the lock."""
        self.has_consumer = False
        """Whether a consumer has ever asked for anything."""
        self._given: deque[int] = deque()
        """The ids of what was put in since then, and perhaps taken."""
        self._put_down_before: object = None
        """The item that waited first when the consumer was done with everything before it."""

    def has_room(self, count: int, now: Moment) -> bool:
        """Return True: there is always room for what was read."""
        super().has_room(count, now)
        return True

    def overflow(self) -> Overflow | None:
        """Take into account that the consumer asks for more, as it finds nothing here. There is no overflow."""
        with self.lock:
            if self.items or (self.is_done and self.has_consumer):
                return None
            self.is_done = self.has_consumer = True
            self._given.clear()
        self._asked()
        return None

    @property
    def has_overflow(self) -> bool:
        """False, for a consumer that asks; see `overflow`."""
        self.overflow()
        return False

    def given(self, plains: Iterable[Plain], waiting: int) -> None:
        """Record messages that are put in. The caller holds the lock, until they are.

        Args:
            plains: the messages.
            waiting: how many items wait before them.
        """
        self.is_done = False
        while len(self._given) > waiting + 1:
            self._given.popleft()
        self._given += ids_of(plains)

    def plan(self, plains: Sequence[Plain], complete_until: Moment, now: Moment) -> tuple[list[Call], int]:
        """Do the same as `Mailbox.plan`, without a limit."""
        planned = super().plan(plains, complete_until, now)
        if plains:
            self.given(plains, len(self.items))
        return planned

    def put_down(self) -> None:
        """Do the same as `Mailbox.put_down`. If nothing waits, the consumer is done with everything."""
        with self.lock, suppress(IndexError):
            self._put_down_before = self.items[0]
        self.overflow()

    def undone(self) -> list[int]:
        """Return the ids of the messages that wait, and of the one that the consumer has in hand, if it has one."""
        with self.lock:
            waiting = list(self.items)
            in_hand = not waiting or waiting[0] is not self._put_down_before
            return list(self._given)[-len(waiting) - in_hand :]

    def take_out(self, channel: str) -> list[Plain]:
        """Remove the messages of a channel that wait, and return them, for another consumer."""
        with self.lock:
            waiting: list[Plain] = []
            with suppress(IndexError):  # at the end; another thread may take some, too
                waiting.extend(pops(self.items))
            taken = [plain for plain in waiting if plain[0] == channel]
            self.items.extend(plain for plain in waiting if plain[0] != channel)
            ids = set(ids_of(taken))
            self._given = deque(number for number in self._given if number not in ids)
            self.is_done = self.is_done or not self._given
            return taken

    def clear(self) -> None:
        """Remove everything, because the consumer is gone."""
        self._left(self.undone())
        super().clear()


class PatientDelivery(Delivery):
    """A delivery that knows whether the consumers are done with everything, or have room for more.

    Args:
        watch, routes, reporter, kind: as in `Delivery`.
    """

    may_drop = False

    _begun: tuple[list[Plain], int] | None = None
    """The messages that are being delivered, and how long the queue was at first; it stays if a callback raises."""
    _worker_failed = False
    """Whether a callback has raised in a worker, which ends the listener."""

    def __init__(
        self, watch: ListenerWatch, routes: Routes, reporter: Reporter, kind: type[Notification] = Notification
    ) -> None:
        self._abandoned: deque[int] = deque(maxlen=MOST_ABANDONED)
        """The ids of messages that consumers were not done with when they went."""
        self._returned: deque[Plain] = deque()
        """Messages that waited for the iteration, for callbacks that were added since then."""
        super().__init__(watch, routes, reporter, kind)

    def new_mailbox(self, size: int | None) -> PatientMailbox:
        """Return a mailbox that drops nothing."""
        return PatientMailbox(size, self.lock, lambda: self.asked(), self._abandoned.extend)

    def deliver(self, at_most: int) -> bool:
        """Do the same as `Delivery.deliver`."""
        queue = self.watch.queue
        self.take_back()
        self._begun = list(islice(queue, at_most)), len(queue)
        outcome = super().deliver(at_most)
        self._begun = None
        return outcome

    def adopt(self, subscription: Subscription) -> None:
        """Give a subscription that was added the messages on its channel that wait for the iteration."""
        with self.lock:
            plains = self.mailbox.take_out(subscription.channel)  # type: ignore[attr-defined]
            mailbox = subscription.mailbox
            if plains and isinstance(subscription, Queued) and isinstance(mailbox, PatientMailbox):
                mailbox.given(plains, len(mailbox.items))
                mailbox.items.extend(map(new, repeat(self.kind), plains))
            else:
                self._returned.extend(plains)
        if plains:
            subscription.arrived() if isinstance(subscription, Queued) else self.asked()

    def take_back(self) -> bool:
        """Return messages to the head of the queue that `adopt` was called for; return whether there were any."""
        if not self._returned:
            return False
        with self.lock:
            self.watch.queue.extendleft(reversed(self._returned))
            self._returned.clear()
        return True

    def serve(self, subscription: Subscription, queue: deque[Plain], at_most: int, ends: Interruptible) -> None:
        """Do the same as `Delivery.serve`."""
        try:
            super().serve(subscription, queue, at_most, ends)
        except BaseException:
            self._worker_failed = self.workers is not None
            raise

    def is_done(self) -> bool:
        """Return whether all consumers are done with everything that was delivered, and ask for more.

        Each channel must have one. Otherwise its messages would be passed over if a stream is opened a moment later.
        """
        if (
            self.watch.queue
            or self._returned
            or self._worker_failed
            or (self.workers is not None and not self.workers.is_idle)
        ):
            return False
        return all(mailbox.is_done for mailbox in self._mailboxes()) and self._all_are_consumed()

    def _all_are_consumed(self) -> bool:
        """Return whether each wanted channel has a callback or a stream, or the iteration has begun."""
        if self.mailbox.has_consumer:  # type: ignore[attr-defined]
            return True
        called, queued = self._routes.of, self._routes.queued
        return all(channel in called or channel in queued for channel in list(self._routes.wanted.channels))

    def has_room(self) -> bool:
        """Return whether all consumers have room for more."""
        limits = [(len(mailbox), mailbox.size) for mailbox in self._mailboxes()]
        return not (self.watch.queue or self._returned) and all(
            size is None or waiting < size for waiting, size in limits
        )

    def discard(self) -> None:
        """Drop what waits for the iteration, for which it is read once more."""
        with self.lock:
            self.watch.queue.clear()
            self.mailbox.items.clear()
        self.mailbox.overflow()

    def undone(self) -> Collection[int] | None:
        """Return the ids of messages that the consumers are not done with; None if they are not known."""
        if self.workers is not None and (self._worker_failed or not self.workers.is_idle):
            return None
        undone = {*ids_of(self.watch.queue), *ids_of(self._returned), *self._interrupted(), *self._abandoned}
        return undone.union(*(mailbox.undone() for mailbox in self._mailboxes()))

    def _interrupted(self) -> list[int]:
        """Return the id of the message whose callback was interrupted, if one was."""
        if self._begun is None:
            return []
        plains, length = self._begun
        called = length - len(self.watch.queue)
        return ids_of(plains[max(0, called - 1) : called])

    def _mailboxes(self) -> Iterator[PatientMailbox]:
        yield self.mailbox  # type: ignore[misc]
        for each in self._routes.subscriptions():
            if isinstance(each.mailbox, PatientMailbox):
                yield each.mailbox

    # A consumer needs the lock to say that it is done.

    def _share(self, plains: list[Plain]) -> bool:
        by_channel: dict[str, list[Plain]] = {}
        for plain in self._not_shared(plains):
            by_channel.setdefault(plain[0], []).append(plain)
        with self.lock:
            has_shared = super()._share(plains)
            for channel, its in by_channel.items():
                for stream in self._routes.queued.get(channel, ()):
                    if isinstance(stream.mailbox, PatientMailbox):  # that of one that was cancelled just now is not
                        stream.mailbox.given(its, max(0, len(stream.mailbox.items) - len(its)))
        return has_shared

    def _enqueue(self, plains: list[Plain]) -> None:
        if self.workers is not None:
            self._abandon_unwanted(plains)
        super()._enqueue(plains)

    def _abandon_unwanted(self, plains: list[Plain]) -> None:
        """Record messages that are dropped because their last consumer was cancelled just now."""
        channels = self._routes.wanted.channels
        self._abandoned.extend(ids_of(plain for plain in plains if plain[0] not in channels))

    def _enqueue_for_iteration(self, plains: list[Plain]) -> None:
        with self.lock:
            self._abandon_unwanted(plains)
            calls, _ = self.mailbox.plan(self._still_wanted(plains), self.watch.queue_complete_until, clocks.now())
            at_once(*calls, removal(self.watch.queue, len(plains)))


class TimedPatientDelivery(PatientDelivery, TimedDelivery):
    """Reports the duration of each callback, too; see `TimedDelivery`."""


def ids_of(plains: Iterable[Plain]) -> list[int]:
    """Return the ids of those that are messages."""
    return [plain[3] for plain in plains if len(plain) > 3]  # type: ignore[misc]
