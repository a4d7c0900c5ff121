"""How a Listener ends on each driver: everything that has arrived is delivered, or told as a gap in its place.

tests/offline/listener/test_ends.py has every way to end, with every way to receive.
"""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from pgnotify.errors import ConnectionLost, ListenerClosed
from pgnotify.testing._wire import Session
from tests import kinds
from tests.helpers.account import WITH_A_READER, Account, consume
from tests.helpers.listener_fronts import Listener, both_fronts
from tests.helpers.listeners import Watching, drains, wait_for_callbacks
from tests.helpers.network import through, until_arrived
from tests.helpers.sending import burst
from tests.helpers.threads import Background
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = both_fronts

COUNT = 1200
QUEUE = 50
WAYS = ("run", "run with workers", "start with workers", "start and iterate", "iterate")


@pytest.fixture
def its(driver, address, proxy, session, channel):
    """A function that makes a listener whose consumer is at the first of many notifications that have all arrived."""
    listeners, users = [], []

    def make(way, own):
        """Return the listener, its account and its consumer; ``own`` tells whether the connection is the user's."""

        def connect():
            return kinds.FIRST[driver].connect(through(proxy, address))

        account, watching = Account(), Watching()
        options = {"on_listening": account.on_listening, "observer": watching, "workers": int("workers" in way)}
        if own:
            users.append(connect())
        listener = Listener(users[0] if own else connect, channel, queue_size=QUEUE, **options)
        listeners.append((listener, account))
        consumer = consume(way, listener, account, channel, PATIENCE)
        watching.states.wait_for(lambda states: "listening" in states, PATIENCE)
        proxy.record()
        burst(session, channel, 1, start=1)
        assert account.entered.wait(PATIENCE)
        burst(session, channel, COUNT - 1, start=2)
        until_arrived(proxy, channel, COUNT)
        if way in WITH_A_READER:
            watching.wait_for_notifications(COUNT)
        return listener, account, consumer

    yield make
    for listener, account in listeners:
        account.go.set()
        listener.stop()
    for connection in users:
        with suppress(Exception):  # ended by the test
            connection.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_users_connection_that_is_lost(session, its, way):
    listener, account, consumer = its(way, own=True)
    session.terminate(listener.status().server_pid)

    account.go.set()
    with suppress(ConnectionLost):
        consumer.ended()
    wait_for_callbacks(listener)

    assert account.accounted_for() == COUNT
    assert account.dropped == listener.status().dropped


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_stop_with_drain(its, way, own):
    listener, account, consumer = its(way, own)
    stopping = Background(listener.stop, PATIENCE, drain=True)
    eventually(lambda: drains(listener))

    account.go.set()
    with suppress(ListenerClosed):
        consumer.ended()

    assert stopping.ended() is True
    assert account.accounted_for() == COUNT
    assert account.dropped == listener.status().dropped


@pytest.mark.parametrize("way", ["run", "run with workers"])
def test_a_stop_with_drain_while_more_and_more_arrives_ends(address, its, way, channel):
    listener, account, consumer = its(way, own=False)
    ended = threading.Event()

    def send():
        with Session(*address) as other:
            number = COUNT
            while not ended.is_set():
                burst(other, channel, 500, start=number + 1)
                number += 500

    sending = Background(send)
    account.act = lambda: listener.stop(PATIENCE, drain=True)
    account.go.set()
    try:
        consumer.ended()
    finally:
        ended.set()
        sending.ended()

    assert account.accounted_for() >= COUNT
