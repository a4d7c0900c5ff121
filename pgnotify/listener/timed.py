"""A Delivery that reports the duration of each callback. A listener has it only if its observer wants that."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice, repeat, starmap

from pgnotify.atomic import pops
from pgnotify.listener.delivery import Delivery
from pgnotify.listener.subscriptions import Subscription
from pgnotify.listener.workers import Interruptible
from pgnotify.notification import Plain, new
from pgnotify.program.interruption import is_interruption

clock = time.perf_counter


class TimedDelivery(Delivery):
    """Does the same as `Delivery`, and reads a clock before and after each callback.

    The first reading is made in C, with the step that takes the notification: no signal handler runs between that step
    and the callback.
    """

    def serve(self, subscription: Subscription, queue: deque[Plain], at_most: int, ends: Interruptible) -> None:
        """Do the same as `Delivery.serve`, and report each callback."""
        channel, callback = subscription.channel, subscription.callback
        if subscription.cancelled:
            super().serve(subscription, queue, at_most, ends)
            return
        notifications = map(new, repeat(self.kind), islice(pops(queue), at_most))
        try:
            for started, notification in zip(_moments(), notifications, strict=False):
                callback(notification)
                self._finished(channel, started, None)
                if ends.interrupted or subscription.cancelled:
                    return
        except Exception as error:
            if is_interruption(error):
                raise
            self._finished(channel, started, error)
            self.reporter.report(error, notification)  # the caller has the rest delivered

    def _call_several(self, channels: Iterator[str]) -> None:
        """Deliver the head of the queue only."""
        if subscriptions := self._routes.of.get(next(channels), ()):  # otherwise the caller looks again
            self._call_all(subscriptions)

    def _call_all(self, subscriptions: Sequence[Subscription]) -> None:
        """Do the same as `Delivery._call_all`, and report each callback."""
        queue = self.watch.queue
        plain = queue[0]
        if plain is not self._head:
            self._left = deque(subscriptions)
            self._head = plain
        notification = new(self.kind, plain)
        failure: Exception | None = None
        while self._left:
            try:
                for started, subscription in zip(_moments(), islice(pops(self._left), len(self._left)), strict=False):
                    if not subscription.cancelled:
                        subscription.callback(notification)
                        self._finished(subscription.channel, started, None)
            except Exception as error:
                if is_interruption(error):
                    raise
                self._finished(subscription.channel, started, error)
                failure = failure or self._failure_of(error, notification)
        if queue:  # empty in a child that a callback has forked
            queue.popleft()
        self._head = None
        if failure is not None:
            raise failure

    def _finished(self, channel: str, started: float, error: Exception | None) -> None:
        self.reporter.observed.callback_finished(channel, clock() - started, error)


def _moments() -> Iterator[float]:
    """Yield readings of the clock, each made when it is asked for."""
    return starmap(clock, repeat(()))
