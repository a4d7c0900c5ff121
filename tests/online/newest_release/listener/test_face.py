"""The Listener's face on a real server: how notifications are received, who is called, what the server sees."""

from __future__ import annotations

import threading

import pytest

from pgnotify import ConnectionLost, ListenerClosed
from pgnotify.connecting.session_name import session_name
from pgnotify.testing._proxy import Proxy
from pgnotify.testing.conformance._statements import run_statement
from tests.helpers.listener_fronts import Listener, blocking_only, both_fronts
from tests.helpers.listeners import Told, is_waiting, listening, next_payloads
from tests.helpers.network import through, until_arrived
from tests.helpers.sending import burst
from tests.helpers.threads import Background, is_in
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = both_fronts

# Receiving.


def test_an_iteration_yields_what_comes_in_until_it_is_stopped(driver, address, session, channel):
    with Listener(address.dsn, channel, driver=driver) as listener:
        burst(session, channel, 3)
        received = []
        for notification in listener:
            received.append(notification)
            if len(received) == 3:
                listener.stop()

    assert received == [(channel, number, session.pid) for number in "012"]


def test_what_is_sent_once_the_with_block_is_entered_is_not_missed(driver, address, session, channel):
    with Listener(address.dsn, channel, driver=driver) as listener:
        session.notify(channel, "1")

        assert next_payloads(listener, 1) == ["1"]


def test_an_iteration_ends_with_its_timeout_or_its_count_and_loses_nothing(driver, address, session, channel):
    with Listener(address.dsn, channel, driver=driver) as listener:
        burst(session, channel, 5)

        assert next_payloads(listener, 2) == ["0", "1"]
        for notification in listener.notifications():
            assert notification.payload == "2"
            break
        assert next_payloads(listener, 2) == ["3", "4"]
        assert list(listener.notifications(timeout=0.01)) == []
        assert list(listener.notifications(stop_after=0)) == []


def test_no_timeout_at_all_yields_what_is_there(driver, address, session, channel):
    with Listener(address.dsn, channel, driver=driver) as listener:
        burst(session, channel, 3)
        received = []

        eventually(lambda: received.extend(listener.notifications(timeout=0)) or len(received) == 3)

    assert [each.payload for each in received] == ["0", "1", "2"]


@blocking_only("who reads")
def test_run_calls_the_callbacks_in_its_own_thread_in_the_order_of_arrival(driver, address, session, channel):
    listener = Listener(address.dsn, driver=driver)
    received, threads = [], set()

    def callback(notification):
        received.append(notification.payload)
        threads.add(threading.get_ident())
        if notification.payload == "99":
            listener.stop()

    subscription = listener.subscribe(channel, callback)
    running = Background(listener.run)
    eventually(lambda: listener.status().state == "listening")
    burst(session, channel, 100)
    running.ended()

    assert received == [str(number) for number in range(100)]
    assert threads == {running.ident}
    assert listener.status().state == "closed"
    with pytest.raises(ListenerClosed):
        subscription.wait_listening(0)


def test_a_started_listener_reads_in_a_thread_of_its_own_and_may_be_iterated_here(driver, address, session, channel):
    callers = []
    with listening(address.dsn, channel, driver=driver) as listener:
        subscription = listener.subscribe(f"{channel}2", lambda _: callers.append(threading.current_thread()))
        assert subscription.wait_listening(PATIENCE)
        session.notify(f"{channel}2")
        burst(session, channel, 10)

        assert next_payloads(listener, 10) == [str(number) for number in range(10)]
        assert len(callers) == 1
        assert callers[0] is not threading.current_thread()


def test_a_channel_with_a_subscription_does_not_come_to_the_iteration(driver, address, session, channel):
    called = []
    with listening(address.dsn, channel, driver=driver) as listener:
        with listener.subscribe(channel, called.append):
            session.notify(channel, "to the callback")
            eventually(lambda: called)
        session.notify(channel, "to the iteration")

        assert next_payloads(listener, 1) == ["to the iteration"]
    assert [each.payload for each in called] == ["to the callback"]


# Subscriptions.


def test_a_subscription_made_while_another_thread_waits_is_in_force_when_it_says_so(driver, address, session, channel):
    received = []
    listener = Listener(address.dsn, driver=driver)
    running = Background(listener.run)
    eventually(lambda: is_waiting(listener, running))

    subscription = listener.subscribe(channel, lambda notification: received.append(notification.payload))
    eventually(lambda: channel in listener.status().channels)
    assert subscription.wait_listening(PATIENCE)
    session.notify(channel, "1")

    eventually(lambda: received == ["1"])
    assert listener.stop()
    running.ended()


def test_a_subscription_can_be_waited_for_while_another_thread_runs_the_listener(driver, address, proxy, channel):
    listener = Listener(through(proxy, address).dsn, driver=driver)
    running = Background(listener.run)
    eventually(lambda: is_waiting(listener, running))
    proxy.freeze()
    subscription = listener.subscribe(channel, print)

    waiting = []
    asking = Background(lambda: waiting.append(subscription.wait_listening(PATIENCE)))
    eventually(lambda: is_in(asking, "wait_listening", "wait") or not asking.is_alive())
    proxy.thaw()

    asking.ended()
    assert waiting == [True]
    assert listener.stop()
    running.ended()


def test_wait_listening_says_no_when_its_time_has_passed(driver, address, proxy, channel):
    with listening(through(proxy, address).dsn, driver=driver) as listener:
        proxy.freeze()

        assert listener.subscribe(channel, print).wait_listening(0.05) is False


@blocking_only("inside")
def test_a_channel_is_listened_to_as_long_as_somebody_wants_it(driver, address, session, channel):
    own, shared = f"{channel}o", f"{channel}s"
    told = Told()
    with listening(address.dsn, own, driver=driver, on_listening=told) as listener:
        subscriptions = [listener.subscribe(name, print) for name in (own, shared, shared)]
        assert all(each.wait_listening(PATIENCE) for each in subscriptions)
        assert listener.status().channels == (own, shared)

        subscriptions[1].cancel()
        subscriptions[0].cancel()
        assert asked(listener, told) == {own, shared}
        subscriptions[2].cancel()
        eventually(lambda: listener.status().channels == (own,))
        assert asked(listener, told) == {own}

        again = listener.subscribe(shared, print)
        assert again.wait_listening(PATIENCE)
        assert asked(listener, told) == {own, shared}
    assert [event.channels for event in told.events] == [(own,), (shared,), (shared,)]


def asked(listener, told):
    """Return what the server says, asked in the thread that reads, which must not be disturbed."""
    backend = listener._runner.backend
    answers = []

    def asking():
        answers.append(backend.check().channels)
        return
        yield

    listener._watch.request(asking())
    listener._runner.wake()
    eventually(lambda: answers)
    return set(answers[0])


def test_after_cancel_the_callback_is_not_called_any_more(driver, address, session, channel):
    received = []
    with listening(address.dsn, f"{channel}2", driver=driver) as listener:
        subscription = listener.subscribe(channel, received.append)
        assert subscription.wait_listening(PATIENCE)
        subscription.cancel()
        session.notify(channel)
        session.notify(f"{channel}2", "behind it")

        assert next_payloads(listener, 1) == ["behind it"]
    assert received == []


# What the server sees.


class RecordingProxy(Proxy):
    """Records each connection from its beginning."""

    def _accept(self, ready):
        super()._accept(ready)
        self._links[-1].down.record()


def test_all_channels_come_back_in_one_round_trip(driver, address):
    assert trips(driver, address, 100) == trips(driver, address, 1) > 0


def trips(driver, address, count):
    """Return how many a listener to so many channels takes to connect and to come back."""
    told = Told()
    with RecordingProxy(address.host, address.port) as proxy:
        # What is said to a request for encryption is no message, and could not be counted.
        dsn = through(proxy, address).dsn + "?sslmode=disable&gssencmode=disable"
        with listening(dsn, *map(str, range(count)), driver=driver, on_listening=told):
            told.next()
            proxy.reset()
            assert len(told.next().channels) == count
            return proxy.answers


def test_on_listening_has_a_connection_that_answers(driver, address, session, channel):
    answers = []
    told = Told(lambda event: answers.append(run_statement(event.connection, "SELECT pg_backend_pid()")))
    with listening(address.dsn, channel, driver=driver, on_listening=told) as listener:
        first = listener.status().server_pid
        told.next()
        session.terminate(first)
        told.next()

        assert [int(rows[0][0]) for rows in answers] == [first, listener.status().server_pid]
        assert answers[0] != answers[1]
    assert [event.gap and event.gap.channels for event in told.events] == [None, (channel,)]


@pytest.mark.parametrize("name", [None, "orders' worker"])
def test_the_server_shows_the_name(driver, address, session, channel, name):
    with listening(address.dsn, channel, driver=driver, name=name) as listener:
        assert name_at(session, listener) == session_name(name)


def test_the_name_in_the_connection_string_goes_first(driver, address, session, channel):
    with listening(f"{address.dsn}?application_name=mine", channel, driver=driver, name="other") as listener:
        assert name_at(session, listener) == "mine"


@pytest.mark.parametrize("name", [None, "orders' worker", "ö" * 70])
def test_the_server_shows_the_name_of_a_listener_with_a_connect_function(kind, address, session, channel, name):
    with listening(lambda: kind.connect(address), channel, name=name) as listener:
        first = name_at(session, listener)
        session.terminate(listener.status().server_pid)
        eventually(lambda: listener.status().reconnects)

        assert first == name_at(session, listener) != ""
        assert state_at(session, listener) == "idle"
        if name != "ö" * 70:
            assert first == session_name(name)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_name_that_the_client_encoding_lacks_costs_no_connection(kind, address, session, encoding):
    def connect():
        connection = kind.connect(address)
        run_statement(connection, f"SET client_encoding TO '{encoding}'")
        if kind.implicit_transactions:
            connection.commit()
        return connection

    with listening(connect, "in_ascii", name="né€") as listener:
        assert name_at(session, listener) == r"n\xc3\xa9\xe2\x82\xac"


def test_the_name_in_the_environment_goes_first_on_every_driver(kind, address, session, channel, monkeypatch):
    monkeypatch.setenv("PGAPPNAME", "of the environment")

    with listening(lambda: kind.connect(address), channel, name="of the listener") as listener:
        assert name_at(session, listener) == "of the environment"


def test_a_name_that_a_connect_function_has_given_is_left(kind, address, session, channel):
    def connect():
        connection = kind.connect(address)
        run_statement(connection, "SET application_name TO 'of the function'")
        if kind.implicit_transactions:
            connection.commit()
        return connection

    with listening(connect, channel, name="of the listener") as listener:
        assert name_at(session, listener) == "of the function"


def test_the_name_of_the_users_own_connection_is_left(user, db, session, channel):
    before = user.run("SHOW application_name")

    with Listener(db, channel, name="of the listener") as listener:
        listener.status()

    assert user.run("SHOW application_name") == before


@pytest.mark.drivers("psycopg")
def test_a_pool_gets_no_session_back_that_has_the_listeners_name(address, session, channel):
    pool = pytest.importorskip("psycopg_pool").ConnectionPool(address.dsn, min_size=1, max_size=1, open=True)
    with pool:
        with listening(pool.getconn, channel, name="of the listener") as listener:
            assert name_at(session, listener) == "of the listener"
        with pool.connection(timeout=PATIENCE) as connection:
            assert connection.execute("SHOW application_name").fetchone() == ("",)


def name_at(session, listener):
    pid = listener.status().server_pid
    return session.sql(f"SELECT application_name FROM pg_stat_activity WHERE pid = {pid}")[0][0]


def state_at(session, listener):
    return session.state_of(listener.status().server_pid)


# A connect function, and a connection.


def test_a_connect_function_of_any_kind_comes_back(kind, address, session, channel):
    told = Told()
    with listening(lambda: kind.connect(address), channel, on_listening=told) as listener:
        told.next()
        session.terminate(listener.status().server_pid)
        assert told.next().gap.channels == (channel,)
        session.notify(channel, "1")

        assert next_payloads(listener, 1) == ["1"]


def test_its_repr_says_where_a_connect_function_has_led_to(kind, address):
    with Listener(lambda: kind.connect(address), "jobs", name="cache") as listener:
        assert repr(listener) == f"<Listener 'cache' listening: 'jobs' on {address.host}:{address.port}, by <lambda>()>"


@blocking_only("shared connection")
def test_a_connection_is_the_users_own_and_left_to_them(user, db, session, channel):
    with Listener(db, channel) as listener:
        session.notify(channel, "1")
        assert next_payloads(listener, 1) == ["1"]
        assert user.listened_to == {channel}

    assert user.listened_to == set()
    assert session.state_of(user.pid) == "idle"


def test_the_mode_of_a_connection_is_not_touched(user, db, session, channel):
    with Listener(db, channel) as listener:
        session.notify(channel)
        assert next_payloads(listener, 1) == [""]

    pid = int(user.sql("SELECT pg_backend_pid()")[0][0])

    assert session.state_of(pid) == ("idle in transaction" if user.kind.implicit_transactions else "idle")
    if user.kind.implicit_transactions:
        user.rollback()


def test_a_connection_that_is_lost_raises_when_all_that_had_come_was_delivered(
    kind, connect, address, proxy, session, channel
):
    received = []
    with Listener(connect(through(proxy, address)), channel) as listener:
        proxy.record()
        burst(session, channel, 3)
        until_arrived(proxy, channel, 3)
        session.terminate(listener.status().server_pid)
        with pytest.raises(ConnectionLost):
            take_all(listener, received)

    assert received == ["0", "1", "2"]


def take_all(listener, received):
    for notification in listener:
        received.append(notification.payload)


def test_a_started_listener_tells_who_iterates_that_its_connection_is_lost(user, db, session, channel):
    pid = user.pid
    with listening(db, channel) as listener:
        session.terminate(pid)
        with pytest.raises(ConnectionLost):
            next_payloads(listener, 1)
