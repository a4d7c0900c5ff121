"""Where a Listener's notifications go: to callbacks, here or in workers, and to the iteration."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, repeat, takewhile
from operator import itemgetter

from pgnotify.atomic import Call, at_once, pops
from pgnotify.listener import clocks
from pgnotify.listener.events import ListenInForce
from pgnotify.listener.gap import Gap, Reason
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.report import Reporter
from pgnotify.listener.subscriptions import Queued, Routes, Subscription
from pgnotify.listener.watch import ListenerWatch
from pgnotify.listener.workers import Interruptible, Workers
from pgnotify.notification import Notification, Plain, new
from pgnotify.program import actions as p
from pgnotify.program.interruption import is_interruption
from pgnotify.program.ownership import is_held_here

# After a long batch, more notifications have probably arrived; reading on costs less than a detour by the iteration.
# There is a limit, so that the first ones do not wait long, and all of them are still in the processor's cache.
LONG_BATCH = 50
ENOUGH = 500

_SLOW_ITERATION = "nobody iterates, or not fast enough"
_SLOW_CALLBACK = "its callback is too slow"

_channel_of = itemgetter(0)


class Delivery:
    """The front of a Listener's programs. It is called in the reading thread, except where a method says otherwise.

    Args:
        watch: the loop's memory, with the queue.
        routes: the subscriptions of each channel.
        reporter: is told of notifications that arrive, and of errors that callbacks raise.
        kind: the class of what is delivered.
    """

    may_drop = True
    """Whether notifications are dropped if there is no room for them."""

    def __init__(
        self, watch: ListenerWatch, routes: Routes, reporter: Reporter, kind: type[Notification] = Notification
    ) -> None:
        self.watch = watch
        self.reporter = reporter
        self.kind = kind
        """The class of what is delivered."""
        self._routes = routes
        self.lock = threading.RLock()
        """Guards what is decided of the mailboxes, until it is done."""
        self.asked: Callable[[], object] = _ignored
        """Called when a consumer has asked for more, if the delivery has to know. The listener sets it."""
        self.mailbox = self.new_mailbox(None)
        """Notifications that wait for the iteration."""
        self._is_dropping = False
        """Whether some of them were dropped since there were last none."""
        self.workers: Workers | None = None
        """The threads that run callbacks; None if the reading thread does."""
        self._head: Plain | None = None
        """The head of the queue, while it is delivered to several subscriptions."""
        self._left: deque[Subscription] = deque()
        """Those of them whose callbacks were not called yet."""
        self._shared: Plain | None = None
        """The latest notification that was put into the mailboxes of streams, if it has any, with all before it."""

    def deliver(self, at_most: int) -> bool:
        """Distribute up to ``at_most`` notifications from the head of the queue.

        Returns:
            Whether the iteration is to take the notifications that wait for it, instead of reading on.
        """
        queue = self.watch.queue
        before = len(queue)
        plains = list(queue if at_most >= before else islice(queue, at_most))
        has_shared = bool(self._routes.queued) and self._share(plains)
        try:
            if self._routes.of and self.workers is None:
                self._call_each(len(plains))
            else:
                self._enqueue(plains)
        finally:
            delivered = before - len(queue)
            self.reporter.counters.received(plains if delivered == len(plains) else plains[:delivered])
            self.reporter.changed()
        mailbox = self.mailbox
        return has_shared or (bool(mailbox) and (len(plains) < LONG_BATCH or len(mailbox) >= ENOUGH))

    def new_mailbox(self, size: int | None) -> Mailbox:
        """Return a mailbox for a consumer; see `Mailbox` for the size."""
        return Mailbox(size, self.lock)

    @property
    def has_streams(self) -> bool:
        """Whether any subscription has a queue of its own, whose consumer is not called here."""
        return bool(self._routes.queued)

    def adopt(self, subscription: Subscription) -> None:
        """Take into account that a subscription was added. Notifications that have arrived before are not its."""

    def drop_nothing(self) -> None:
        """Let the queues of all consumers grow. No more arrives, and everything that has arrived is in memory."""
        for mailbox in (self.mailbox, *(each.mailbox for each in self._routes.subscriptions())):
            mailbox.size = None

    def notify_streams(self) -> None:
        """Have the consumers of all streams check again."""
        for streams in list(self._routes.queued.values()):
            for stream in streams:
                stream.arrived()

    def drop_waiting(self) -> None:
        """Drop what waits for the iteration and in streams."""
        self.mailbox.clear()
        for streams in list(self._routes.queued.values()):
            for stream in streams:
                stream.mailbox.clear()

    def serve(self, subscription: Subscription, queue: deque[Plain], at_most: int, ends: Interruptible) -> None:
        """Call a callback for notifications at the head of a queue, here or in a worker.

        Args:
            subscription: its callback is called, unless it was cancelled.
            queue: of notifications on its channel.
            at_most: how many there are, or fewer.
            ends: the delivery ends early if this is interrupted.
        """
        callback = _nothing if subscription.cancelled else subscription.callback
        # One turn takes a notification and calls the callback; no signal handler runs in between.
        try:
            for notification in map(new, repeat(self.kind), islice(pops(queue), at_most)):
                callback(notification)
                if ends.interrupted or subscription.cancelled:
                    return
        except Exception as error:
            if is_interruption(error):
                raise
            self.reporter.report(error, notification)  # the caller has the rest delivered

    def unread_seconds(self) -> float:
        """Return for how long nobody has read; see `Status.unread`. Any thread may call this."""
        queue = self.mailbox.waiting_since()
        moments = [] if queue is None else [queue]
        if self.workers is not None:
            moments += self.workers.waiting_since()
        streams = [stream.waiting_since() for those in list(self._routes.queued.values()) for stream in those]
        moments += [moment for moment in streams if moment is not None]
        waited = clocks.elapsed() - min(moments) if moments else 0.0
        return max(0.0, waited, self.watch.seconds_unread(time.monotonic()))

    def tell(self, action: p.ReportTimeout | p.Tell) -> object:
        """Pass an event on to the reporter, and its gap to the streams as soon as the user knows."""
        assert isinstance(action, p.Tell), "a listener has no time-outs to report"
        outcome = self.reporter.tell(action.event)
        if isinstance(action.event, ListenInForce) and outcome:
            self.share_gap(action.event.gap)
        return outcome

    def share_gap(self, gap: Gap | None) -> None:
        """Put a gap of the connection into the mailbox of each stream that it concerns."""
        if gap is None or gap.reason is Reason.QUEUE_OVERFLOW or not self._routes.queued:
            return
        for channel in gap.channels:
            streams = [stream for stream in self._routes.queued.get(channel, ()) if stream.is_live]
            its = replace(gap, channels=(channel,))
            for stream in streams:
                if stream.takes_gaps:
                    stream.mailbox.put_gap(its)
                    stream.arrived()

    def holds_a_lock(self) -> bool:
        """Return whether this thread holds a lock that the reading thread or a worker may need to finish."""
        held = is_held_here(self.lock) or self._routes.lock_is_held_here() or self.reporter.log.lock_is_held_here()
        return held or (self.workers is not None and self.workers.lock_is_held_here())

    def forget_in_child(self) -> None:
        """Drop what waits for the user. Called in the child after a fork."""
        self.lock = threading.RLock()
        if self.workers is not None:
            self.workers.forget_in_child()
        self.mailbox.forget_in_child()
        self.reporter.observed.forget_in_child()
        self._routes.forget_in_child()

    def _call_each(self, count: int) -> None:
        """Call the callbacks here. If there are no workers, every notification goes through one of these loops.

        They end early if the watch is interrupted, but deliver at least one: programs deliver until the queue is empty.
        Every cancellation interrupts it.
        """
        of, watch, queue = self._routes.of, self.watch, self.watch.queue
        channels = list(map(_channel_of, islice(queue, count)))
        subscriptions = of.get(channels[0], ())
        if len(subscriptions) == 1 and channels.count(channels[0]) == count and queue[0] is not self._head:
            self.serve(subscriptions[0], queue, count, watch)
            return
        end = len(queue) - count
        position = 0
        while position < count:
            subscriptions = of.get(channels[position], ())
            if len(subscriptions) > 1 or queue[0] is self._head:
                self._call_all(subscriptions)
            elif subscriptions:
                self._call_several(islice(channels, position, None))
            else:
                run = takewhile(lambda channel: channel not in of, islice(channels, position, None))
                self._enqueue_for_iteration(list(islice(queue, len(list(run)))))
            if watch.interrupted:
                return
            position = count - (len(queue) - end)

    def _call_several(self, channels: Iterator[str]) -> None:
        """Deliver notifications at the head of the queue, which are on these channels, while each has one callback."""
        of, watch = self._routes.of, self.watch
        callbacks = []
        for channel in channels:
            subscriptions = of.get(channel, ())
            if len(subscriptions) != 1:
                break
            callbacks.append(subscriptions[0].callback)
        try:
            for callback, notification in zip(callbacks, map(new, repeat(self.kind), pops(watch.queue))):  # noqa: B905
                callback(notification)
                if watch.interrupted:
                    return
        except Exception as error:
            if is_interruption(error):
                raise
            self.reporter.report(error, notification)

    def _call_all(self, subscriptions: Sequence[Subscription]) -> None:
        """Call each callback for the head of the queue, even if others raise.

        Then raise the first error that ends the listener. The head is removed after the last callback: if a signal
        handler interrupts one of them, the others follow when the delivery goes on.
        """
        queue = self.watch.queue
        plain = queue[0]
        if plain is not self._head:
            self._left = deque(subscriptions)
            self._head = plain
        notification = new(self.kind, plain)
        failure: Exception | None = None
        while self._left:
            try:
                for subscription in islice(pops(self._left), len(self._left)):
                    if not subscription.cancelled:
                        subscription.callback(notification)
            except Exception as error:
                if is_interruption(error):
                    raise
                failure = failure or self._failure_of(error, notification)
        if queue:  # empty in a child that a callback has forked
            queue.popleft()
        self._head = None
        if failure is not None:
            raise failure

    def _failure_of(self, error: Exception, notification: Notification) -> Exception | None:
        """Report a callback's error; return the error that ends the listener, None if there is none."""
        try:
            self.reporter.report(error, notification)
        except Exception as raised:
            if is_interruption(raised):
                raise
            return raised
        return None

    def _share(self, plains: list[Plain]) -> bool:
        """Put notifications into the mailboxes of streams, unless that is done. They stay in the queue, for callbacks.

        Args:
            plains: the head of the queue.

        Returns:
            Whether a stream has got any.
        """
        by_channel: dict[str, list[Notification]] = {}
        queued, kind = self._routes.queued, self.kind
        for plain in self._not_shared(plains):
            if plain[0] in queued:
                by_channel.setdefault(plain[0], []).append(new(kind, plain))
        if not by_channel:
            return False
        until, now = self.watch.queue_complete_until, clocks.now()
        streams: list[Queued] = []
        drops: list[tuple[int, list[str], str, Subscription, bool]] = []
        calls: list[Call] = [(setattr, (self, "_shared", plains[-1]))]
        with self.lock:
            for channel, notifications in by_channel.items():
                its = queued.get(channel, ())
                streams += its
                count = len(notifications)
                with_room = []
                for stream in its:
                    mailbox = stream.mailbox
                    if not stream.is_dropping and mailbox.has_room(count, now):
                        with_room.append(mailbox.items)
                        continue
                    was_empty = stream.is_dropping and not mailbox
                    planned, dropped = mailbox.plan(notifications, until, now)
                    calls += planned
                    if dropped or was_empty:
                        stream.is_dropping = bool(dropped)
                        drops.append((dropped, [channel] * dropped, stream.consumer, stream, was_empty))
                calls.append((deque, (map(deque.extend, with_room, repeat(notifications)), 0)))
            at_once(*calls)
        for stream in streams:
            stream.arrived()
        for drop in drops:
            self.reporter.dropped(*drop)
        return True

    def _not_shared(self, plains: list[Plain]) -> list[Plain]:
        """Return those at the head of the queue that `_share` has not seen. It may have seen some that follow, too."""
        shared = self._shared
        for index, plain in enumerate(self.watch.queue):
            if plain is shared:
                return plains[index + 1 :]
        return plains

    def _enqueue(self, plains: list[Plain]) -> None:
        """Move the head of the queue into mailboxes, without waiting for any consumer.

        Args:
            plains: the head of the queue.
        """
        of, workers = self._routes.of, self.workers
        if not of or workers is None:
            self._enqueue_for_iteration(plains)
            return
        by_channel: dict[str, list[Plain]] = {}
        for plain in plains:
            by_channel.setdefault(plain[0], []).append(plain)
        # Looked up once: another thread may subscribe or cancel at any moment.
        routes = {channel: of.get(channel, ()) for channel in by_channel}
        subscriptions = [each for those in routes.values() for each in those if not each.cancelled]
        for subscription in subscriptions:
            if subscription.internal:
                deque(
                    map(subscription.callback, map(new, repeat(self.kind), by_channel[subscription.channel])), maxlen=0
                )
        until, now = self.watch.queue_complete_until, clocks.now()
        for_iteration = self._still_wanted([plain for plain in plains if not routes[plain[0]]])
        drops: list[tuple[int, list[str], str, Subscription | None, bool]] = []
        calls: list[Call] = []
        with self.lock:
            if for_iteration:
                was_empty = not self.mailbox
                calls, dropped = self.mailbox.plan(for_iteration, until, now)
                drops.append((dropped, _last_channels(for_iteration, dropped), _SLOW_ITERATION, None, was_empty))
            for subscription in subscriptions:
                if not subscription.internal:
                    its, mailbox = by_channel[subscription.channel], subscription.mailbox
                    was_empty = not mailbox
                    planned, dropped = mailbox.plan(its, until, now)
                    calls += planned + workers.plan(subscription)
                    drops.append((dropped, _last_channels(its, dropped), _SLOW_CALLBACK, subscription, was_empty))
            at_once(*calls, removal(self.watch.queue, len(plains)))
        for drop in drops:
            self.reporter.dropped(*drop)

    def _enqueue_for_iteration(self, plains: list[Plain]) -> None:
        """Move the head of the queue into the iteration's mailbox."""
        queue, mailbox = self.watch.queue, self.mailbox
        wanted = self._still_wanted(plains)
        if mailbox.size is None and len(wanted) == len(plains) and not mailbox.has_dropped:
            mailbox.items.extend(islice(pops(queue), len(plains)))
            return
        with self.lock:
            now = clocks.now()
            if len(wanted) == len(plains) and not self._is_dropping and mailbox.has_room(len(plains), now):
                mailbox.items.extend(islice(pops(queue), len(plains)))
                return
            was_empty = not mailbox
            calls, dropped = mailbox.plan(wanted, self.watch.queue_complete_until, now)
            at_once(*calls, removal(queue, len(plains)))
        if wanted:
            self._is_dropping = bool(dropped) or (self._is_dropping and not was_empty)
            channels = _last_channels(wanted, dropped) if dropped else ()
            self.reporter.dropped(dropped, channels, _SLOW_ITERATION, None, was_empty)

    def _still_wanted(self, plains: list[Plain]) -> list[Plain]:
        """Return the notifications, except those of channels that are unlistened by now, or that have streams."""
        wanted, queued = self._routes.wanted.channels, self._routes.queued
        channels = set(map(_channel_of, plains))
        if wanted.keys() >= channels and queued.keys().isdisjoint(channels):
            return plains
        return [plain for plain in plains if plain[0] in wanted and plain[0] not in queued]


def _ignored() -> None:
    """Do nothing."""


def _nothing(notification: Notification) -> None:
    """Stand in for the callback of a subscription that was cancelled."""


def _last_channels(plains: list[Plain], count: int) -> list[str]:
    """Return the channel of each of the last ``count`` notifications: a full queue drops those."""
    return [plain[0] for plain in plains[-count:]] if count else []


def removal(queue: deque[Plain], count: int) -> Call:
    """Return the call that removes this many from the head of a queue."""
    return deque, (islice(pops(queue), count), 0)
