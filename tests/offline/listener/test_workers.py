"""Threads that run the callbacks: in order for each subscription, at once for several, and to an end."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from itertools import islice

import pytest

from pgnotify.atomic import at_once, pops
from pgnotify.listener.gap import Moment
from pgnotify.listener.mailbox import Mailbox, Overflow
from pgnotify.listener.subscriptions import Subscription
from pgnotify.listener.workers import TURN, Workers
from pgnotify.notification import Notification
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY

NOW = Moment(0.0, 0.0)
LOCK = threading.Lock()
"""That of the mailboxes, and of the workers."""


class Calls:
    """What the workers have called, and a way to hold them up."""

    def __init__(self):
        self.seen = []
        self.announced = []
        self.failed = []
        self.happened = threading.Condition()
        self.released = threading.Event()
        self.released.set()
        self.entered = threading.Semaphore(0)
        self.channels_entered = []

    def serve(self, subscription, queue, at_most, ends):
        for notification in map(Notification._make, islice(pops(queue), at_most)):
            self.call(subscription, notification)
            if ends.interrupted:
                return

    def call(self, subscription, notification):
        self.channels_entered.append(subscription.channel)
        self.entered.release()
        assert self.released.wait(IN_MEMORY)
        with self.happened:
            self.seen.append((subscription.channel, notification.payload, threading.get_ident()))
            self.happened.notify_all()

    def announce(self, overflow, unless):
        with self.happened:
            self.seen.append(("gap", str(overflow.gap().dropped), threading.get_ident()))
            self.announced.append(overflow)
            self.happened.notify_all()
        return True

    def wait_for(self, count):
        with self.happened:
            assert self.happened.wait_for(lambda: len(self.seen) >= count, IN_MEMORY)

    def payloads(self, channel):
        return [payload for each, payload, _ in self.seen if each == channel]


@pytest.fixture
def calls():
    return Calls()


@contextmanager
def workers(count, calls):
    made = Workers(count, "test", LOCK, calls.serve, calls.announce, calls.failed.append)
    try:
        yield made
    finally:
        calls.released.set()
        assert made.close(drain=False, deadline=time.monotonic() + IN_MEMORY)


def subscription(channel="jobs", size=1000):
    return Subscription(channel, print, lambda channel, timeout: True, lambda each: None, Mailbox(size, LOCK))


def give(some, to, *payloads):
    with some._lock:
        calls, dropped = to.mailbox.plan([(to.channel, str(payload), 7) for payload in payloads], NOW, NOW)
        at_once(*calls, *some.plan(to))
    return dropped


def test_a_callback_is_called_in_a_worker(calls):
    with workers(1, calls) as some:
        give(some, subscription(), 1)
        calls.wait_for(1)

    assert calls.payloads("jobs") == ["1"]
    assert calls.seen[0][2] != threading.get_ident()


def test_the_threads_are_named_after_the_listener(calls):
    with workers(2, calls):
        names = {thread.name for thread in threading.enumerate()}

    assert {"test worker 1", "test worker 2"} <= names


@pytest.mark.parametrize("count", [1, 4])
def test_each_subscription_is_served_in_order(calls, count):
    subscriptions = [subscription("a"), subscription("b")]
    with workers(count, calls) as some:
        for number in range(3 * TURN):
            for each in subscriptions:
                give(some, each, number)
        calls.wait_for(6 * TURN)

    assert calls.payloads("a") == calls.payloads("b") == [str(number) for number in range(3 * TURN)]


def test_two_subscriptions_are_served_at_once(calls):
    calls.released.clear()
    with workers(2, calls) as some:
        give(some, subscription("a"), 1)
        give(some, subscription("b"), 1)

        assert calls.entered.acquire(timeout=IN_MEMORY)
        assert calls.entered.acquire(timeout=IN_MEMORY)


def test_one_subscription_is_served_by_one_worker_at_a_time(calls):
    calls.released.clear()
    with workers(3, calls) as some:
        jobs = subscription("jobs")
        give(some, jobs, 1)
        assert calls.entered.acquire(timeout=IN_MEMORY)
        give(some, jobs, 2)
        for channel in ("one more", "and one"):  # which the other workers take, and so have looked
            give(some, subscription(channel), 1)
            assert calls.entered.acquire(timeout=IN_MEMORY)

        assert calls.channels_entered == ["jobs", "one more", "and one"]


def test_a_busy_subscription_lets_the_others_have_a_turn(calls):
    calls.released.clear()
    with workers(1, calls) as some:
        give(some, subscription("busy"), *range(3 * TURN))
        give(some, subscription("patient"), 1)
        calls.released.set()
        calls.wait_for(3 * TURN + 1)

    assert [channel for channel, _, _ in calls.seen].index("patient") == TURN


def test_what_is_dropped_is_returned_and_announced_in_its_place(calls):
    calls.released.clear()
    jobs = subscription(size=2)
    with workers(1, calls) as some:
        give(some, jobs, 1)
        assert calls.entered.acquire(timeout=IN_MEMORY)

        assert give(some, jobs, 2, 3, 4, 5) == 2
        calls.released.set()
        calls.wait_for(4)
        give(some, jobs, 6)
        calls.wait_for(5)

    assert [payload for _, payload, _ in calls.seen] == ["1", "2", "3", "2", "6"]
    assert isinstance(calls.announced[0], Overflow)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_worker_at_a_gap_serves_the_others_first_and_then_waits_there(calls, rounds):
    """It waits without asking again and again, and what follows the gap waits with it."""
    waiting, told = threading.Semaphore(0), threading.Semaphore(0)

    def announce(overflow, unless):
        if unless():
            return False
        waiting.release()
        assert told.acquire(timeout=IN_MEMORY)
        return Calls.announce(calls, overflow, unless)

    calls.announce = announce
    with workers(1, calls) as some:
        for number in range(rounds):
            calls.released.clear()
            jobs = subscription(f"jobs {number}", size=2)
            give(some, jobs, 1)
            assert calls.entered.acquire(timeout=IN_MEMORY)
            assert give(some, jobs, 2, 3, 4) == 1
            jobs.mailbox.size = 4
            assert give(some, jobs, 5) == 0
            give(some, subscription(f"other {number}"), 1)
            calls.released.set()
            assert waiting.acquire(timeout=IN_MEMORY)
            told.release()
            calls.wait_for(6 * (number + 1))
            for _ in range(4):  # 2, 3, 5 and that of the other
                assert calls.entered.acquire(timeout=IN_MEMORY)

    expected = [("jobs", "1"), ("jobs", "2"), ("jobs", "3"), ("other", "1"), ("gap", "1"), ("jobs", "5")]
    assert [(channel.split()[0], payload) for channel, payload, _ in calls.seen] == expected * rounds


def test_closed_with_drain_it_delivers_what_waits(calls):
    calls.released.clear()
    some = Workers(1, "test", LOCK, calls.serve, calls.announce, calls.failed.append)
    give(some, subscription(), 1, 2, 3)
    assert calls.entered.acquire(timeout=IN_MEMORY)
    closing = Running(lambda: some.close(drain=True, deadline=time.monotonic() + IN_MEMORY))
    calls.released.set()

    assert closing.ended() is True
    assert calls.payloads("jobs") == ["1", "2", "3"]


def test_closed_without_drain_it_ends_after_the_callback_that_runs(calls):
    calls.released.clear()
    some = Workers(1, "test", LOCK, calls.serve, calls.announce, calls.failed.append)
    give(some, subscription(), 1, 2, 3)
    assert calls.entered.acquire(timeout=IN_MEMORY)

    assert some.close(drain=False, deadline=time.monotonic()) is False  # the callback runs
    calls.released.set()

    assert some.close(drain=False, deadline=time.monotonic() + IN_MEMORY) is True
    assert calls.payloads("jobs") == ["1"]


def test_a_drain_that_takes_too_long_is_given_up(calls):
    calls.released.clear()
    some = Workers(1, "test", LOCK, calls.serve, calls.announce, calls.failed.append)
    give(some, subscription(), 1, 2)
    assert calls.entered.acquire(timeout=IN_MEMORY)

    assert some.close(drain=True, deadline=time.monotonic()) is False
    calls.released.set()

    assert some.close(drain=False, deadline=time.monotonic() + IN_MEMORY) is True
    assert calls.payloads("jobs") == ["1"]


def test_a_worker_that_closes_does_not_wait_for_itself(calls):
    results = []
    calls.call = lambda *_: results.append(some.close(False, time.monotonic() + IN_MEMORY))
    some = Workers(1, "test", LOCK, calls.serve, calls.announce, calls.failed.append)
    give(some, subscription(), 1)

    assert some.close(drain=True, deadline=time.monotonic() + IN_MEMORY) is True
    assert results == [False]


def test_what_comes_just_when_a_worker_has_found_nothing_more_is_not_forgotten(calls):
    """It is scheduled still, so that the reader leaves it to the worker, which must look once more."""
    jobs = subscription()

    class Lock:
        """Taken first by the reader, for 1, and then by the worker that has found nothing behind it."""

        def __init__(self):
            self.lock, self.taken = LOCK, 0

        def __enter__(self):
            self.taken += 1
            if self.taken == 2:
                give(some, jobs, 2)
            self.lock.acquire()

        def __exit__(self, *error):
            self.lock.release()

    with workers(1, calls) as some:
        some._lock = Lock()
        give(some, jobs, 1)
        calls.wait_for(2)

    assert calls.payloads("jobs") == ["1", "2"]
