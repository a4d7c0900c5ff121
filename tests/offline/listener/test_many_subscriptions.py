"""Thousands of subscriptions: a statement for each thousand at most, and work that is linear in their number.

Nothing is timed here. Statements are counted, and so are instructions and looks at channels, those in C too.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from pgnotify.protocol import MOST_CHANNELS
from pgnotify.testing.memory import MemoryConnection
from tests.helpers.counting import counting_instructions
from tests.helpers.listener_fronts import Listener, blocking_only, both_fronts
from tests.helpers.listeners import Happened, Holding, its_connection, send
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = both_fronts


def names(count):
    return [f"channel {number}" for number in range(count)]


@pytest.fixture
def statements(monkeypatch):
    """The connections of all statements that were sent, in order: one for each round trip."""
    sent, statement = Happened(), MemoryConnection._statement

    @contextmanager
    def recorded(connection):
        sent.append(connection)
        with statement(connection) as session:
            yield session

    monkeypatch.setattr(MemoryConnection, "_statement", recorded)
    return sent


@contextmanager
def reader_held(listener, sender):
    """Hold the reading thread of a listener in a callback, as if it were busy, until the end of the block."""
    held = Holding()
    subscription = listener.subscribe("hold", held)
    assert subscription.wait_listening(IN_MEMORY)
    send(sender, "now", channel="hold")
    assert held.entered.wait(IN_MEMORY)
    try:
        yield
    finally:
        held.released.set()


@blocking_only("inside")
def test_a_thousand_cancelled_while_it_listens_take_one_statement(sender, make, server, statements):
    listener = make("jobs")
    subscriptions = [listener.subscribe(name, print) for name in names(1_000)]
    listener.start()

    with reader_held(listener, sender):
        connection = its_connection(server)
        assert len(connection.listening_channels) == 1_002
        before = statements.count(connection)
        for each in subscriptions:
            each.cancel()
    eventually(lambda: listener.status().channels == ("jobs", "hold"))

    assert statements.count(connection) == before + 1
    assert connection.listening_channels == {"jobs", "hold"}


def test_a_thousand_cancelled_in_a_callback_take_one_statement(sender, make, server, statements):
    listener = make()
    subscriptions = [listener.subscribe(name, print) for name in names(1_000)]
    cancelled = threading.Event()

    def cancel_all(notification):
        for each in subscriptions:
            each.cancel()
        cancelled.set()

    assert listener.subscribe("jobs", cancel_all).wait_listening(IN_MEMORY)
    connection = its_connection(server)
    before = statements.count(connection)
    listener.start()
    send(sender, "cancel them")
    assert cancelled.wait(IN_MEMORY)
    eventually(lambda: listener.status().channels == ("jobs",))

    assert statements.count(connection) == before + 1
    assert connection.listening_channels == {"jobs"}


def test_the_end_on_the_users_own_connection_takes_one_statement_for_all_channels(server, statements):
    connection = server.connect()
    listener = Listener(connection, *names(1000), heartbeat=None)
    with listener:
        before = statements.count(connection)

    assert statements.count(connection) == before + 1
    assert connection.listening_channels == set()
    connection.close()


def test_ten_thousand_before_it_listens_are_all_listened_to_in_parts(make, server, statements):
    listener = make()
    subscriptions = [listener.subscribe(name, print) for name in names(10_000)]

    listener.start()

    assert all(each.wait_listening(IN_MEMORY) for each in subscriptions)
    assert its_connection(server).listening_channels == set(names(10_000))
    assert len(statements) == 1 + 10_000 / MOST_CHANNELS  # the check of the new connection, and the LISTENs


@blocking_only("inside")
def test_ten_thousand_while_it_listens_are_all_listened_to(make, server):
    listener = make("jobs")
    listener.start()

    subscriptions = [listener.subscribe(name, print) for name in names(10_000)]

    assert all(each.wait_listening(IN_MEMORY) for each in subscriptions)
    assert its_connection(server).listening_channels == {"jobs", *names(10_000)}


@blocking_only("inside")
def test_ten_thousand_while_it_is_busy_take_a_statement_for_each_part(sender, make, server, statements):
    listener = make("jobs")
    listener.start()

    with reader_held(listener, sender):
        before = statements.count(its_connection(server))
        subscriptions = [listener.subscribe(name, print) for name in names(10_000)]

    assert all(each.wait_listening(IN_MEMORY) for each in subscriptions)
    assert its_connection(server).listening_channels == {"jobs", "hold", *names(10_000)}
    assert statements.count(its_connection(server)) == before + 10_000 / MOST_CHANNELS


# Linear work: ten times as many subscriptions take ten times as much, where quadratic work would take a hundred times.


class Name(str):
    """A channel's name that counts the looks at it: it is hashed for a dictionary or a set, and compared in a list."""

    looks = 0

    def __hash__(self):
        Name.looks += 1
        return super().__hash__()

    def __eq__(self, other):
        Name.looks += 1
        return super().__eq__(other)


class Channels(dict):
    """Wanted channels, or those in force, which count how many are gone through, in C too."""

    visited = 0

    def __iter__(self):
        Channels.visited += len(self)
        return super().__iter__()

    def keys(self):
        Channels.visited += len(self)
        return super().keys()


class Work(NamedTuple):
    instructions: int
    looks: int
    visited: int


def subscribed_before(listener, channels):
    """Return the work of subscribing before it listens, in this thread, as no other reads."""
    with counted() as work:
        subscribe(listener, channels)
    return work


def subscribed_while(listener, channels):
    """Return the work of subscribing while it listens to as many channels already."""
    with listener:
        subscribe(listener, [Name(f"another {channel}") for channel in channels])
        with counted() as work:
            subscribe(listener, channels)
    return work


def cancelled_while(listener, channels):
    """Return the work of cancelling while it listens, also to as many other channels."""
    with listener:
        others = subscribe(listener, [Name(f"another {channel}") for channel in channels])
        subscriptions = subscribe(listener, channels)
        with counted() as work:
            for each in subscriptions:
                each.cancel()
            assert list(listener.notifications(timeout=0)) == []
        assert listener.status().channels == ("jobs", *(each.channel for each in others))
    return work


def cancelled_one_by_one(listener, channels):
    """Return the work of cancelling while it listens, with an UNLISTEN for each."""
    with listener:
        subscriptions = subscribe(listener, channels)
        with counted() as work:
            for each in subscriptions:
                each.cancel()
                assert list(listener.notifications(timeout=0)) == []
        assert listener.status().channels == ("jobs",)
    return work


def subscribed_one_by_one(listener, channels):
    """Return the work of subscribing while it listens, with a LISTEN for each."""
    with listener:
        subscribe(listener, [Name("the first")])
        with counted() as work:
            for channel in channels:
                subscribe(listener, [channel])
    return work


def all_on_one_channel(listener, channels):
    """Return the work of as many subscriptions of one channel, and of cancelling them."""
    with listener, counted() as work:
        subscriptions = subscribe(listener, [channels[0]] * len(channels))
        for each in subscriptions:
            each.cancel()
        assert list(listener.notifications(timeout=0)) == []
    assert listener._routes.of == {}
    return work


def streams_on_one_channel(listener, channels):
    """Return the work of opening as many streams of one channel, and of closing them."""
    with listener:
        listener.subscribe(channels[0], print).wait_listening(IN_MEMORY)
        with counted() as work:
            streams = [listener.subscription(channels[0]) for _ in channels]
            for each in streams:
                each.__enter__()
            for each in streams:
                each.close()
    assert listener._routes.queued == {}
    return work


def subscribe(listener, channels):
    subscriptions = [listener.subscribe(channel, print) for channel in channels]
    assert subscriptions[-1].wait_listening(IN_MEMORY)
    return subscriptions


@contextmanager
def counted():
    """Give a list that has the work of the block when that has ended."""
    work = []
    looks, visited = Name.looks, Channels.visited
    with counting_instructions() as instructions:
        yield work
    work.append(Work(instructions.total(), Name.looks - looks, Channels.visited - visited))


@blocking_only("inside")
@pytest.mark.parametrize(
    ("doing", "count"),
    [
        (subscribed_before, 200),
        (subscribed_while, 200),
        (cancelled_while, 200),
        (cancelled_one_by_one, 20),
        (subscribed_one_by_one, 20),
        (all_on_one_channel, 50),
        (streams_on_one_channel, 50),
    ],
)
def test_the_work_is_linear_in_the_number_of_subscriptions(make, doing, count, monkeypatch):
    # It makes plain strings of the names, which do not count.
    monkeypatch.setattr("pgnotify.listener.face.check_channel", lambda channel: channel)

    def work(count):
        listener = make("jobs")
        listener._routes.wanted.channels = Channels(listener._routes.wanted.channels)
        listener._watch.in_force = Channels()
        (work,) = doing(listener, [Name(name) for name in names(count)])
        return work

    few, many = work(count), work(10 * count)

    assert min(few.instructions, few.looks) >= 1
    assert many.looks <= 10 * few.looks
    assert many.visited <= 10 * few.visited
    # Not exactly ten times: a wake-up takes a few more or less, by whether there is a socket for it, and that is full.
    assert many.instructions <= 20 * few.instructions
