"""One thread ends all calls that take too long, and runs while it may be needed."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time

import pytest

from pgnotify.connecting import watchdog as module
from pgnotify.connecting.watchdog import Look, Watch, Watchdog, until
from tests.helpers.resources import no_thread
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY, eventually


class Client:
    """Something that may need the watchdog."""


@pytest.fixture
def watchdog():
    made = Watchdog()
    yield made
    made._clients.clear()
    made._watches.clear()
    made._ring()


class Bites(list):
    """The names of the calls that were ended, and when."""

    def watch(self, name, patience):
        return Watch(patience, lambda: self.append((name, time.monotonic())) or True)

    def names(self):
        return [name for name, _ in self]


@pytest.fixture
def bites():
    return Bites()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "pgnotify watchdog"]


# Its thread.


def test_one_thread_watches_all_calls_of_all_clients(watchdog, bites):
    clients, before = [Client() for _ in range(3)], threads()
    for client in clients:
        watchdog.stay_for(client)

    for number in range(30):
        watchdog.watch(bites.watch(number, until(0.0)))
    eventually(lambda: sorted(bites.names()) == list(range(30)), patience=IN_MEMORY)

    assert len(threads()) <= len(before) + 1


def test_it_runs_before_the_first_call(watchdog):
    client = Client()

    watchdog.stay_for(client)

    assert watchdog._thread.is_alive()


def test_it_ends_with_the_last_watch_if_the_last_client_has_left_before(watchdog, bites):
    client, watch = Client(), bites.watch("long", until(1000.0))
    watchdog.stay_for(client)
    watchdog.watch(watch)
    thread = watchdog._thread
    eventually(lambda: watchdog._looks_at == watch.moment, patience=IN_MEMORY)  # it sleeps for as long
    watchdog._clients.clear()

    assert not watchdog.has_bitten(watch)

    thread.join(IN_MEMORY)
    assert not thread.is_alive()


def test_it_ends_with_the_last_client(watchdog):
    clients = [Client(), Client()]
    for client in clients:
        watchdog.stay_for(client)
    thread = watchdog._thread

    watchdog.leave(clients[0])
    watchdog.leave(clients[0])
    assert thread.is_alive()
    watchdog.leave(clients[1])

    assert not thread.is_alive()


def test_it_ends_when_the_last_client_is_deleted(watchdog):
    client = Client()
    watchdog.stay_for(client)
    thread = watchdog._thread

    del client
    gc.collect()

    thread.join(IN_MEMORY)
    assert not thread.is_alive()


def test_it_watches_for_those_who_are_not_clients_too(watchdog, bites):
    watch = bites.watch("a call", until(0.01))
    watchdog.watch(watch)

    eventually(lambda: bites.names() == ["a call"], patience=IN_MEMORY)

    eventually(lambda: not watchdog._thread.is_alive(), patience=IN_MEMORY)
    assert watchdog.has_bitten(watch)


def test_clients_may_come_and_go_at_the_same_time(watchdog, bites):
    def use():
        for number in range(50):
            client = Client()
            watchdog.stay_for(client)
            watch = bites.watch(number, until(0.0 if number % 2 else 1000.0))
            watchdog.watch(watch)
            if number % 2:
                eventually(lambda watch=watch: watch not in watchdog._watches, patience=IN_MEMORY)
            assert watchdog.has_bitten(watch) is bool(number % 2)
            watchdog.leave(client)

    users = [Running(use) for _ in range(4)]
    for user in users:
        user.ended()

    eventually(lambda: not watchdog._running.locked(), patience=IN_MEMORY)
    assert len(bites) == 100


def test_without_threads_a_client_is_accepted_and_a_call_is_not(watchdog, bites, monkeypatch):
    client, watch = Client(), bites.watch("a call", until(0.0))
    no_thread(monkeypatch, "pgnotify watchdog", 2)

    watchdog.stay_for(client)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        watchdog.watch(watch)

    assert watchdog.has_bitten(watch) is False
    watchdog.watch(bites.watch("a later call", until(0.0)))
    eventually(lambda: bites.names() == ["a later call"], patience=IN_MEMORY)


def test_a_forked_child_has_a_thread_of_its_own(watchdog, bites):
    client = Client()
    watchdog.stay_for(client)
    watchdog.watch(bites.watch("the parent's", until(1000.0)))

    child = os.fork()
    if child == 0:
        status = 1
        try:
            watchdog.watch(bites.watch("the child's", until(0.0)))
            eventually(lambda: bites.names() == ["the child's"], patience=IN_MEMORY)
            status = 0
        finally:
            os._exit(status)

    assert os.waitpid(child, 0)[1] == 0
    assert len(watchdog._watches) == 1


# Its looks.


def test_an_earlier_end_wakes_it(watchdog, bites):
    client = Client()
    watchdog.stay_for(client)
    watchdog.watch(bites.watch("late", until(1000.0)))
    eventually(lambda: watchdog._looks_at < module.math.inf, "it sleeps", IN_MEMORY)

    watchdog.watch(bites.watch("early", until(0.0)))

    eventually(lambda: bites.names() == ["early"], patience=IN_MEMORY)


def test_a_call_that_has_returned_is_not_ended(watchdog, bites):
    watch = bites.watch("a call", until(0.02))
    watchdog.watch(watch)

    assert watchdog.has_bitten(watch) is False
    assert watchdog.has_bitten(watch) is False

    watchdog.watch(bites.watch("another", until(0.04)))
    eventually(lambda: bites.names() == ["another"], patience=IN_MEMORY)


def test_a_call_waits_until_it_is_known_whether_it_was_ended(watchdog):
    biting, go = threading.Event(), threading.Event()
    watch = Watch(until(0.0), lambda: biting.set() or go.wait(IN_MEMORY))
    watchdog.watch(watch)
    assert biting.wait(IN_MEMORY)
    call = Running(lambda: watchdog.has_bitten(watch))
    eventually(call.is_alive, patience=IN_MEMORY)

    go.set()

    assert call.ended() is True
    assert watchdog.has_bitten(watch) is True


def test_many_descriptors_are_watched_at_the_same_time(watchdog, bites):
    """The looks at one connection do not delay those at the others."""
    pairs = [socket.socketpair() for _ in range(20)]

    def patience(ours):
        while not (yield Look(1000.0, ours.fileno())):
            pass

    for number, (ours, _) in enumerate(pairs):
        watchdog.watch(bites.watch(number, patience(ours)))
    for _, theirs in pairs:
        theirs.send(b"x")

    eventually(lambda: sorted(bites.names()) == list(range(20)), patience=IN_MEMORY)
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


@pytest.mark.parametrize("error", [OSError, ValueError, MemoryError])
def test_a_look_that_fails_ends_the_call_and_not_the_thread(watchdog, bites, error):
    def failing():
        yield Look(0.0)
        raise error

    watchdog.watch(bites.watch("failing", failing()))
    watchdog.watch(bites.watch("another", until(0.01)))

    eventually(lambda: sorted(bites.names()) == ["another", "failing"], patience=IN_MEMORY)
