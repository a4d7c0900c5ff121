"""A healthy link that is busy: an answer comes behind everything that was sent before, and nothing is given up."""

from __future__ import annotations

import pytest

import pgnotify
from tests.helpers.listener_fronts import Listener, both_fronts
from tests.helpers.listeners import Told, listening, next_payloads
from tests.helpers.network import through
from tests.helpers.sending import send_numbers
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = both_fronts

RATE = 1_000_000  # bytes a second
LARGE = 300  # notifications of 4 kB, which take five times as long as the listener waits for an answer


def start_a_flow(proxy, session, channel):
    proxy.throttle(RATE)
    send_numbers(session, channel, LARGE, 4000)


def received(listener, count):
    return [int(payload.strip(".")) for payload in next_payloads(listener, count)]


def test_a_busy_link_is_not_given_up(driver, address, proxy, session, channel):
    told = Told()
    options = {"heartbeat": 0.1, "answer_timeout": 0.25}
    with listening(through(proxy, address).dsn, channel, driver=driver, on_listening=told, **options) as listener:
        told.next()
        start_a_flow(proxy, session, channel)

        assert received(listener, LARGE) == list(range(1, LARGE + 1))
        assert told.gaps == []


@pytest.mark.parametrize("what", ["subscribe", "cancel"])
def test_a_listen_behind_a_backlog_on_a_busy_link_waits_for_its_answer(driver, address, proxy, session, channel, what):
    told = Told()
    options = {"heartbeat": PATIENCE, "answer_timeout": 0.25}
    with listening(through(proxy, address).dsn, channel, driver=driver, on_listening=told, **options) as listener:
        subscription = listener.subscribe(f"{channel}2", print)
        assert subscription.wait_listening(PATIENCE)
        start_a_flow(proxy, session, channel)
        assert received(listener, 1) == [1]
        if what == "subscribe":
            assert listener.subscribe(f"{channel}3", print).wait_listening(PATIENCE)
        else:
            subscription.cancel()

        assert received(listener, LARGE - 1) == list(range(2, LARGE + 1))
        eventually(lambda: len(listener.status().channels) == (3 if what == "subscribe" else 1))
        assert told.gaps == []


def test_a_stop_behind_a_backlog_on_a_busy_link_leaves_the_users_connection_whole(
    connect, address, proxy, session, channel
):
    connection = connect(through(proxy, address))
    with Listener(connection, channel, heartbeat=None, answer_timeout=0.25) as listener:
        start_a_flow(proxy, session, channel)
        assert received(listener, 1) == [1]
        assert listener.stop(PATIENCE)

    pgnotify.wrap(connection).listen(f"{channel}2")
