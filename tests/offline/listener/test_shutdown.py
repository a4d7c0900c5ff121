"""The Listener on a server in memory: its end, from wherever it is asked for, and what comes after."""

from __future__ import annotations

import gc
import signal
import threading
import time
import warnings

import pytest

from pgnotify.connecting.backoff import Backoff
from pgnotify.errors import ConnectionLost, ListenerClosed
from tests.helpers.listener_fronts import Listener, blocking_only, both_fronts
from tests.helpers.listeners import (
    Happened,
    Watching,
    drains,
    interrupts_callbacks,
    its_connection,
    reader_of,
    refusing,
    send,
)
from tests.helpers.notifications import payloads
from tests.helpers.threads import Running, is_in, waits
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = both_fronts


def started(make, sender, *messages, **settings):
    """Return a listener that was started, and has so many notifications for its iteration."""
    watching = Watching()
    listener = make("jobs", observer=watching, **settings)
    listener.start()
    send(sender, *messages)
    watching.wait_for_notifications(len(messages))
    return listener


@blocking_only("inside")
def test_a_stop_waits_for_a_thread_that_begins_to_read_in_that_moment(make, monkeypatch):
    listener = make("jobs")
    ownership, shutdown = listener._lifecycle._ownership, listener._lifecycle.shutdown
    take, taken, go, readers = ownership.try_to_take, threading.Event(), threading.Event(), []

    def read():
        assert take()
        taken.set()
        assert go.wait(IN_MEMORY)
        shutdown.end()
        ownership.release()

    def take_late():
        if readers:
            return take()
        readers.append(Running(read))
        assert taken.wait(IN_MEMORY)
        assert not take()
        go.set()
        return False

    monkeypatch.setattr(ownership, "try_to_take", take_late)
    assert listener.stop(IN_MEMORY) is True

    readers[0].ended()


# What becomes of what is queued.


def test_a_stop_drops_what_is_queued(make, sender):
    listener = started(make, sender, 1, 2, 3)
    iteration = listener.notifications()
    assert next(iteration).payload == "1"

    assert listener.stop(IN_MEMORY) is True

    assert list(iteration) == []


def test_a_stop_with_drain_leaves_it_to_the_iteration(make, sender):
    listener = started(make, sender, 1, 2, 3)
    iteration = listener.notifications()
    assert next(iteration).payload == "1"

    assert listener.stop(IN_MEMORY, drain=True) is True

    assert payloads(iteration) == ["2", "3"]


@blocking_only("who reads")
@pytest.mark.parametrize(
    ("stops", "expected"), [([True], ["1", "2", "3"]), ([False], ["1"]), ([True, False], ["1", "2", "3"])]
)
def test_a_stop_inside_a_callback_counts_for_what_it_was_fetched_with(make, sender, stops, expected):
    listener, called = make(), []

    def callback(notification):
        called.append(notification.payload)
        assert [listener.stop(drain=drain) for drain in stops] == [False] * len(stops)

    with listener:
        assert listener.subscribe("jobs", callback).wait_listening(IN_MEMORY)
        send(sender, 1, 2, 3)
        listener.run()

    assert called == expected
    assert listener.status().queued == 0


@blocking_only("who reads")
@pytest.mark.parametrize("callbacks", [1, 2])
def test_a_drain_ends_although_its_callbacks_subscribe_and_cancel(make, sender, callbacks):
    listener, called = make(), []

    def callback(notification):
        called.append(notification.payload)
        listener.subscribe(f"more {len(called)}", print).cancel()
        listener.stop(None, drain=True)

    with listener:
        for _ in range(callbacks):
            assert listener.subscribe("jobs", callback).wait_listening(IN_MEMORY)
        send(sender, 1, 2, 3)
        Running(listener.run).ended()

    assert called == [str(number) for number in (1, 2, 3) for _ in range(callbacks)]


@pytest.mark.parametrize(("drain", "expected"), [(True, ["1", "2", "3"]), (False, ["1"])])
def test_a_stop_of_workers(make, sender, drain, expected):
    called, watching, entered, go = [], Watching(), threading.Event(), threading.Event()

    def callback(notification):
        entered.set()
        assert go.wait(IN_MEMORY)
        called.append(notification.payload)

    listener = make(workers=1, observer=watching)
    listener.subscribe("jobs", callback)
    listener.start()
    send(sender, 1, 2, 3)
    watching.wait_for_notifications(3)
    assert entered.wait(IN_MEMORY)
    stopping = Running(lambda: listener.stop(IN_MEMORY, drain=drain))
    if not drain:
        watching.states.wait_for(lambda states: "closed" in states)
        eventually(lambda: interrupts_callbacks(listener), patience=IN_MEMORY)
    go.set()

    assert stopping.ended() is True
    assert called == expected


@pytest.mark.parametrize("drain", [True, False])
def test_a_stop_inside_a_callback_of_a_worker_only_asks(make, server, sender, drain):
    results, closed = Happened(), Watching()

    def callback(notification):
        began = time.monotonic()
        results.append((listener.stop(IN_MEMORY, drain=drain), time.monotonic() - began < IN_MEMORY / 2))

    listener = make(workers=1, observer=closed)
    listener.subscribe("jobs", callback)
    listener.start()
    send(sender, 1)

    results.wait_for(1)
    assert results == [(False, True)]
    closed.states.wait_for(lambda states: "closed" in states)
    assert server.connections == [sender]


def test_a_stop_with_drain_on_a_dead_network_delivers_what_had_arrived_and_ends_in_time(make, server, sender):
    called, entered, go = [], threading.Event(), threading.Event()
    listener = make(answer_timeout=1000)

    def callback(notification):
        called.append(notification.payload)
        entered.set()
        assert go.wait(IN_MEMORY)

    listener.subscribe("jobs", callback)
    listener.start()
    send(sender, 1)
    assert entered.wait(IN_MEMORY)
    send(sender, 2, 3)
    server.blackhole(its_connection(server))
    stopping = Running(lambda: listener.stop(1.0, drain=True))
    eventually(lambda: drains(listener), patience=IN_MEMORY)
    go.set()

    stopping.ended()
    assert listener.stop(IN_MEMORY) is True
    assert called == ["1", "2", "3"]


@blocking_only("inside")
@pytest.mark.parametrize("on_listening_fails", [False, True])
def test_a_stop_with_drain_tells_of_a_listen_between_what_came_before_and_after_it(
    make, server, sender, on_listening_fails
):
    """The stop comes when LISTEN is in force, and nobody knows of that."""
    seen = []

    def on_listening(event):
        seen.append(event.gap)
        assert not on_listening_fails

    listener = make(source=lambda: server.connect(), on_listening=on_listening)
    listener.subscribe("jobs", lambda notification: seen.append(notification.payload))
    listener._lifecycle._read(lambda: listener._watch.to_announce is not None)
    listener._watch.queue.append(("jobs", "from before a loss", 7))
    send(sender, 1, 2)

    assert listener.stop(IN_MEMORY, drain=True) is True

    assert seen == ["from before a loss", None, "1", "2"]


def test_a_stop_with_drain_delivers_what_arrives_until_the_unlisten_is_answered(make, server, sender):
    called = []

    def connect():
        connection = server.connect()
        unlisten = connection.unlisten_many
        connection.unlisten_many = lambda channels: (send(sender, *range(600)), unlisten(channels))
        return connection

    with make(source=connect) as listener:
        subscription = listener.subscribe("jobs", lambda notification: called.append(notification.payload))
        assert subscription.wait_listening(IN_MEMORY)
        assert listener.stop(IN_MEMORY, drain=True) is True

    assert called == [str(number) for number in range(600)]


@blocking_only("who reads")
def test_a_stop_with_drain_of_a_lost_connection_of_the_users_says_that_it_was_lost(make, server):
    with make("jobs", source=server.connect()) as listener:
        server.drop_connection(its_connection(server))

        assert listener.stop(IN_MEMORY, drain=True) is True

    with pytest.raises(ListenerClosed, match="has ended: ConnectionLost"):
        listener.run()


@blocking_only("inside")
def test_of_several_errors_the_first_one_has_ended_it(make):
    shutdown = make("jobs")._lifecycle.shutdown

    for error in (ValueError("first"), ValueError("second")):
        shutdown.fail(error)

    with pytest.raises(ValueError, match="first"):
        shutdown.raise_failure()


# stop()


def test_a_stop_of_what_was_never_read_is_an_end_too(make):
    listener = make("jobs")

    assert listener.stop() is True
    assert listener.status().state == "closed"


def test_a_second_stop_says_the_same(make):
    listener = make("jobs")
    listener.start()

    assert listener.stop(IN_MEMORY) is True
    assert listener.stop(IN_MEMORY) is True


def test_a_stop_in_a_pause_between_attempts_does_not_wait_for_it(make, server):
    listener = make("jobs", source=refusing(server, 100), backoff=Backoff(1000, 1000))
    listener.start()

    assert listener.stop(IN_MEMORY) is True


def test_a_stop_while_it_connects_does_not_wait_for_that_and_its_connection_is_closed(make, server):
    connecting, go, made = threading.Event(), threading.Event(), Happened()

    def connect():
        connecting.set()
        assert go.wait(IN_MEMORY)
        made.append(server.connect())
        return made[0]

    listener = make("jobs", source=connect)
    reader = Running(listener.run)
    assert connecting.wait(IN_MEMORY)

    assert listener.stop(IN_MEMORY) is True
    reader.ended()
    go.set()
    made.wait_for(1)
    eventually(lambda: made[0].closed, patience=IN_MEMORY)


@pytest.mark.parametrize("answered_before", [True, False])
def test_a_stop_cuts_off_a_call_that_waits_for_the_server(make, server, answered_before):
    silent, listening = Happened(), Happened()

    def connect():
        connection = server.connect()
        if listening or not answered_before:
            server.blackhole(connection)
            silent.append(connection)
        return connection

    listener = make("jobs", source=connect, answer_timeout=1000, on_listening=listening.append)
    reader = Running(listener.run)
    if answered_before:
        listening.wait_for(1)
        server.drop_connection(its_connection(server))
    silent.wait_for(1)
    eventually(lambda: silent[0]._link._answer_awaited, patience=IN_MEMORY)

    assert listener.stop(IN_MEMORY) is True
    reader.ended()


def catching_up(make, server):
    """Run a listener whose on_listening waits for the server; return both, and what that call has raised, if it has."""
    raised = Happened()

    def on_listening(event):
        server.blackhole(event.connection)
        try:
            event.connection.check()
        except ConnectionLost as error:
            raised.append(error)

    listener = make("jobs", answer_timeout=1000, on_listening=on_listening)
    reader = Running(listener.run)
    eventually(lambda: is_in(reader, "on_listening", "wait_readable"), patience=IN_MEMORY)
    return listener, reader, raised


@blocking_only("held loop")
def test_a_stop_lets_the_users_own_call_have_its_answer(make, server):
    listener, reader, raised = catching_up(make, server)
    looks, abort = Happened(), listener._runner.abort_call
    listener._runner.abort_call = lambda: looks.append(abort())
    stopping = Running(listener.stop, IN_MEMORY)
    looks.wait_for(1)

    server.heal()

    assert stopping.ended() is True
    reader.ended()
    assert raised == []


@blocking_only("held loop")
def test_a_stop_whose_time_has_passed_cuts_off_the_users_own_call(make, server):
    listener, reader, raised = catching_up(make, server)

    assert listener.stop(timeout=0.01) is False

    reader.ended()
    assert len(raised) == 1
    assert listener.stop(IN_MEMORY) is True


def test_a_goodbye_that_waits_for_the_server_is_cut_off(make, server):
    """Some connections of a connect function ask the server something when they are closed."""
    left = Happened()

    def connect():
        connection = server.connect()
        close = connection.close

        def say_goodbye():
            try:
                connection.check()
            except ConnectionLost as error:
                left.append(error)
            close()

        connection.close = say_goodbye
        return connection

    listener = make("jobs", source=connect, answer_timeout=0.05)
    listener.start()
    server.blackhole(its_connection(server))
    eventually(lambda: waits(reader_of(listener)), patience=IN_MEMORY)  # otherwise the stop cuts off the call before

    assert listener.stop(IN_MEMORY) is True

    assert len(left) == 1
    assert server.connections == []


def test_a_stop_gives_up_on_a_callback_that_does_not_return(make, sender):
    entered, go = threading.Event(), threading.Event()
    listener = make()
    listener.subscribe("jobs", lambda notification: (entered.set(), go.wait(IN_MEMORY)))
    listener.start()
    send(sender, 1)
    assert entered.wait(IN_MEMORY)

    assert listener.stop(timeout=0.01) is False
    assert listener.status().state == "listening"
    go.set()

    assert listener.stop(IN_MEMORY) is True


@pytest.fixture
def on_signal():
    """A function that sets a handler of SIGUSR1, which is taken back at the end."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, lambda *_: handler())
    signal.signal(signal.SIGUSR1, before)


@blocking_only("signals")
def test_a_stop_in_a_signal_handler_of_the_thread_that_reads_only_asks(make, sender, on_signal):
    results, called, listener = [], [], make()
    on_signal(lambda: results.append(listener.stop()))

    def callback(notification):
        called.append(notification.payload)
        signal.raise_signal(signal.SIGUSR1)

    with listener:
        assert listener.subscribe("jobs", callback).wait_listening(IN_MEMORY)
        send(sender, 1, 2)
        listener.run()

    assert results == [False]
    assert called == ["1"]


@blocking_only("signals")
def test_a_signal_handler_that_stops_ends_a_wait(make, on_signal):
    """The signal comes when the wait has begun, or just before: both must end it."""
    listening = Happened()
    listener = make("jobs", on_listening=listening.append)
    on_signal(listener.stop)
    main = threading.main_thread().ident
    sending = Running(lambda: (listening.wait_for(1), signal.pthread_kill(main, signal.SIGUSR1)))

    listener.run()

    sending.ended()
    assert listener.status().state == "closed"


@blocking_only("signals")
def test_a_signal_handler_of_a_thread_that_does_not_read_waits_for_the_end(make, on_signal):
    results, listener = [], make("jobs")
    on_signal(lambda: results.append(listener.stop(IN_MEMORY)))
    listener.start()

    signal.raise_signal(signal.SIGUSR1)

    assert results == [True]


# A connection of the user's.


def test_a_connection_of_the_users_is_unlistened_and_left_open(make, server):
    connection = server.connect()
    with make("jobs", source=connection):
        assert connection.listening_channels == {"jobs"}

    assert connection.listening_channels == frozenset()
    assert not connection.closed


def test_a_connection_of_ours_is_closed(make, server):
    with make("jobs"):
        connection = its_connection(server)

    assert connection.closed


# Afterwards.


@pytest.mark.parametrize(
    "use",
    [
        lambda listener: listener.run(),
        lambda listener: listener.start(),
        lambda listener: iter(listener),
        lambda listener: listener.notifications(),
        lambda listener: listener.wait_or_poll(),
        lambda listener: listener.subscribe("jobs", print),
        lambda listener: listener.__enter__(),
    ],
    ids=["run", "start", "iter", "notifications", "wait_or_poll", "subscribe", "enter"],
)
def test_what_was_stopped_cannot_be_used(make, use):
    listener = make("jobs", name="cache")
    listener.stop()

    with pytest.raises(ListenerClosed, match="the listener 'cache' was stopped"):
        use(listener)


def test_a_probe_of_what_was_stopped_says_so(make):
    listener = make("jobs")
    listener.stop()

    assert listener.probe() == ("no", "the listener is closed", None)


def test_its_subscriptions_cannot_be_waited_for_but_cancelled(make):
    listener = make()
    subscription = listener.subscribe("jobs", print)
    listener.stop()

    with pytest.raises(ListenerClosed):
        subscription.wait_listening()
    subscription.cancel()


def test_it_can_still_tell_how_it_stood(make):
    with make("jobs") as listener:
        pass

    status = listener.status()
    assert (status.state, status.delivering, status.channels) == ("closed", False, ())


# Nobody has stopped it.


@blocking_only("deleted")
def test_what_is_deleted_without_a_stop_warns_and_lets_go_of_its_connection(server, no_gc):
    listener = Listener(lambda: server.connect(), "jobs", heartbeat=None)
    listener.__enter__()

    with pytest.warns(
        ResourceWarning, match=r"<Listener 'pgnotify' listening: 'jobs' on .*> was deleted without stop\(\)"
    ):
        del listener

    assert server.connections == []


@blocking_only("deleted")
@pytest.mark.parametrize("how", ["never read", "stopped", "refused"])
def test_what_holds_nothing_is_deleted_in_silence(server, how):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if how == "refused":
            with pytest.raises(TypeError):
                Listener(server.connect, workers="2")
        else:
            listener = Listener(server.connect, "jobs")
            if how == "stopped":
                with listener:
                    pass
            del listener
        gc.collect()


@blocking_only("deleted")
def test_deleting_a_listener_after_its_module_does_no_harm(server, no_gc, monkeypatch):
    listener = Listener(server.connect)
    monkeypatch.setattr("pgnotify.listener.listener.sys", None)  # as at the end of a frozen application

    del listener  # an error in __del__ is a warning, and an error here
