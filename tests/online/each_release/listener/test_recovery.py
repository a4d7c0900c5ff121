"""The Listener comes back: after every way in which a connection ends, with a gap, and with nothing left behind."""

from __future__ import annotations

import gc
import os
import threading
import time
from datetime import datetime, timezone

import pytest

import pgnotify
from pgnotify.errors import SourceError
from pgnotify.listener import clocks
from pgnotify.listener.gap import Reason
from pgnotify.registry import DRIVERS
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from pgnotify.testing import _proxy as proxies
from pgnotify.testing._wire import Session
from tests import kinds
from tests.helpers.listener_fronts import Listener, blocking_only, both_fronts
from tests.helpers.listeners import AT_ONCE, Holding, Told, Watching, asks, listening, next_payloads, reader_of
from tests.helpers.network import refused, through, until_arrived
from tests.helpers.sending import burst
from tests.helpers.threads import waits
from tests.helpers.waiting import LONGER_THAN_PATIENCE, PATIENCE, eventually

pytestmark = both_fronts

QUICK = {"heartbeat": 0.2, "answer_timeout": 0.3}
BLACK_HOLE_SECONDS = 0.5


# What ends a connection.


@pytest.mark.parametrize("end", ["terminate", "fin", "reset"])
def test_it_comes_back_with_a_gap(driver, address, proxy, session, channel, end, record_property, capsys):
    told = Told()
    with listening(through(proxy, address).dsn, channel, driver=driver, on_listening=told) as listener:
        assert told.next().gap is None
        before = now()
        began = time.monotonic()
        if end == "terminate":
            session.sql(f"SELECT pg_terminate_backend({listener.status().server_pid})")
        else:
            getattr(proxy, end)()
        gap = told.next().gap
        say_recovery(record_property, capsys, f"{driver} {end}", time.monotonic() - began)
        session.notify(channel, "1")

        assert next_payloads(listener, 1) == ["1"]
        assert (gap.reason, gap.channels, gap.dropped) == (Reason.CONNECTION_LOST, (channel,), 0)
        assert gap.lost_at <= before <= gap.restored_at <= now()
        assert (listener.status().reconnects, listener.status().gaps) == (1, 1)


def say_recovery(record_property, capsys, what, seconds):
    record_property("recovery_ms", round(seconds * 1000, 1))
    with capsys.disabled():
        if os.environ.get("PGNOTIFY_SHOW_TIMES"):
            print(f"\nrecovery: {what}: {seconds * 1000:.1f} ms")  # noqa: T201


def now():
    return datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def own_server():
    """A server that may be restarted and killed."""
    try:
        server = TemporaryPostgreSQL()
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.mark.parametrize("end", ["restart", "kill"])
def test_it_comes_back_with_the_server(driver, own_server, channel, end):
    told = Told()
    with listening(own_server.dsn, channel, driver=driver, on_listening=told) as listener:
        told.next()
        if end == "restart":
            own_server.restart()
        else:
            own_server.kill()
            own_server.start()

        assert told.next().gap.reason is Reason.CONNECTION_LOST
        with Session(*own_server.address) as session:
            session.notify(channel, "1")
        assert next_payloads(listener, 1) == ["1"]


@blocking_only("who reads")
def test_what_came_before_the_end_is_delivered_once_and_before_the_gap(driver, address, proxy, session, channel):
    seen = []
    told = Told(lambda event: seen.append("gap" if event.gap else "start"))
    with Listener(through(proxy, address).dsn, channel, driver=driver, on_listening=told) as listener:
        proxy.record()
        burst(session, channel, 700)
        until_arrived(proxy, channel, 700)
        session.terminate(listener.status().server_pid)
        seen += next_payloads(listener, 700)
        assert listener.subscribe(f"{channel}2", print).wait_listening(PATIENCE)
        session.notify(channel, "behind the gap")
        seen += next_payloads(listener, 1)

    assert seen == ["start", *map(str, range(700)), "gap", "behind the gap"]


@blocking_only("held loop")
def test_what_came_before_the_end_is_delivered_before_the_next_attempt_to_connect(
    driver, address, proxy, session, channel
):
    holding, attempts = Holding(), []

    def connect():
        attempts.append((len(holding.payloads), listener.status().queued))
        return kinds.FIRST[driver].connect(through(proxy, address))

    told = Told()
    listener = Listener(connect, on_listening=told, heartbeat=None)
    listener.subscribe(channel, holding)
    try:
        listener.start()
        told.next()
        proxy.record()
        session.notify(channel, "first")
        assert holding.entered.wait(PATIENCE)
        burst(session, channel, 5)
        until_arrived(proxy, channel, 6)
        session.terminate(listener.status().server_pid)
        listener.subscribe(f"{channel}2", print)  # whose LISTEN fails
        holding.released.set()
        told.next()
    finally:
        holding.released.set()
        listener.stop()

    assert holding.payloads == ["first", *map(str, range(5))]
    assert attempts == [(0, 0), (6, 0)]


@pytest.mark.parametrize("end", ["reset", "fin", "answer_timeout"])
def test_what_comes_while_a_heartbeat_is_not_answered_is_delivered(driver, address, proxy, session, channel, end):
    seen = []
    told = Told(lambda event: seen.append(event.gap and event.gap.reason))
    timeout = 1.0 if end == "answer_timeout" else LONGER_THAN_PATIENCE
    options = {"heartbeat": 0.1, "answer_timeout": timeout, "on_listening": told}
    with listening(through(proxy, address).dsn, channel, driver=driver, **options) as listener:
        told.next()
        proxy.swallow()
        eventually(lambda: asks(listener, "check"))
        proxy.say(b"".join(proxies.notification(channel, b"%d" % number) for number in range(5)))
        if end != "answer_timeout":
            getattr(proxy, end)()
        told.next()
        session.notify(channel, "after")
        seen += next_payloads(listener, 6)

    reason = Reason.HEARTBEAT_MISSED if end == "answer_timeout" else Reason.CONNECTION_LOST
    assert seen == [None, reason, "0", "1", "2", "3", "4", "after"]


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clock_is_set_between_a_heartbeat_and_a_loss(driver, address, session, channel, monkeypatch, hours):
    read, set_by = clocks.now, [0.0]
    monkeypatch.setattr(clocks, "now", lambda: read()._replace(wall=time.time() + set_by[0]))
    told = Told()
    with listening(address.dsn, channel, driver=driver, on_listening=told) as listener:
        told.next()
        began = time.time()
        set_by[0] = hours * 3600.0
        session.terminate(listener.status().server_pid)
        gap = told.next().gap

    assert gap.lost_at <= gap.restored_at
    for setting in (0.0, set_by[0]):
        assert gap.lost_at.timestamp() <= began + setting <= gap.restored_at.timestamp()


def test_who_only_looks_comes_back_too(driver, address, session, channel):
    told = Told()
    with Listener(address.dsn, channel, driver=driver, on_listening=told) as listener:
        session.terminate(listener.status().server_pid)

        eventually(lambda: list(listener.notifications(timeout=0)) or told.gaps, "it listens again")


# Black holes.


def test_a_black_hole_is_noticed_by_the_heartbeat(driver, address, proxy, session, channel, record_property, capsys):
    told = Told()
    with listening(through(proxy, address).dsn, channel, driver=driver, on_listening=told, **QUICK) as listener:
        told.next()
        assert_noticed(listener, proxy, record_property, capsys, driver)

        gap = told.next().gap
        assert (gap.reason, gap.channels) == (Reason.HEARTBEAT_MISSED, (channel,))
        session.notify(channel, "1")
        assert next_payloads(listener, 1) == ["1"]


def test_a_black_hole_in_the_midst_of_a_notification_is_noticed(
    driver, address, proxy, session, channel, record_property, capsys
):
    told = Told()
    options = {**QUICK, "heartbeat": 0.6}  # the answer to an earlier one would take the notification's place
    with listening(through(proxy, address).dsn, channel, driver=driver, on_listening=told, **options) as listener:
        told.next()
        proxy.pass_only(9)
        session.notify(channel, "x" * 3000)

        assert_noticed(listener, proxy, record_property, capsys, driver)
        assert told.next().gap.reason is Reason.HEARTBEAT_MISSED


def test_a_black_hole_in_the_midst_of_a_listen_is_noticed(driver, address, proxy, channel, record_property, capsys):
    told = Told()
    options = {**QUICK, "heartbeat": PATIENCE}
    with listening(through(proxy, address).dsn, channel, driver=driver, on_listening=told, **options) as listener:
        told.next()
        proxy.freeze()
        subscription = listener.subscribe(f"{channel}2", print)
        eventually(lambda: asks(listener, "listen_many"))

        assert_noticed(listener, proxy, record_property, capsys, driver)
        gap = told.next().gap
        assert (gap.reason, gap.channels) == (Reason.HEARTBEAT_MISSED, (channel,))
        assert subscription.wait_listening(PATIENCE)


def assert_noticed(listener, proxy, record_property, capsys, driver):
    """Make a black hole until the connection is given up."""
    began = time.monotonic()
    proxy.freeze()
    try:
        eventually(lambda: listener.status().state != "listening", "the black hole is noticed")
    finally:
        proxy.thaw()
    seconds = time.monotonic() - began
    say_recovery(record_property, capsys, f"{driver} black hole noticed", seconds)
    assert seconds < BLACK_HOLE_SECONDS * 6  # that much slack for a machine that is busy


def test_a_timeout_holds_while_the_server_cannot_be_reached(driver, address, proxy, channel):
    options = {"heartbeat": 0.1, "answer_timeout": 0.1}
    with Listener(through(proxy, address).dsn, channel, driver=driver, **options) as listener:
        proxy.freeze()
        for _ in range(2):  # in the first one the loss may be noticed
            began = time.monotonic()
            assert list(listener.notifications(timeout=0.3)) == []
            # Else it would wait for an attempt to connect to fail, which takes 2 s: the shortest connect_timeout.
            assert time.monotonic() - began < 1.5


# Heartbeat.


def test_a_lost_subscription_is_noticed(driver, address, session, channel):
    def undo(event):
        if event.gap is None:
            pgnotify.wrap(event.connection).unlisten(channel)

    told = Told(undo)
    with listening(address.dsn, channel, f"{channel}2", driver=driver, heartbeat=0.05, on_listening=told) as listener:
        assert told.next().gap is None
        event = told.next()
        session.notify(channel, "1")

        assert next_payloads(listener, 1) == ["1"]
        assert event.channels == event.gap.channels == (channel,)
        assert event.gap.reason is Reason.SUBSCRIPTION_LOST
        assert listener.status().reconnects == 0


def test_a_listen_that_does_not_stick_is_said_and_counts_as_deaf(driver, address, session, channel, caplog):
    """The server forgets it each time, as if a proxy had answered in its place."""
    sticks = threading.Event()
    told = Told(lambda event: sticks.is_set() or pgnotify.wrap(event.connection).unlisten(channel))
    with listening(address.dsn, channel, f"{channel}2", driver=driver, heartbeat=0.05, on_listening=told) as listener:
        eventually(lambda: listener.status().ignored == (channel,))
        assert not listener.delivering
        assert listener.status().state == "listening"
        assert listener.wait_or_poll(healthy=LONGER_THAN_PATIENCE, deaf=0.0) is not None  # the gap
        listener.wait_or_poll(healthy=LONGER_THAN_PATIENCE, deaf=0.01)
        eventually(lambda: len(told.gaps) > 4)
        sticks.set()

        eventually(lambda: listener.delivering)
        assert listener.status().ignored == ()
        session.notify(channel, "1")
        assert next_payloads(listener, 1) == ["1"]
    said = [record for record in caplog.records if "does not listen" in record.getMessage()]
    assert [record.levelname for record in said] == ["WARNING"]
    assert {gap.reason for gap in told.gaps} == {Reason.SUBSCRIPTION_LOST}


def test_a_constant_heartbeat_loses_nothing(driver, address, session, channel):
    told = Told()
    with listening(address.dsn, channel, driver=driver, heartbeat=0.01, on_listening=told) as listener:
        for number in range(400):
            session.notify(channel, str(number))

        assert next_payloads(listener, 400) == [str(number) for number in range(400)]
        assert listener.status().round_trip is not None
    assert told.gaps == []


def test_an_arrival_is_followed_by_a_check_so_that_a_gap_under_traffic_is_short(driver, address, session, channel):
    told, watching = Told(), Watching()
    with listening(address.dsn, channel, driver=driver, on_listening=told, observer=watching) as listener:
        told.next()
        for number in range(3):  # the heartbeat is far away
            before = now()
            session.notify(channel, str(number))
            assert next_payloads(listener, 1) == [str(number)]
            watching.checks.wait_for(number + 1, PATIENCE)
        eventually(lambda: listener._watch.link.complete_until.wall >= before.timestamp())
        session.terminate(listener.status().server_pid)

        assert told.next().gap.lost_at >= before


# Nothing is left behind.


def test_nothing_is_left_of_200_connections(driver, address, session, channel):
    descriptors = threads = None
    told = Told(lambda event: len(told.events) < 200 and listener.status().server_pid and end(session, listener))
    listener = Listener(address.dsn, channel, driver=driver, on_listening=told, backoff=AT_ONCE, name="two hundred")
    gc.collect()
    descriptors, threads = open_descriptors(), set(threading.enumerate())
    try:
        listener.start()
        eventually(lambda: len(told.events) >= 200)
        eventually(lambda: waits(reader_of(listener)))

        assert session.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'two hundred'") == [("1",)]
        # The connection, the hold on it, and the pair to be woken by.
        gc.collect()
        eventually(lambda: len(open_descriptors()) - len(descriptors) <= 6)
        own = {reader_of(listener)} - threads  # an event loop has its thread before
        names = sorted([*(each.name for each in own), "pgnotify watchdog"])
        eventually(lambda: sorted(each.name for each in set(threading.enumerate()) - threads) == names)
    finally:
        assert listener.stop()

    gc.collect()
    assert open_descriptors() == descriptors
    assert set(threading.enumerate()) == threads
    eventually(lambda: not session.sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'two hundred'"))


def end(session, listener):
    session.sql(f"SELECT pg_terminate_backend({listener.status().server_pid})")


def open_descriptors():
    return {number: name for number in os.listdir("/proc/self/fd") if (name := link(number)) is not None}


def link(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:  # that of the listing itself
        return None


@pytest.mark.parametrize("reachable", [True, False])
def test_nothing_is_left_of_attempts_in_vain(driver, address, channel, reachable):
    with refused() as port:
        dsn = f"{address.dsn}?target_session_attrs=standby" if reachable else address._replace(port=port).dsn
        listener = Listener(dsn, channel, driver=driver, backoff=AT_ONCE)
        gc.collect()
        before = open_descriptors()
        listener.start()
        eventually(lambda: listener.status().attempts >= 30)

        assert listener.stop()
        # The attempt that was under way ends by itself; the oldest psycopg leaves its socket to the garbage collector.
        # What other tests had left open before may be gone.
        eventually(lambda: gc.collect() >= 0 and not open_descriptors().items() - before.items())


# Connect functions that do not do what they should.


def test_a_connect_function_that_returns_the_same_connection_ends_it_with_a_clear_error(
    kind, connect, session, channel
):
    if kind.name == "django":
        pytest.skip("not applicable: Django's wrapper opens a new connection by itself")
    same = connect()
    told = Told()
    with listening(lambda: same, channel, on_listening=told) as listener:
        told.next()
        session.terminate(listener.status().server_pid)

        with pytest.raises(SourceError, match=r"same connection again.*must open a new one"):
            next_payloads(listener, 1)
        eventually(lambda: listener.status().state == "closed")


@pytest.mark.drivers(*DRIVERS, "sqlalchemy-psycopg", "sqlalchemy-psycopg2")
def test_a_connect_function_that_returns_a_dead_connection_later_is_asked_again(kind, address, session, channel):
    told = Told()
    made = []

    def dial():
        made.append(kind.connect(address))
        if len(made) == 2:
            made[1].close()
        return made[-1]

    with listening(dial, channel, on_listening=told, backoff=AT_ONCE) as listener:
        told.next()
        session.terminate(listener.status().server_pid)

        assert told.next().gap.reason is Reason.CONNECTION_LOST
        assert len(made) >= 3


def test_a_gap_covers_what_was_sent_while_nobody_listened(driver, address, session, channel):
    """Of 300 numbers sent while connections are ended, each arrives once and in order, or its moment is in a gap."""
    told = Told()
    sent = {}
    with listening(
        address.dsn, channel, driver=driver, on_listening=told, backoff=AT_ONCE, queue_size=10**6
    ) as listener:
        told.next()
        for number in range(300):
            if number % 30 == 10:
                end(session, listener)
            began = now()
            session.notify(channel, str(number))
            sent[number] = (began, now())
        received = [int(each) for each in until_last(listener, session, channel)]

    assert received == sorted(set(received))
    for number in sent.keys() - set(received):
        began, ended = sent[number]
        assert any(ended >= gap.lost_at and gap.restored_at >= began for gap in told.gaps), number
    assert told.gaps


def until_last(listener, session, channel):
    """Yield next_payloads up to one that is sent again and again: it may fall into the last gap, too."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        session.notify(channel, "last")
        for notification in listener.notifications(0.2):
            if notification.payload == "last":
                return
            yield notification.payload
    pytest.fail("the last one does not arrive")
