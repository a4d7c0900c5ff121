"""The gap of a full queue: told once, in its place, and nothing newer is delivered before that."""

from __future__ import annotations

import threading

import pytest

from pgnotify.listener.gap import Reason
from tests.helpers.listener_fronts import blocking_only, both_fronts
from tests.helpers.listeners import Happened, Watching, its_connection, next_payloads, send
from tests.helpers.notifications import payloads
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = both_fronts


class Stepping:
    """A callback that returns when it is told to, and an on_listening, which both keep what they get."""

    def __init__(self):
        self.seen, self._entered, self._steps = [], threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, notification):
        self.seen.append(notification.payload)
        self._entered.release()
        assert self._steps.acquire(timeout=IN_MEMORY)

    def on_listening(self, event):
        if event.gap is not None:
            self.seen.append(event.gap.dropped if event.gap.reason is Reason.QUEUE_OVERFLOW else str(event.gap.reason))

    def entered(self):
        assert self._entered.acquire(timeout=IN_MEMORY)

    def step(self, count=1):
        self._steps.release(count)


@pytest.fixture
def stepping():
    made = Stepping()
    yield made
    made.step(1000)


def overflowed(listener, stepping, sender, read):
    """Bring a worker to the second notification, with the third, a gap of two, and the sixth behind it."""
    send(sender, 1)
    read(1)
    stepping.entered()
    send(sender, 2, 3, 4, 5)
    read(4)
    stepping.step()
    stepping.entered()
    send(sender, 6)
    read(1)
    assert listener.status().dropped == 2


def reading(listener):
    """Return a function that reads until so many more have arrived, where no other thread does."""
    arrived = []

    def read(count):
        arrived.append(count)
        eventually(
            lambda: list(listener.notifications(timeout=0)) or listener.status().notifications == sum(arrived),
            patience=IN_MEMORY,
        )

    return read


def at_the_gap(listener):
    """Wait until the consumer has reached the gap."""
    eventually(lambda: listener._watch.dropped_gaps, patience=IN_MEMORY)


@blocking_only("who reads")
def test_a_worker_waits_at_a_gap_for_the_next_thread_that_reads(make, sender, stepping):
    listener = make(workers=1, queue_size=2, on_listening=stepping.on_listening)
    listener.subscribe("jobs", stepping)
    with listener:
        overflowed(listener, stepping, sender, reading(listener))
        stepping.step(2)
        at_the_gap(listener)
        assert stepping.seen == ["1", "2", "3"]

        list(listener.notifications(timeout=0))
        stepping.entered()  # at the third
        stepping.entered()
        stepping.step()

    assert stepping.seen == ["1", "2", "3", 2, "6"]


def test_a_worker_waits_at_a_gap_for_the_next_listen(make, server, sender, stepping):
    watching, connecting, go = Watching(), threading.Event(), threading.Event()

    def connect():
        if watching.states.count("listening"):
            connecting.set()
            assert go.wait(IN_MEMORY)
        return server.connect()

    listener = make(source=connect, workers=1, queue_size=2, observer=watching, on_listening=stepping.on_listening)
    listener.subscribe("jobs", stepping)
    listener.start()
    arrived = []

    def read(count):
        arrived.append(count)
        watching.wait_for_notifications(sum(arrived))

    overflowed(listener, stepping, sender, read)
    server.drop_connection(its_connection(server))
    assert connecting.wait(IN_MEMORY)
    stepping.step(2)
    at_the_gap(listener)
    assert stepping.seen == ["1", "2", "3"]
    go.set()
    stepping.entered()
    stepping.entered()

    assert stepping.seen == ["1", "2", "3", "connection lost", 2, "6"]


def test_a_gap_that_waits_for_the_next_listen_holds_up_no_other_subscription(make, server, sender, stepping):
    watching, connecting, go, others = Watching(), threading.Event(), threading.Event(), []

    def connect():
        if watching.states.count("listening"):
            connecting.set()
            assert go.wait(IN_MEMORY)
        return server.connect()

    listener = make(source=connect, workers=1, queue_size=2, observer=watching, on_listening=stepping.on_listening)
    listener.subscribe("jobs", stepping)
    listener.subscribe("other", lambda notification: others.append(notification.payload))
    listener.start()
    send(sender, 1)
    stepping.entered()
    send(sender, 2, 3, 4)
    watching.wait_for_notifications(4)
    send(sender, "a", "b", channel="other")
    watching.wait_for_notifications(6)
    server.drop_connection(its_connection(server))
    assert connecting.wait(IN_MEMORY)
    stepping.step(1000)

    eventually(lambda: others == ["a", "b"], patience=IN_MEMORY)
    at_the_gap(listener)
    assert stepping.seen == ["1", "2", "3"]
    go.set()
    eventually(lambda: stepping.seen == ["1", "2", "3", "connection lost", 1], patience=IN_MEMORY)


@blocking_only("who reads")
def test_a_worker_tells_of_the_gap_at_which_a_stop_finds_it(make, sender, stepping):
    listener = make(workers=1, queue_size=2, on_listening=stepping.on_listening)
    listener.subscribe("jobs", stepping)
    with listener:
        overflowed(listener, stepping, sender, reading(listener))
        stepping.step(2)
        at_the_gap(listener)

        assert listener.stop(IN_MEMORY) is True

    assert stepping.seen == ["1", "2", "3", 2]


@pytest.fixture
def held(make, sender, stepping):
    """A started listener whose thread is in a callback; the iteration has 2, a gap of one, and 4 before it."""
    watching = Watching()
    listener = make("own", queue_size=2, observer=watching, on_listening=stepping.on_listening)
    listener.subscribe("jobs", stepping)
    listener.start()
    send(sender, 1, 2, 3, channel="own")
    watching.wait_for_notifications(3)
    assert next_payloads(listener, 1) == ["1"]
    send(sender, 4, channel="own")
    watching.wait_for_notifications(4)
    send(sender, "held")
    stepping.entered()
    return listener


@blocking_only("held loop")
def test_an_iteration_whose_time_has_passed_yields_nothing_behind_a_gap_that_is_not_told(held, stepping):
    assert payloads(held.notifications(timeout=0)) == ["2"]
    assert payloads(held.notifications(timeout=0)) == []
    assert payloads(held.notifications(timeout=0.01)) == []
    assert held.status().queued == 1

    stepping.step()
    stepping.seen += next_payloads(held, 1)

    assert stepping.seen == ["held", 1, "4"]


@blocking_only("held loop")
def test_a_hint_does_not_jump_a_gap_that_is_not_told(held, stepping):
    assert held.wait_or_poll(0, 0).payload == "2"
    assert held.wait_or_poll(0, 0) is None

    stepping.step()

    assert held.wait_or_poll(IN_MEMORY, IN_MEMORY).dropped == 1
    assert stepping.seen == ["held", 1]


@blocking_only("held loop")
def test_a_gap_that_was_told_after_the_time_had_passed_is_not_told_again(held, stepping):
    assert payloads(held.notifications(timeout=0)) == ["2"]
    stepping.step()
    eventually(lambda: held.status().gaps == 1, patience=IN_MEMORY)

    assert next_payloads(held, 1) == ["4"]
    assert stepping.seen == ["held", 1]


@blocking_only("held loop")
def test_of_two_threads_that_come_to_a_gap_none_goes_past_it_and_it_is_told_once(held, stepping):
    assert next_payloads(held, 1) == ["2"]
    iterations = [held.notifications(timeout=0), held.notifications(timeout=0)]

    assert [payloads(each) for each in iterations] == [[], []]
    stepping.step()
    assert next_payloads(held, 1) == ["4"]

    assert stepping.seen == ["held", 1]
    assert len(held._delivery.mailbox) == 0
    assert not held._delivery.mailbox


@blocking_only("held loop")
def test_a_stop_with_drain_leaves_the_gap_to_the_iteration(held, stepping):
    iteration = held.notifications()
    assert next(iteration).payload == "2"
    stepping.step()

    assert held.stop(IN_MEMORY, drain=True) is True
    stepping.seen += payloads(iteration)

    assert stepping.seen == ["held", 1, "4"]


def test_a_slow_subscription_beside_a_quick_one_is_warned_of_once(make, sender, stepping, caplog):
    quick = Happened()
    listener = make(workers=2, queue_size=2)
    listener.subscribe("jobs", stepping)
    listener.subscribe("quick", quick.append)
    with listener:
        for number in range(20):
            send(sender, number)
            send(sender, number, channel="quick")
            assert list(listener.notifications(timeout=0)) == []
            quick.wait_for(number + 1)
        assert listener.status().dropped == 17

        assert [record.getMessage() for record in caplog.records] == [
            "pgnotify: a queue is full, and notifications of 'jobs' are dropped: its callback is too slow"
        ]
        stepping.step(1000)
