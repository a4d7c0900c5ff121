"""Where a Listener's notifications go: to callbacks, here or in workers, and to the iteration."""

from __future__ import annotations

import time
from collections import deque
from itertools import islice, repeat, starmap

from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.report import Reporter
from pgnotify.listener.subscriptions import Routes, Subscription
from pgnotify.listener.watch import ListenerWatch
from pgnotify.listener.workers import Workers
from pgnotify.notification import Notification, Plain, new
from pgnotify.program import actions as p


class Delivery:
    """The front of a Listener's programs: called in the reading thread, but for what is said to be for others.

    Args:
        watch: the listener's memory, with the queue.
        routes: who is called for which channel.
        reporter: is told of what comes in, and of what callbacks raise.
    """

    def __init__(self, watch: ListenerWatch, routes: Routes, reporter: Reporter) -> None:
        self._watch = watch
        self._routes = routes
        self._reporter = reporter
        self.mailbox = Mailbox()
        """What waits for the iteration."""
        self.workers: Workers | None = None
        """Who runs the callbacks; None if the reading thread does."""

    def deliver(self, at_most: int) -> None:
        """Hand out up to ``at_most`` notifications from the head of the queue."""
        queue = self._watch.queue
        plains, before = list(islice(queue, at_most)), len(queue)
        try:
            if self._routes.of and self.workers is None:
                self._call_each(at_most)
            else:
                self._enqueue(plains)
                _drop(queue, at_most)  # at last: a Ctrl-C before loses nothing
        finally:
            self._reporter.count(plains[: before - len(queue)])
            self._reporter.changed()

    def call(self, subscription: Subscription, notification: Notification) -> None:
        """Call a callback; in the reading thread, or a worker."""
        if subscription.cancelled:
            return
        try:
            subscription.callback(notification)
        except Exception as error:
            self._reporter.report(error, notification)

    def tell(self, action: p.ReportTimeout | p.Tell) -> object:
        """Pass on what has happened."""
        assert isinstance(action, p.Tell), "a listener has no time-outs to report"
        return self._reporter.tell(action.what)

    def _call_each(self, at_most: int) -> None:
        """Call the callbacks here: the way of every notification where there are no workers."""
        queue, watch = self._watch.queue, self._watch
        # Each is taken out of the queue just before it is delivered, without a bytecode for that.
        for plain in starmap(queue.popleft, repeat((), at_most)):
            subscriptions = self._routes.of.get(plain[0])
            if subscriptions is None:
                self._enqueue_for_iteration([plain])
                continue
            notification, failure = new(Notification, plain), None
            for subscription in subscriptions:
                if not subscription.cancelled:
                    try:
                        subscription.callback(notification)
                    except Exception as error:
                        failure = failure or self._failure_of(error, notification)
            if failure is not None:
                raise failure
            if watch.interrupted:
                return

    def _failure_of(self, error: Exception, notification: Notification) -> Exception | None:
        """Tell the user of a callback's error; return what is to end the listener, when all callbacks were called."""
        try:
            self._reporter.report(error, notification)
        except Exception as raised:
            return raised
        return None

    def _enqueue(self, plains: list[Plain]) -> None:
        """Put each into the mailboxes where it belongs; nobody is waited for."""
        of = self._routes.of  # once: it may be another one at any moment
        if not of:
            self._enqueue_for_iteration(plains)
            return
        by_channel: dict[str, list[Plain]] = {}
        for plain in plains:
            by_channel.setdefault(plain[0], []).append(plain)
        self._enqueue_for_iteration([plain for plain in plains if plain[0] not in of])
        for channel, those in by_channel.items():
            for subscription in of.get(channel, ()):
                self._enqueue_for(subscription, those)

    def _enqueue_for(self, subscription: Subscription, plains: list[Plain]) -> None:
        if subscription.internal or self.workers is None:
            for plain in plains:
                self.call(subscription, new(Notification, plain))
        else:
            dropped = self.workers.give(subscription, plains, self._watch.queue_complete_until, time.time())
            self._reporter.count_dropped(dropped, [subscription.channel], "its callback is too slow")

    def _enqueue_for_iteration(self, plains: list[Plain]) -> None:
        """Put them into the iteration's mailbox, but for what came in before its channel was unlistened."""
        if not {plain[0] for plain in plains} <= self._routes.wanted_set:
            plains = [plain for plain in plains if plain[0] in self._routes.wanted_set]
        dropped = self.mailbox.put(plains, self._watch.queue_complete_until, time.time())
        if plains:
            self._reporter.count_dropped(dropped, (plain[0] for plain in plains), "nobody iterates, or not fast enough")


def _drop(queue: deque[Plain], count: int) -> None:
    """Remove so many from the head, in C from end to end, where no Ctrl-C can come in between."""
    deque(starmap(queue.popleft, repeat((), count)), maxlen=0)
