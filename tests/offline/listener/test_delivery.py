"""When the iteration gets the notifications that wait for it, and when the reading thread reads on."""

from __future__ import annotations

import pytest

from pgnotify.listener.delivery import ENOUGH, LONG_BATCH, Delivery
from pgnotify.listener.gap import Moment, Period, utc
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.options import Options
from pgnotify.listener.report import Reporter
from pgnotify.listener.subscriptions import Routes, Subscription
from pgnotify.listener.watch import ListenerWatch
from pgnotify.notification import Notification
from tests.helpers.notifications import note, payloads


@pytest.fixture
def routes():
    return Routes(("jobs",))


@pytest.fixture
def delivery(routes):
    watch = ListenerWatch(routes.wanted)
    return Delivery(watch, routes, Reporter(Options(), watch, routes, lambda: None))


def deliver(delivery, count):
    """Deliver a batch; return the outcome."""
    delivery.watch.queue.extend(note(str(number)) for number in range(count))
    return delivery.deliver(count)


@pytest.mark.parametrize("count", [1, LONG_BATCH - 1])
def test_after_a_short_batch_the_iteration_goes_on(delivery, count):
    assert deliver(delivery, count) is True


def test_after_long_batches_it_reads_on_until_there_are_enough(delivery):
    outcomes = [deliver(delivery, 100) for _ in range(ENOUGH // 100)]

    assert outcomes == [False] * (ENOUGH // 100 - 1) + [True]
    assert len(delivery.mailbox) == ENOUGH


def test_a_callback_that_cancels_itself_gets_no_more_of_the_batch(delivery, routes):
    received = []

    def call(notification):
        received.append(notification.payload)
        routes.remove(subscription)
        delivery.watch.interrupt()  # as every cancellation does

    subscription = Subscription("jobs", call, lambda *asking: True, routes.remove, Mailbox(10))
    routes.add(subscription)

    assert deliver(delivery, 3) is False
    assert received == ["0"]
    assert len(delivery.watch.queue) == 2


class Idle:
    """Workers that serve nobody."""

    def plan(self, subscription):
        return []


@pytest.mark.parametrize("consumer", ["iteration", "iteration beside workers", "worker"])
def test_the_gap_of_a_full_queue_begins_before_its_notifications_were_fetched(delivery, routes, consumer):
    mailbox = delivery.mailbox if "iteration" in consumer else Mailbox(1, delivery.lock)
    mailbox.size = 1
    if "worker" in consumer:
        delivery.workers = Idle()
        channel = "jobs" if mailbox is not delivery.mailbox else "other"
        routes.add(Subscription(channel, print, lambda *asking: True, routes.remove, mailbox))
    delivery.watch.queue_complete_until = Moment(100.0, 100.0)
    delivery.watch.link.unproved = Period(Moment(200.0, 200.0))  # an answer that came after they were fetched

    deliver(delivery, 2)
    mailbox.items.clear()

    assert mailbox.overflow().gap().lost_at == utc(100.0)


def test_the_rest_of_a_drain_goes_behind_the_gap_that_waits(delivery):
    delivery.mailbox.size = 1
    deliver(delivery, 2)
    delivery.drop_nothing()

    deliver(delivery, 3)

    assert payloads(map(Notification._make, delivery.mailbox.items)) == ["0"]
    assert len(delivery.mailbox) == 4
