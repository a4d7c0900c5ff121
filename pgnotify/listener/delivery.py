"""Where a Listener's notifications go: to callbacks, here or in workers, and to the iteration."""

from __future__ import annotations

from collections import deque
from itertools import islice, repeat, starmap
from operator import itemgetter

from pgnotify.listener import clocks
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.report import Reporter
from pgnotify.listener.subscriptions import Routes, Subscription
from pgnotify.listener.watch import ListenerWatch
from pgnotify.listener.workers import Workers
from pgnotify.notification import Notification, Plain, new
from pgnotify.program import actions as p

# After a long batch, more notifications have probably arrived; reading on costs less than a detour by the iteration.
# There is a limit, so that the first ones do not wait long, and all of them are still in the processor's cache.
LONG_BATCH = 50
ENOUGH = 500

_channel_of = itemgetter(0)


class Delivery:
    """The front of a Listener's programs. It is called in the reading thread, except where a method says otherwise.

    Args:
        watch: the loop's memory, with the queue.
        routes: the subscriptions of each channel.
        reporter: is told of notifications that arrive, and of errors that callbacks raise.
    """

    def __init__(self, watch: ListenerWatch, routes: Routes, reporter: Reporter) -> None:
        self.watch = watch
        self.reporter = reporter
        self._routes = routes
        self.mailbox = Mailbox()
        """Notifications that wait for the iteration."""
        self.workers: Workers | None = None
        """The threads that run callbacks; None if the reading thread does."""

    def deliver(self, at_most: int) -> bool:
        """Distribute up to ``at_most`` notifications from the head of the queue.

        Returns:
            Whether the iteration is to take the notifications that wait for it, instead of reading on.
        """
        queue = self.watch.queue
        before = len(queue)
        plains = list(queue if at_most >= before else islice(queue, at_most))
        try:
            if self._routes.of and self.workers is None:
                self._call_each(plains)
            else:
                self._enqueue(plains)
                _drop(queue, len(plains))  # last: an earlier Ctrl-C loses nothing
        finally:
            delivered = before - len(queue)
            self.reporter.counters.received(plains if delivered == len(plains) else plains[:delivered])
            self.reporter.changed()
        mailbox = self.mailbox
        return bool(mailbox) and (len(plains) < LONG_BATCH or len(mailbox) >= ENOUGH)

    def drop_nothing(self) -> None:
        """Let the queues of all consumers grow. No more arrives, and everything that has arrived is in memory."""
        for mailbox in (self.mailbox, *(each.mailbox for each in self._routes.subscriptions())):
            mailbox.size = None

    def call(self, subscription: Subscription, notification: Notification) -> None:
        """Call a callback, in the reading thread or in a worker."""
        if subscription.cancelled:
            return
        try:
            subscription.callback(notification)
        except Exception as error:
            self.reporter.report(error, notification)

    def tell(self, action: p.ReportTimeout | p.Tell) -> object:
        """Pass an event on to the reporter."""
        assert isinstance(action, p.Tell), "a listener has no time-outs to report"
        return self.reporter.tell(action.event)

    def forget_in_child(self) -> None:
        """Drop what waits for the user. Called in the child after a fork."""
        self.mailbox.forget_in_child()
        self._routes.forget_in_child()

    def _call_each(self, plains: list[Plain]) -> None:
        """Call the callbacks here. If there are no workers, every notification goes through one of these loops.

        The loops end early if the watch is interrupted. Every cancellation interrupts it.
        """
        channel, of = plains[0][0], self._routes.of
        subscriptions = of.get(channel, ())
        if len(subscriptions) == 1 and list(map(_channel_of, plains)).count(channel) == len(plains):
            self._call_one(subscriptions[0], len(plains))
            return
        watch = self.watch
        # Each is taken from the queue just before it is delivered, without executing a bytecode for that.
        for plain in starmap(watch.queue.popleft, repeat((), len(plains))):
            if subscriptions := of.get(plain[0], ()):
                self._call_all(subscriptions, new(Notification, plain))
            else:
                self._enqueue_for_iteration([plain])
            if watch.interrupted:
                return

    def _call_one(self, subscription: Subscription, count: int) -> None:
        """Call one callback for this many notifications from the head of the queue. All of them are on its channel."""
        watch, callback = self.watch, subscription.callback
        notification: Notification
        try:
            for plain in starmap(watch.queue.popleft, repeat((), count)):
                notification = new(Notification, plain)
                callback(notification)
                if watch.interrupted:
                    return
        except Exception as error:
            self.reporter.report(error, notification)  # the loop delivers the rest

    def _call_all(self, subscriptions: tuple[Subscription, ...], notification: Notification) -> None:
        """Call each callback, even if others raise; then raise the first error that ends the listener."""
        failure: Exception | None = None
        for subscription in subscriptions:
            if not subscription.cancelled:
                try:
                    subscription.callback(notification)
                except Exception as error:
                    failure = failure or self._failure_of(error, notification)
        if failure is not None:
            raise failure

    def _failure_of(self, error: Exception, notification: Notification) -> Exception | None:
        """Report a callback's error; return the error that ends the listener, None if there is none."""
        try:
            self.reporter.report(error, notification)
        except Exception as raised:
            return raised
        return None

    def _enqueue(self, plains: list[Plain]) -> None:
        """Put notifications into their mailboxes, without waiting for any consumer."""
        of = self._routes.of
        if not of:
            self._enqueue_for_iteration(plains)
            return
        by_channel: dict[str, list[Plain]] = {}
        for plain in plains:
            by_channel.setdefault(plain[0], []).append(plain)
        # Looked up once: another thread may subscribe or cancel at any moment.
        routes = {channel: of.get(channel) for channel in by_channel}
        self._enqueue_for_iteration([plain for plain in plains if routes[plain[0]] is None])
        for channel, subscriptions in routes.items():
            for subscription in subscriptions or ():
                self._enqueue_for(subscription, by_channel[channel])

    def _enqueue_for(self, subscription: Subscription, plains: list[Plain]) -> None:
        if subscription.internal or self.workers is None:
            for plain in plains:
                self.call(subscription, new(Notification, plain))
        else:
            dropped = self.workers.give(subscription, plains, self.watch.queue_complete_until, clocks.now())
            self.reporter.dropped(dropped, [subscription.channel], "its callback is too slow")

    def _enqueue_for_iteration(self, plains: list[Plain]) -> None:
        """Put notifications into the iteration's mailbox, except those of channels that are unlistened by now."""
        wanted = self._routes.channels
        if not wanted.keys() >= set(map(_channel_of, plains)):
            plains = [plain for plain in plains if plain[0] in wanted]
        dropped = self.mailbox.put(plains, self.watch.queue_complete_until, clocks.now())
        if plains:
            self.reporter.dropped(dropped, map(_channel_of, plains), "nobody iterates, or not fast enough")


def _drop(queue: deque[Plain], count: int) -> None:
    """Remove this many from the head. It is done in C, where a Ctrl-C cannot interrupt it."""
    if count >= len(queue):
        queue.clear()
    else:
        deque(starmap(queue.popleft, repeat((), count)), maxlen=0)
