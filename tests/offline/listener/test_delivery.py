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
    assert delivery.reporter.counters.dropped == 1


def test_the_rest_of_a_drain_goes_behind_the_gap_that_waits(delivery):
    delivery.mailbox.size = 1
    deliver(delivery, 2)
    delivery.drop_nothing()

    deliver(delivery, 3)

    assert payloads(map(Notification._make, delivery.mailbox.items)) == ["0"]
    assert len(delivery.mailbox) == 4


class Called:
    """Callbacks that keep the channels of their subscriptions and what they get."""

    def __init__(self, delivery, routes):
        self.seen, self._delivery, self._routes = [], delivery, routes

    def subscribe(self, channel, name="", then=lambda: None):
        def call(notification):
            self.seen.append(f"{name or channel} {notification.channel}{notification.payload}")
            then()

        subscription = Subscription(channel, call, lambda *asking: True, self._routes.remove, Mailbox(10))
        self._routes.add(subscription)
        return subscription

    def deliver(self, *channels):
        """Deliver until the queue is empty, or the watch is interrupted."""
        watch = self._delivery.watch
        watch.queue.extend(note(str(number), channel) for number, channel in enumerate(channels, 1))
        while watch.queue and not watch.interrupted:
            self._delivery.deliver(len(watch.queue))


@pytest.fixture
def called(delivery, routes):
    return Called(delivery, routes)


def test_in_a_mixed_batch_each_callback_gets_those_of_its_channel_in_order(called, delivery, routes):
    for channel in ("a", "b"):
        called.subscribe(channel)
    for name in ("c first", "c second"):
        called.subscribe("c", name)

    called.deliver("a", "b", "jobs", "gone", "b", "c", "a", "b", "b")

    assert called.seen == ["a a1", "b b2", "b b5", "c first c6", "c second c6", "a a7", "b b8", "b b9"]
    assert [plain[:2] for plain in delivery.mailbox.items] == [("jobs", "3")]


@pytest.mark.parametrize(
    ("channels", "seen"),
    [
        (("a", "a", "a"), ["a a1"]),
        (("a", "b", "a", "b"), ["a a1"]),
        (("a", "jobs", "a"), ["a a1"]),
        (("c", "a", "c"), ["c first c1", "c second c1"]),
    ],
)
def test_a_callback_that_interrupts_the_watch_is_the_last_one(called, delivery, channels, seen):
    for channel in ("a", "b"):
        called.subscribe(channel, then=delivery.watch.interrupt)
    for name in ("c first", "c second"):
        called.subscribe("c", name, then=delivery.watch.interrupt)

    called.deliver(*channels)

    assert called.seen == seen
    assert len(delivery.watch.queue) == len(channels) - 1
    assert not delivery.mailbox


@pytest.mark.parametrize("channels", ["bbb", "abab", "babb"])
def test_a_callback_that_is_cancelled_by_another_one_is_not_called_any_more(called, delivery, routes, channels):
    def cancel():
        routes.remove(other)
        delivery.watch.interrupt()  # as every cancellation does

    other = called.subscribe("a")
    called.subscribe("b", then=cancel)
    called.deliver(*channels)
    delivery.watch.interrupted = False
    called.deliver()

    assert [each for each in called.seen if each.startswith("a")] == (["a a1"] if channels[0] == "a" else [])


def test_of_two_callbacks_that_raise_the_first_error_ends_the_listener(routes):
    watch = ListenerWatch(routes.wanted)
    delivery = Delivery(watch, routes, Reporter(Options(on_error="raise"), watch, routes, lambda: None))
    called = Called(delivery, routes)
    called.subscribe("a", "first", then=lambda: 1 / 0)
    called.subscribe("a", "second", then=lambda: {}["absent"])

    with pytest.raises(ZeroDivisionError):
        called.deliver("a")

    assert called.seen == ["first a1", "second a1"]


@pytest.mark.parametrize("behind", ["", "b"])
def test_what_the_first_of_two_callbacks_has_got_is_not_repeated_when_an_interrupted_one_is_cancelled(
    called, routes, behind
):
    def interrupt():
        raise KeyboardInterrupt

    called.subscribe("a", "first")
    second = called.subscribe("a", "second", then=interrupt)
    with pytest.raises(KeyboardInterrupt):
        called.deliver("a", *behind)
    routes.remove(second)

    called.deliver()

    assert called.seen == ["first a1", "second a1"]
