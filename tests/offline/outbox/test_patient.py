"""Consumers with an outbox: nothing is dropped, and it is known which messages they are not done with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pgnotify.atomic import pops
from pgnotify.listener.options import Options
from pgnotify.listener.patient import PatientDelivery
from pgnotify.listener.report import Reporter
from pgnotify.listener.subscriptions import Queued, Routes, Subscription
from pgnotify.listener.watch import ListenerWatch
from pgnotify.listener.workers import Workers
from pgnotify.message import Message


class Consuming:
    """A delivery with an iteration for "own", and whichever consumers a test adds."""

    def __init__(self) -> None:
        self.routes = Routes(("own",))
        self.watch = ListenerWatch(self.routes.wanted)
        reporter = Reporter(Options(on_error="raise"), self.watch, self.routes, lambda: None)
        self.delivery = PatientDelivery(self.watch, self.routes, reporter, Message)
        self.delivery.mailbox.has_consumer = True  # the iteration has begun
        self.asked = 0
        self.delivery.asked = self._count

    def _count(self) -> None:
        self.asked += 1

    def callback(self, channel: str, call: Callable[[Any], object]) -> None:
        mailbox = self.delivery.new_mailbox(9)
        self.routes.add(Subscription(channel, call, lambda *_: True, self.routes.remove, mailbox))

    def stream(self, channel: str) -> Queued:
        cancel, mailbox = self.routes.remove, self.delivery.new_mailbox(9)
        options = {"arrived": _nothing, "takes_gaps": True, "consumer": ""}
        stream = Queued(channel, _nothing, lambda *_: True, cancel, mailbox, **options)
        self.routes.add(stream)
        return stream

    def deliver(self, *channels: str) -> None:
        """Deliver messages with the ids 1, 2, …, on these channels."""
        self.watch.queue.extend((channel, "", 7, number, None) for number, channel in enumerate(channels, 1))
        self.delivery.deliver(len(channels))

    def undone(self) -> list[int]:
        undone = self.delivery.undone()
        assert undone is not None
        return sorted(undone)


def _nothing(*_: object) -> None:
    pass


@pytest.fixture
def consuming() -> Consuming:
    return Consuming()


def test_the_iteration_is_done_with_a_message_when_it_asks_for_the_next(consuming):
    consuming.deliver("own", "own", "own")
    taken, mailbox = pops(consuming.delivery.mailbox.items), consuming.delivery.mailbox
    next(taken)
    assert consuming.undone() == [1, 2, 3]
    next(taken)
    assert consuming.undone() == [2, 3]
    next(taken)
    assert not consuming.delivery.is_done()
    assert not mailbox.has_overflow
    assert consuming.delivery.is_done()
    assert (consuming.undone(), consuming.asked) == ([], 1)


def test_a_message_that_waits_for_the_iteration_holds_those_of_callbacks_behind_it(consuming):
    called = []
    consuming.callback("jobs", called.append)
    consuming.deliver("own", "jobs", "jobs", "jobs")
    assert len(called) == 3
    assert not consuming.delivery.is_done()
    assert consuming.undone() == [1]


def test_a_callback_that_raises_is_not_done(consuming):
    def fail(message: Message) -> None:
        if message.id == 2:
            raise KeyboardInterrupt

    consuming.callback("jobs", fail)
    with pytest.raises(KeyboardInterrupt):
        consuming.deliver("jobs", "jobs", "jobs")
    assert consuming.undone() == [2, 3]


def test_none_of_two_callbacks_is_done_if_the_second_raises(consuming):
    def fail(message: Message) -> None:
        if message.id == 2:
            raise KeyboardInterrupt

    consuming.callback("jobs", lambda message: None)
    consuming.callback("jobs", fail)
    with pytest.raises(KeyboardInterrupt):
        consuming.deliver("jobs", "jobs", "jobs")
    assert {2, 3} <= set(consuming.undone())


def test_a_stream_that_is_closed_has_left_what_waited(consuming):
    stream = consuming.stream("jobs")
    consuming.deliver("jobs", "jobs", "jobs")
    stream.mailbox.items.popleft()
    stream.mailbox.items.popleft()
    consuming.routes.remove(stream)
    stream.mailbox.clear()  # as Stream.close() does
    assert consuming.undone() == [2, 3]
    assert consuming.delivery.is_done()  # the others get more


def test_a_stream_that_has_all_of_a_batch_need_not_ask_twice(consuming):
    stream = consuming.stream("jobs")

    def interrupt(message: Message) -> None:
        consuming.watch.interrupt()

    consuming.callback("jobs", interrupt)
    consuming.deliver("jobs", "jobs")
    stream.mailbox.items.clear()  # its consumer has taken them
    assert not stream.mailbox.show_gap()  # and asks for more
    consuming.watch.interrupted = False
    consuming.delivery.deliver(1)
    assert consuming.delivery.is_done()


def test_a_consumer_that_never_takes_all_does_not_cost_more_and_more(consuming):
    consuming.deliver("own", "own")
    for _ in range(100):
        consuming.delivery.mailbox.items.popleft()
        consuming.deliver("own")
    assert len(consuming.delivery.mailbox._given) <= 3


@pytest.mark.parametrize("failing", [False, True])
def test_a_worker_is_not_done_while_its_callback_runs_nor_if_that_fails(consuming, failing):
    begun, goes_on, failed = threading.Event(), threading.Event(), threading.Event()

    def call(message: Message) -> None:
        begun.set()
        assert goes_on.wait(10)
        if failing:
            raise SystemExit

    delivery = consuming.delivery
    delivery.workers = workers = Workers(
        1, "test", delivery.lock, delivery.serve, lambda *_: True, lambda error: failed.set()
    )
    consuming.callback("jobs", call)
    try:
        consuming.deliver("jobs")
        assert begun.wait(10)
        assert (delivery.is_done(), delivery.undone()) == (False, None)
        goes_on.set()
        if failing:
            assert failed.wait(10)
        assert workers.wait_idle(None)
        assert delivery.is_done() is not failing
        assert delivery.undone() == (None if failing else set())
    finally:
        goes_on.set()
        workers.close(drain=False, deadline=None)


def test_what_waits_on_a_channel_whose_last_consumer_has_gone_is_not_done(consuming):
    consuming.deliver("own", "gone", "own")
    consuming.delivery.mailbox.items.clear()
    consuming.delivery.mailbox.overflow()

    assert consuming.undone() == [2]


def test_what_waits_for_the_iteration_goes_to_a_stream_that_comes_late(consuming):
    consuming.deliver("own", "own")
    stream = consuming.stream("own")
    consuming.delivery.adopt(stream)

    assert [each.id for each in stream.mailbox.items] == [1, 2]
    assert list(consuming.delivery.mailbox.items) == []
    assert consuming.undone() == [1, 2]


def test_what_waits_for_the_iteration_goes_to_a_callback_that_comes_late(consuming):
    called = []
    consuming.deliver("own", "own")
    consuming.callback("own", called.append)
    consuming.delivery.adopt(consuming.routes.of["own"][0])

    assert not consuming.delivery.is_done()
    assert consuming.delivery.take_back()
    consuming.delivery.deliver(2)
    assert [each.id for each in called] == [1, 2]
    assert consuming.undone() == []


def test_a_consumer_that_puts_down_what_it_has_has_nothing_in_hand(consuming):
    consuming.deliver("own", "own", "own")
    mailbox = consuming.delivery.mailbox
    mailbox.items.popleft()
    assert consuming.undone() == [1, 2, 3]

    mailbox.put_down()

    assert consuming.undone() == [2, 3]
    mailbox.items.popleft()
    assert consuming.undone() == [2, 3]


def test_nothing_is_done_while_a_channel_has_no_consumer(consuming):
    consuming.delivery.mailbox.has_consumer = False
    assert not consuming.delivery.is_done()

    consuming.stream("own")

    assert consuming.delivery.is_done()
