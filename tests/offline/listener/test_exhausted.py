"""The Listener on a system that has no more descriptors, threads or memory: a failed attempt, or a clear error."""

from __future__ import annotations

import errno
import gc
import os
import socket
import threading
from contextlib import closing

import pytest

from pgnotify import NotificationHandler
from pgnotify.connecting.socket_handle import SocketHandle
from pgnotify.listener.gap import Reason
from pgnotify.listener.subscriptions import Subscription
from pgnotify.listener.workers import Workers
from tests.helpers.listeners import AT_ONCE, Told, Watching, its_connection, next_payloads, send
from tests.helpers.resources import few_descriptors, no_thread, open_descriptors
from tests.helpers.waiting import IN_MEMORY, eventually

NO_MORE = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def failing(times, error, call):
    """Return a function that raises an error this many times, and then does its work."""
    left = [error] * times

    def function(*arguments, **options):
        if left:
            raise left.pop()
        return call(*arguments, **options)

    return function


def assert_recovers(listener, server, told, error):
    """Fail unless the connection was given up, and the next one is as it should be."""
    told.next()
    assert error in listener.status().last_error
    assert listener._runner._socket_handle is not None
    eventually(lambda: len(server.connections) == 1, "the connection that was given up is closed", IN_MEMORY)
    assert listener.status().delivering is True
    with closing(server.connect()) as sender:
        send(sender, "1")
    assert next_payloads(listener, 1) == ["1"]


# A connection.


def test_a_connection_whose_descriptor_cannot_be_duplicated_is_a_failed_attempt(make, server, monkeypatch, caplog):
    told = Told()
    monkeypatch.setattr(os, "dup", failing(2, NO_MORE, os.dup))
    listener = make("jobs", on_listening=told)
    listener.start()

    assert_recovers(listener, server, told, "Too many open files")
    assert [record.getMessage() for record in caplog.records if "attempt 2 to connect failed" in record.getMessage()]


def test_so_it_is_after_a_loss(make, server, monkeypatch):
    told = Told()
    listener = make("jobs", on_listening=told)
    listener.start()
    told.next()
    monkeypatch.setattr(os, "dup", failing(2, NO_MORE, os.dup))
    server.drop_connection(its_connection(server))

    assert_recovers(listener, server, told, "Too many open files")
    assert told.gaps[-1].reason is Reason.CONNECTION_LOST


def test_a_connection_that_cannot_be_kept_alive_is_a_failed_attempt(make, server, monkeypatch):
    gc.collect()
    told, before = Told(), open_descriptors()
    handles = []

    def keep_alive(handle, *_):
        handles.append(handle)
        if len(handles) < 3:
            raise NO_MORE

    monkeypatch.setattr(SocketHandle, "keep_alive", keep_alive)
    listener = make("jobs", on_listening=told)
    listener.start()

    assert_recovers(listener, server, told, "Too many open files")
    assert [handle._socket.fileno() for handle in handles[:2]] == [-1, -1]
    assert listener.stop(IN_MEMORY)
    assert open_descriptors() <= before


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOTSOCK])
def test_a_connection_without_a_socket_is_no_failure(make, server, monkeypatch, number):
    monkeypatch.setattr(os, "dup", failing(1, OSError(number, os.strerror(number)), os.dup))
    told = Told()
    listener = make("jobs", on_listening=told)
    listener.start()
    told.next()

    assert listener.status().last_error is None


def test_a_connection_of_the_users_that_cannot_be_duplicated_is_an_error_and_can_be_read_later(
    make, server, monkeypatch
):
    connection = server.connect()
    monkeypatch.setattr(os, "dup", failing(1, NO_MORE, os.dup))
    listener = make("jobs", source=connection)

    with pytest.raises(OSError, match="Too many open files"):
        next_payloads(listener, 1)

    assert connection.closed is False
    list(listener.notifications(0))
    send(server.connect(), "1")
    assert next_payloads(listener, 1) == ["1"]


# Threads.


def test_an_attempt_without_a_thread_is_a_failed_attempt(make, server, monkeypatch):
    failed, told = no_thread(monkeypatch, "pgnotify connecting", 2), Told()
    listener = make("jobs", on_listening=told)
    listener.start()

    assert_recovers(listener, server, told, "can't start new thread")
    assert len(failed) == 2


def test_a_connection_without_a_thread_for_its_deadlines_is_a_failed_attempt(make, server, monkeypatch):
    told = Told()
    failed = no_thread(monkeypatch, "pgnotify watchdog", 6)  # twice, to open, to ask and to close
    listener = make("jobs", on_listening=told)
    listener.start()

    assert_recovers(listener, server, told, "can't start new thread")
    assert len(failed) == 6


def test_a_heartbeat_needs_no_thread_of_its_own(make, server, monkeypatch):
    told, watching = Told(), Watching()
    listener = make("jobs", on_listening=told, heartbeat=0.02, observer=watching)
    listener.start()
    told.next()
    no_thread(monkeypatch, "", 10**6)

    watching.checks.wait_for(3)

    assert told.gaps == []
    assert listener.status().last_error is None


def test_without_a_thread_start_raises_and_works_later(make, server, sender, monkeypatch):
    no_thread(monkeypatch, "listener")
    listener = make("jobs")

    with pytest.raises(RuntimeError, match="can't start new thread"):
        listener.start()

    listener.start()
    send(sender, "1")
    assert next_payloads(listener, 1) == ["1"]


def test_workers_that_cannot_all_be_started_are_none():
    before = set(threading.enumerate())
    with pytest.MonkeyPatch.context() as monkeypatch:
        no_thread(monkeypatch, "worker 3")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            Workers(3, "a listener", threading.Lock(), print, print, print)

    eventually(lambda: set(threading.enumerate()) <= before, "all threads have ended", IN_MEMORY)


def test_a_listener_whose_workers_cannot_be_started_raises_and_works_later(make, sender, monkeypatch):
    no_thread(monkeypatch, "worker 2")
    listener, seen = make(workers=2), []
    listener.subscribe("jobs", seen.append)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        listener.start()

    listener.start()
    send(sender, "1")
    eventually(lambda: [each.payload for each in seen] == ["1"], patience=IN_MEMORY)


# Being woken.


def test_a_listener_that_cannot_be_woken_is_not_started(make, sender, monkeypatch):
    pair = socket.socketpair
    monkeypatch.setattr(socket, "socketpair", lambda *_: (_ for _ in ()).throw(NO_MORE))
    listener = make("jobs", source=lambda: pytest.fail("it connects nevertheless"))

    with pytest.raises(OSError, match="Too many open files"):
        listener.start()

    assert listener.status().state == "idle"
    monkeypatch.setattr(socket, "socketpair", pair)


def test_a_handler_that_cannot_be_woken_raises_and_goes_on_later(server, sender, monkeypatch):
    connection, seen = server.connect(), []
    handler = NotificationHandler(connection, "jobs", lambda arguments: seen.append(dict(arguments or {})))
    handler.listen()
    pair = socket.socketpair
    monkeypatch.setattr(socket, "socketpair", lambda *_: (_ for _ in ()).throw(NO_MORE))

    with pytest.raises(OSError, match="Too many open files"):
        handler()

    assert handler.listening is True
    monkeypatch.setattr(socket, "socketpair", pair)
    send(sender, "1")
    handler.notify(stop=True)
    handler()
    assert [each["extra"] for each in seen] == ["1", ""]


# Memory.


@pytest.mark.parametrize("call", ["fetch_into", "check", "listen_many"])
def test_a_call_without_memory_gives_the_connection_up(make, server, call):
    told = Told()
    listener = make("jobs", on_listening=told, heartbeat=0.02)
    listener.start()
    told.next()
    connection = its_connection(server)
    setattr(connection, call, failing(1, MemoryError(), getattr(connection, call)))
    if call == "fetch_into":
        listener._runner.use(connection)  # looks it up again
    if call == "listen_many":
        subscription: Subscription = listener.subscribe("more", print)

    assert_recovers(listener, server, told, "MemoryError")
    assert told.gaps[-1].reason is Reason.CONNECTION_LOST
    if call == "listen_many":
        assert subscription.wait_listening(IN_MEMORY)


# Descriptors that are really used up.


def test_a_child_without_a_descriptor_to_spare_forgets_nevertheless():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        handle = SocketHandle(ours.fileno())
        with few_descriptors() as descriptors:
            descriptors.use_up()
            handle.forget_in_child()

        assert os.fstat(ours.fileno()).st_rdev == os.stat(os.devnull).st_rdev


def test_a_duplicate_that_fails_closes_its_number_once(monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        gc.collect()
        before = open_descriptors()
        monkeypatch.setattr(os, "set_blocking", failing(1, NO_MORE, os.set_blocking))

        with pytest.raises(OSError, match="Too many open files"):
            SocketHandle(ours.fileno())

        with socket.socket() as next_one:  # has got the number
            gc.collect()
            os.fstat(next_one.fileno())
        assert open_descriptors() == before


def test_backing_off_without_descriptors_waits(make, server, monkeypatch):
    """A pause needs no descriptor that may be missing: attempts do not follow on each other at once."""
    monkeypatch.setattr(os, "dup", failing(10**6, NO_MORE, os.dup))
    listener = make("jobs", backoff=type(AT_ONCE)(60.0, 60.0))
    listener.start()

    assert (listener.status().state, listener.status().attempts) == ("backing off", 1)
