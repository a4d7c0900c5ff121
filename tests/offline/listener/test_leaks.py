"""A call of the Listener that raises leaves no thread, descriptor or connection, nor does one that is dropped."""

from __future__ import annotations

import gc
import os
import socket
import threading
import warnings
import weakref
from contextlib import suppress
from operator import methodcaller

import pytest

from pgnotify.errors import ConnectionLost, ListenerClosed, SourceError, TransactionError
from tests.helpers.interrupting import AVAILABLE, Interruption, TimeLimit, time_limit
from tests.helpers.listener_fronts import Listener, blocking_only, both_fronts
from tests.helpers.listeners import Happened, Watching, its_connection, next_payloads, send
from tests.helpers.resources import no_thread, open_descriptors
from tests.helpers.signals import on_signal, send_signal
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = both_fronts

USES = {
    "run": methodcaller("run"),
    "start": methodcaller("start"),
    "iterate": list,
    "hint": methodcaller("wait_or_poll"),
    "probe": methodcaller("probe"),
    "wait_listening": lambda listener: listener.subscribe("more", print).wait_listening(),
}


@pytest.fixture(params=USES)
def use(request):
    """Each way to have a listener read."""
    return USES[request.param]


class Left:
    """The threads and descriptors that there are now, and were not there at the beginning."""

    def __init__(self):
        gc.collect()
        self._threads, self._descriptors = set(threading.enumerate()), open_descriptors()

    def threads(self):
        return {thread.name for thread in set(threading.enumerate()) - self._threads}

    def descriptors(self):
        return open_descriptors() - self._descriptors

    def is_nothing(self):
        return not self.threads() and not self.descriptors()

    def expect_nothing(self):
        gc.collect()
        eventually(self.is_nothing, f"{self.threads()} and {self.descriptors()} are left", IN_MEMORY)


@pytest.fixture
def left():
    return Left()


@pytest.fixture
def make_one(make):
    """A function that makes a listener with workers and a callback, which are not dropped before the end."""

    def listener(source=None, **settings):
        made = make("jobs", source=source, workers=3, **settings)
        made.subscribe("own", print)
        return made

    return listener


def assert_works(listener, server):
    """Fail unless it can still be read."""
    called = Happened()
    listener.subscribe("later", lambda notification: called.append(notification.payload)).wait_listening(IN_MEMORY)
    sender = server.connect()
    send(sender, 1, channel="later")
    reader = Running(listener.run)
    called.wait_for(1)
    assert listener.stop(IN_MEMORY)
    reader.ended()
    sender.close()


def failing_once(server, error):
    """Return a source that raises an error at first."""
    errors = [error]

    def connect():
        if errors:
            raise errors.pop()
        return server.connect()

    return connect


# An error, after which the listener can be read again.


def test_a_bad_source(make_one, server, left, use):
    listener = make_one(failing_once(server, TypeError("a bad source")))

    with pytest.raises(TypeError, match="a bad source"):
        use(listener)

    left.expect_nothing()
    assert listener.status().state == "idle"
    assert_works(listener, server)


@blocking_only("inside")
def test_a_start_whose_source_wants_to_exit(make_one, server, left):
    listener = make_one(failing_once(server, SystemExit(3)))

    with pytest.raises(SystemExit):
        listener.start()

    left.expect_nothing()
    assert listener.status().state == "idle"
    assert_works(listener, server)


def test_a_source_of_dead_connections(make_one, server, left, use):
    connections = []

    def connect():
        if not connections:
            connections.append(server.connect())
            server.drop_connection(connections[0])
            return connections[0]
        return server.connect()

    listener = make_one(connect)
    with pytest.raises(SourceError, match="already dead"):
        use(listener)

    connections[0].close()
    left.expect_nothing()
    assert_works(listener, server)


@blocking_only("workers")
def test_too_few_threads(make_one, server, left, use, monkeypatch):
    with monkeypatch.context() as few:
        no_thread(few, "worker 3")
        listener = make_one()
        with pytest.raises(RuntimeError, match="can't start new thread"):
            use(listener)

    left.expect_nothing()
    assert_works(listener, server)


@blocking_only("inside")
def test_too_few_descriptors(make_one, server, left, use, monkeypatch):
    with monkeypatch.context() as few:
        few.setattr(socket, "socketpair", lambda *_: (_ for _ in ()).throw(OSError("too many open files")))
        listener = make_one()
        with pytest.raises(OSError, match="too many open files"):
            use(listener)

    left.expect_nothing()
    assert_works(listener, server)


def test_a_source_that_fails_for_good_later(make_one, server, left):
    connection = server.connect()
    watching = Watching()
    listener = make_one(lambda: connection, observer=watching)
    reader = Running(listener.run)
    watching.states.wait_for(lambda states: "listening" in states)
    server.drop_connection(connection)

    with pytest.raises(SourceError):
        reader.ended()

    connection.close()
    del reader
    left.expect_nothing()


@pytest.mark.parametrize("way", ["run", "iterate", "hint"])
def test_the_loss_of_a_users_connection(make_one, server, left, way, front):
    connection, watching = server.connect(), Watching()
    listener = make_one(connection, observer=watching)
    reader = Running(USES[way], listener)
    watching.states.wait_for(lambda states: "listening" in states)
    server.drop_connection(connection)

    with pytest.raises(ConnectionLost):
        reader.ended()

    connection.close()
    del reader
    left.expect_nothing()
    with pytest.raises(ConnectionLost if front == "blocking" or way == "iterate" else ListenerClosed):
        USES[way](listener)
    left.expect_nothing()


@blocking_only("who reads")
def test_a_users_connection_that_is_left_in_a_transaction_is_kept(make_one, server, sender):
    connection = server.connect()
    listener = make_one(connection)
    with listener:
        connection.begin()
        with pytest.raises(TransactionError):
            listener.run()
        connection.rollback()
        send(sender, 1)
        assert next_payloads(listener, 1) == ["1"]


# An interruption.


@blocking_only("signals")
def test_a_start_that_a_signal_handler_interrupts_is_stopped(make_one, server, left):
    interruptions = []

    def interrupt():
        if not interruptions:
            interruptions.append(1)
            raise KeyboardInterrupt

    def connect():
        connection = server.connect()
        server.blackhole(connection)
        # Again and again: one that comes just before the main thread begins to wait is not seen before the end of that.
        eventually(lambda: interruptions or send_signal(), patience=IN_MEMORY)
        return connection

    listener = make_one(connect, answer_timeout=1000)
    with on_signal(interrupt), pytest.raises(KeyboardInterrupt):
        listener.start()

    assert listener.status().state == "closed"
    left.expect_nothing()


@blocking_only("signals")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # one of ours that was just being made
@pytest.mark.skipif(not AVAILABLE, reason="not applicable: the places are others")
def test_an_attempt_to_connect_that_is_interrupted_leaves_no_connection(server, left, no_gc):
    """A time limit comes at each place of the first run, one after the other, and nobody runs it again."""
    place, count = 0, None
    while count is None or place <= count:
        interruption = interrupted_run(server, place)
        eventually(lambda: not server.connections, interruption.where, IN_MEMORY)
        count = interruption.count if count is None else count
        place += 1

    assert place > 100
    left.expect_nothing()


def interrupted_run(server, place):
    listener = Listener(server.connect, "jobs", heartbeat=None, on_listening=lambda _: listener.stop())
    with time_limit() as strike, suppress(TimeLimit), Interruption(place, strike).here() as interruption:
        listener.run()
    listener.stop()
    return interruption


@blocking_only("signals")
@pytest.mark.parametrize("way", ["run", "iterate", "hint"])
def test_what_is_dropped_after_an_interruption(server, sender, left, way, no_gc):
    """It could go on, so it keeps its connection and its workers until then. A worker interrupts it."""

    def interrupt():
        raise KeyboardInterrupt

    listener = Listener(
        server.connect, "jobs", workers=1, heartbeat=None, on_listening=lambda _: send(sender, 1, channel="own")
    )
    listener.subscribe("own", lambda notification: send_signal())
    with on_signal(interrupt), suppress(KeyboardInterrupt):
        USES[way](listener)
    assert not its_connection(server).closed
    unserved = listener._delivery.workers._unserved
    eventually(lambda: not unserved, "the callback has returned", IN_MEMORY)
    reference = weakref.ref(listener)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del listener
        gc.collect()

    assert [str(each.message).partition("> ")[2] for each in warned] == ["was deleted without stop()"]
    assert reference() is None
    assert server.connections == [sender]
    left.expect_nothing()


# A forked child.


@blocking_only("fork")
def test_a_child_that_is_refused(make_one, server, use):
    listener = make_one()
    listener.start()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            left = Left()
            for _ in range(2):
                with suppress(Exception):
                    use(listener)
            status = 0 if left.is_nothing() else 2
        finally:
            os._exit(status)

    assert os.waitpid(child, 0)[1] == 0
