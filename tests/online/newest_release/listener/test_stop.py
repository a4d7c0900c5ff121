"""Listener.stop() in each state is bounded, and final.

What each state takes is recorded, and with ``-s`` printed as a table.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import pytest

from pgnotify import Backoff, ListenerClosed
from pgnotify.connecting import conninfo
from pgnotify.registry import connect_with
from tests.helpers.listener_fronts import Listener, both_fronts
from tests.helpers.listeners import Holding, Told, asks, listening, next_payloads, reader_of
from tests.helpers.network import refused, silent_server, through
from tests.helpers.sending import burst, flood
from tests.helpers.threads import Background, is_in, waits
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = both_fronts

GENEROUS = 5.0  # seconds; what is needed stands in the table
LONG = Backoff(PATIENCE * 100, PATIENCE * 100)

_times: dict[str, dict[str, float]] = defaultdict(dict)


@pytest.fixture(scope="module", autouse=True)
def table():
    """Print what each state has taken, in milliseconds."""
    yield
    drivers = sorted({driver for times in _times.values() for driver in times})
    lines = [f"{'stop() while, in ms':26}" + "".join(f"{driver:>10}" for driver in drivers)]
    for state, times in _times.items():
        lines.append(f"{state:26}" + "".join(f"{times[each]:10.1f}" if each in times else " " * 10 for each in drivers))
    print("\n" + "\n".join(lines))  # noqa: T201


@pytest.fixture
def assert_stops(driver, record_property):
    """Stop a listener, and fail unless it has ended within the bound, for good."""

    def stop(listener, state):
        began = time.monotonic()
        ended = listener.stop(GENEROUS)
        taken = time.monotonic() - began
        _times[state][driver] = taken * 1000
        record_property("stop_ms", round(taken * 1000, 1))
        assert ended is True
        assert taken < GENEROUS
        assert_is_final(listener)

    return stop


def assert_is_final(listener):
    assert listener.status().state == "closed"
    assert listener.stop() is True
    for verb in (listener.run, listener.start, listener.notifications, listener.wait_or_poll):
        with pytest.raises(ListenerClosed, match="was stopped"):
            verb()


def test_while_connecting(driver, channel, assert_stops):
    with silent_server() as port:
        listener = Listener(f"postgresql://postgres@127.0.0.1:{port}/postgres", channel, driver=driver)
        starting = Background(listener.start)
        eventually(lambda: listener.status().state == "connecting")

        assert_stops(listener, "connecting")
        starting.ended()


def test_while_a_connect_function_does_not_return(driver, address, channel, assert_stops):
    released = threading.Event()
    listener = Listener(lambda: released.wait(PATIENCE) and None, channel)
    starting = Background(listener.start)
    eventually(lambda: listener.status().state == "connecting")

    assert_stops(listener, "in a connect function")
    starting.ended()
    released.set()


def test_while_backing_off(driver, channel, assert_stops):
    with refused() as port:
        dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        with listening(dsn, channel, driver=driver, backoff=LONG) as listener:
            eventually(lambda: listener.status().state == "backing off")

            assert_stops(listener, "backing off")


def test_while_the_first_answer_is_waited_for(driver, address, proxy, channel, assert_stops):
    connect = connect_with(driver)

    def dial():
        connection = connect(conninfo.parse(through(proxy, address).dsn))
        proxy.freeze()
        return connection

    listener = Listener(dial, channel, answer_timeout=PATIENCE)
    starting = Background(listener.start)
    eventually(lambda: any(is_in(each, "check") for each in threading.enumerate()))

    assert_stops(listener, "first check in flight")
    starting.ended()


def test_while_a_listen_is_in_flight(driver, address, proxy, channel, assert_stops):
    with listening(through(proxy, address).dsn, channel, driver=driver, answer_timeout=PATIENCE) as listener:
        proxy.freeze()
        listener.subscribe(f"{channel}2", print)
        eventually(lambda: asks(listener, "listen_many"))

        assert_stops(listener, "LISTEN in flight")


def test_while_a_heartbeat_is_in_flight(driver, address, proxy, channel, assert_stops):
    options = {"answer_timeout": PATIENCE, "heartbeat": 0.05}
    with listening(through(proxy, address).dsn, channel, driver=driver, **options) as listener:
        proxy.freeze()
        eventually(lambda: asks(listener, "check"))

        assert_stops(listener, "heartbeat in flight")


def test_in_the_midst_of_a_notification(driver, address, proxy, session, channel, assert_stops):
    with listening(through(proxy, address).dsn, channel, driver=driver, answer_timeout=PATIENCE) as listener:
        proxy.pass_only(9)
        session.notify(channel, "x" * 3000)
        eventually(lambda: asks(listener, "fetch_into") or has_passed(proxy))

        assert_stops(listener, "half a notification")


def has_passed(proxy):
    """Whether all has passed that may."""
    return proxy._links[-1].down.allowance == 0


def test_while_waiting(driver, address, channel, assert_stops, session):
    with listening(address.dsn, channel, driver=driver) as listener:
        eventually(lambda: waits(reader_of(listener)))
        pid = listener.status().server_pid

        assert_stops(listener, "waiting")
        eventually(lambda: session.state_of(pid) is None)


def test_while_the_queue_is_full(driver, address, session, channel, assert_stops):
    with listening(address.dsn, channel, driver=driver, queue_size=10) as listener:
        burst(session, channel, 1000)
        eventually(lambda: listener.status().dropped == 990)

        assert_stops(listener, "queue full")


def test_while_a_flood_comes_in(driver, address, session, channel, assert_stops):
    with listening(address.dsn, driver=driver) as listener:
        called = threading.Event()
        assert listener.subscribe(channel, lambda _: called.set()).wait_listening(PATIENCE)
        sending = Background(flood, session, channel, 20_000, 1000)
        assert called.wait(PATIENCE)

        assert_stops(listener, "flooded")
        sending.ended()


@pytest.mark.parametrize("workers", [0, 1])
def test_in_a_callback_it_says_no_until_that_has_returned(
    driver, address, session, channel, record_property, assert_stops, workers
):
    holding = Holding()
    listener = Listener(address.dsn, driver=driver, workers=workers)
    listener.subscribe(channel, holding)
    listener.start()
    session.notify(channel, "1")
    session.notify(channel, "2")
    assert holding.entered.wait(PATIENCE)

    assert listener.stop(timeout=0.05) is False
    assert listener.stop(timeout=0) is False
    holding.released.set()
    assert_stops(listener, "in a worker's callback" if workers else "in a callback")
    assert holding.payloads == ["1"]


def test_in_an_on_listening_it_says_no_until_that_has_returned(driver, address, channel, assert_stops):
    entered, released = threading.Event(), threading.Event()

    def on_listening(event):
        entered.set()
        assert released.wait(PATIENCE)

    listener = Listener(address.dsn, channel, driver=driver, on_listening=on_listening)
    starting = Background(listener.start)
    assert entered.wait(PATIENCE)

    assert listener.stop(timeout=0.05) is False
    released.set()
    assert_stops(listener, "in on_listening")
    starting.ended()


def test_when_the_resync_has_failed(driver, address, channel, assert_stops):
    failed = threading.Event()
    told = Told(lambda event: 1 / 0)
    options = {"on_listening": told, "on_error": lambda *_: failed.set(), "backoff": LONG}
    with listening(address.dsn, channel, driver=driver, **options) as listener:
        assert failed.wait(PATIENCE)
        eventually(lambda: listener.status().state == "backing off")

        assert_stops(listener, "resync failed")


@pytest.mark.parametrize("garbage", [b"\xff" * 16, b"A\0\0\0\x05x", b"Z\0\0\0\x05I", b"?\0\0\0\x04", b"A\0\0\0\x01"])
def test_after_a_protocol_error(driver, address, proxy, session, channel, assert_stops, garbage):
    errors = []
    options = {"heartbeat": 0.1, "answer_timeout": 0.5, "on_error": lambda *error: errors.append(error)}
    with listening(through(proxy, address).dsn, channel, driver=driver, **options) as listener:
        checked = listener.status().round_trip
        proxy.say(garbage)
        eventually(lambda: listener.status().reconnects or listener.status().round_trip not in (None, checked))
        session.notify(channel, "goes on")
        assert next_payloads(listener, 1) == ["goes on"]

        assert_stops(listener, "after a protocol error")
    assert errors == []  # a loss like any other


def test_on_a_black_holed_link(driver, address, proxy, channel, assert_stops):
    with listening(through(proxy, address).dsn, channel, driver=driver) as listener:
        proxy.freeze()

        assert_stops(listener, "black-holed link")


def test_when_it_was_never_begun(driver, address, channel, assert_stops):
    assert_stops(Listener(address.dsn, channel, driver=driver), "never begun")


def test_with_a_connection_of_the_users_on_a_black_holed_link(kind, connect, address, proxy, channel):
    listener = Listener(connect(through(proxy, address)), channel, answer_timeout=0.3)
    listener.start()
    proxy.freeze()

    assert listener.stop(GENEROUS) is True
    assert listener.status().state == "closed"
