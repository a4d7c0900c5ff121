"""MemoryConnection: pgnotify on top of it, its waits and descriptors, its end, and many threads at once."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import warnings
from contextlib import ExitStack, closing, suppress

import pytest

import pgnotify
from pgnotify import ConnectionLost, NotificationHandler
from pgnotify.protocol import Backend, Busy, NamesConnection, NamesDatabaseError, NotifiesMany
from pgnotify.testing.memory import DatabaseError, MemoryServer
from pgnotify.waiting import Wakeup
from tests.helpers.memory import arrived_payloads, assert_lost, payloads_before_the_loss, readable, refused
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY

# pgnotify on top of it


def test_a_connection_is_a_backend_that_pgnotify_takes_as_it_is(sender):
    wrapped = pgnotify.wrap(sender)

    assert wrapped.backend is sender
    assert wrapped.connection is sender
    for protocol in (Backend, NotifiesMany, Busy, NamesConnection, NamesDatabaseError):
        assert isinstance(sender, protocol)
    assert sender.connection is sender
    assert sender.DatabaseError is DatabaseError


def test_the_documented_handler_runs_on_it(sender, listener):
    received = []
    handler = NotificationHandler(listener, "jobs", lambda arg_dict: received.append(dict(arg_dict)))
    handler.listen()

    handler.notify(payload="my own")
    pgnotify.notify(sender, "jobs", "another's")
    handler.notify(sender, stop=True)
    handler()

    assert received == [
        {"event": "jobs", "extra": "my own", "pid": listener.pid},
        {"event": "jobs", "extra": "another's", "pid": sender.pid},
        {"event": "stop_jobs", "extra": "", "pid": sender.pid},
    ]
    assert listener.listening_channels == set()


def test_a_handler_that_waits_in_a_thread_is_notified_stopped_and_lost(server, sender, listener, blocking):
    received = []
    handler = NotificationHandler(listener, "jobs", received.append)

    loop = Running(handler)
    assert blocking.wait(IN_MEMORY)
    handler.stop()
    loop.ended()
    blocking.clear()
    loop = Running(handler)
    assert blocking.wait(IN_MEMORY)
    sender.notify("jobs", "last words")
    server.drop_connection(listener)

    with pytest.raises(ConnectionLost) as lost:
        loop.ended()
    assert lost.value.__cause__.sqlstate == "57P01"
    assert [arg_dict["extra"] for arg_dict in received] == ["last words"]
    assert handler.listening is False


def test_a_stray_channel_is_the_servers_error_class_too(sender, listener):
    handler = NotificationHandler(listener, "events", print, timeout=0)
    sender.notify("jobs")

    with pytest.raises(DatabaseError, match="but notified of"):
        handler()


def test_the_front_refuses_what_the_server_would_refuse_and_cut(sender):
    with pytest.raises(pgnotify.ChannelError):
        pgnotify.notify(sender, "x" * 64)
    with pytest.raises(pgnotify.ChannelError):
        pgnotify.wrap(sender).listen("x" * 64)


# Waiting, fetching, descriptors


def test_a_wait_of_no_time_only_looks(sender, listener):
    assert listener.wait(0) is False
    sender.notify("jobs")
    assert listener.wait(0) is True
    listener.fetch()
    assert listener.wait(0) is False


def test_a_notification_ends_a_wait_in_another_thread(sender, listener, blocking):
    waiting = Running(lambda: listener.wait(None))
    assert blocking.wait(IN_MEMORY)
    assert listener.busy

    sender.notify("jobs")

    assert waiting.ended() is True
    assert not listener.busy


def test_the_wakeup_ends_a_wait(listener):
    wakeup = Wakeup()
    wakeup.wake()

    listener.wait(None, wakeup.fileno())

    assert listener.fetch() == []
    wakeup.close()


def test_a_long_backlog_comes_in_batches_and_stays_readable_to_its_end(sender, listener):
    sender.notify_many([("jobs", str(number)) for number in range(1_200)])

    batches = []
    while readable(listener):
        assert listener.wait(0)
        batches.append(listener.fetch())

    assert [len(batch) for batch in batches] == [500, 500, 200]
    assert [int(each.payload) for batch in batches for each in batch] == list(range(1_200))
    assert listener.fetch() == []


def test_an_event_loop_can_watch_the_descriptor(server, sender, listener):
    async def listen():
        loop = asyncio.get_running_loop()
        came = asyncio.Queue()
        loop.add_reader(listener.fileno(), lambda: came.put_nowait(listener.fetch()))
        loop.call_soon(sender.notify, "jobs", "1")
        first = await came.get()
        await loop.run_in_executor(None, sender.notify, "jobs", "2")
        second = await came.get()
        loop.remove_reader(listener.fileno())
        assert came.empty()
        return first + second

    assert [each.payload for each in asyncio.run(asyncio.wait_for(listen(), IN_MEMORY))] == ["1", "2"]


def test_a_descriptor_may_be_over_1023(server, sender):
    resource = pytest.importorskip("resource", reason="not applicable: no limit of descriptors here")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2_048:
        pytest.skip(f"not applicable: at most {hard} descriptors are allowed here")
    with ExitStack() as taken:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_048), hard))
        taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 1_023:
            taken.callback(os.close, descriptor)
        taken.callback(os.close, descriptor)
        listener = taken.enter_context(closing(server.connect()))
        listener.listen("jobs")
        assert listener.fileno() > 1_023

        sender.notify("jobs", "high")

        assert listener.wait(IN_MEMORY)
        assert arrived_payloads(listener) == ["high"]


# The end


def _open_descriptors():
    gc.collect()  # descriptors of earlier tests would otherwise be closed during this one
    return sum(map(_is_open, range(512)))


def _is_open(number):
    with suppress(OSError):
        os.fstat(number)
        return True
    return False


@pytest.mark.parametrize("dropped", [False, True])
def test_closing_frees_the_descriptors_and_may_be_done_twice(server, dropped):
    before = _open_descriptors()
    connection = server.connect()
    assert _open_descriptors() == before + 2
    if dropped:
        server.drop_connection(connection)

    connection.close()
    connection.close()

    assert _open_descriptors() == before
    assert connection.closed
    with pytest.raises(ConnectionLost):
        connection.fileno()


def test_a_closed_connection_is_a_lost_one_and_does_not_listen(server, sender, listener):
    sender.notify("jobs", "not fetched")

    listener.close()

    assert_lost(listener, "08003")
    assert listener.listening_channels == frozenset()
    assert server.connections == [sender]
    sender.notify("jobs")


def test_closing_ends_the_call_of_another_thread_and_frees_the_descriptors_after_it(server, listener, blocking):
    before = _open_descriptors()
    waiting = Running(lambda: listener.wait(None))
    assert blocking.wait(IN_MEMORY)

    listener.close()
    waiting.ended()

    assert _open_descriptors() == before - 2


def test_closing_in_the_midst_of_a_wait_keeps_its_descriptor_from_being_used_again(listener, blocking):
    descriptor = listener.fileno()
    blocking.then = lambda: (listener.close(), os.fstat(descriptor))  # as a signal handler does

    assert listener.wait(None) is True

    assert not _is_open(descriptor)


def test_letting_go_of_connections_leaves_no_warning_behind():
    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with MemoryServer() as server:
            server.connect()
            server.connect().begin()
        del server
        gc.collect()

    assert told == []


def test_the_representations_tell_who_it_is(server, sender):
    pid = sender.pid
    assert repr(server) == "<MemoryServer connections=1>"
    assert repr(sender) == f"<MemoryConnection {pid} to 'postgres'>"
    server.drop_connection(sender)
    assert repr(sender) == f"<lost MemoryConnection {pid} to 'postgres'>"
    sender.close()
    assert repr(sender) == f"<closed MemoryConnection {pid} to 'postgres'>"


def test_closing_the_server_loses_all_connections_and_refuses_new_ones(server, sender, listener):
    sender.notify("jobs", "last words")

    server.close()
    server.close()

    assert payloads_before_the_loss(listener) == ["last words"]
    assert_lost(listener)
    assert server.connections == []
    assert refused(server.connect) == "57P03"


# Threads


@pytest.fixture
def frequent_switches():
    """Make threads switch wherever nothing is locked."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
def test_all_listeners_see_the_same_whole_transactions_in_the_same_order_whichever_threads_send(server):
    listeners = [server.connect() for _ in range(3)]
    for listener in listeners:
        listener.listen("jobs")
    senders = [server.connect() for _ in range(4)]
    start = threading.Barrier(len(senders))

    def send(connection):
        start.wait(IN_MEMORY)
        for number in range(50):
            connection.notify_many([("jobs", f"{number}.{part}") for part in range(20)])

    for running in [Running(lambda connection=connection: send(connection)) for connection in senders]:
        running.ended()

    arrived = [[each for _ in range(8) for each in listener.fetch()] for listener in listeners]
    assert arrived[0] == arrived[1] == arrived[2]
    whole = [arrived[0][start : start + 20] for start in range(0, 4_000, 20)]
    assert all(len({each.pid for each in transaction}) == 1 for transaction in whole)
    for sender in senders:
        sent = [f"{number}.{part}" for number in range(50) for part in range(20)]
        assert [each.payload for each in arrived[0] if each.pid == sender.pid] == sent


@pytest.mark.usefixtures("frequent_switches")
def test_faults_may_come_while_others_listen_and_send(server):
    ended = threading.Event()

    def live():
        while not ended.is_set():
            connection = server.connect()
            with suppress(ConnectionLost):
                connection.listen("jobs")
                for number in range(20):
                    connection.notify("jobs", str(number))
                    connection.wait(0)
                    connection.fetch()
            connection.close()

    lives = [Running(live) for _ in range(3)]
    for _ in range(100):
        server.blackhole()
        server.lose_subscription()
        server.heal()
        server.restart()
    ended.set()
    for each in lives:
        server.heal()
        each.ended()

    assert server.connections == []
