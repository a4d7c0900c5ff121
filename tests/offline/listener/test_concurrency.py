"""The Listener on a server in memory: what several threads do to it at once, and what a review has found there."""

from __future__ import annotations

import gc
import itertools
import logging
import socket
import threading
import time
import warnings
import weakref
from itertools import islice

import pytest

from pgnotify.atomic import at_once, pops
from pgnotify.connecting.source import Source
from pgnotify.errors import ConnectionLost, ListenerClosed
from pgnotify.listener import Listener, at_exit
from pgnotify.listener.gap import Reason
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.probe import Probe
from pgnotify.listener.runner import prepared_handle
from pgnotify.listener.subscriptions import Routes, Subscription
from pgnotify.listener.workers import Workers
from pgnotify.notification import Notification
from pgnotify.testing.memory import DatabaseError
from tests.helpers.listeners import Happened, Watching, drains, its_connection, send
from tests.helpers.notifications import payloads
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY, eventually


def test_who_subscribes_while_the_unlisten_is_under_way_waits_for_the_new_listen(make, server):
    listener = make()
    listener.start()
    first = listener.subscribe("jobs", print)
    assert first.wait_listening(IN_MEMORY)
    connection, entered, go = its_connection(server), threading.Event(), threading.Event()
    unlisten = connection.unlisten_many
    connection.unlisten_many = lambda channels: (entered.set(), go.wait(IN_MEMORY), unlisten(channels))

    first.cancel()
    assert entered.wait(IN_MEMORY)
    second = listener.subscribe("jobs", print)

    assert second.wait_listening(0) is False
    go.set()
    assert second.wait_listening(IN_MEMORY) is True
    assert connection.listening_channels == {"jobs"}


@pytest.mark.parametrize("look", [1, 2, 3])
def test_who_subscribes_while_a_batch_is_shared_out_gets_all_of_it_or_nothing(make, sender, look):
    called, looks = [], iter(())
    listener = make("jobs", workers=1)

    class Changing(Routes):
        """Somebody subscribes just behind the nth look at them."""

        def __getattribute__(self, name):
            value = super().__getattribute__(name)
            if name == "of" and next(looks, None) == look:
                listener.subscribe("jobs", called.append)
            return value

    with listener:
        listener.subscribe("other", print).wait_listening(IN_MEMORY)
        send(sender, 1, 2, 3)
        listener._routes.__class__, looks = Changing, itertools.count(1)
        iterated = payloads(listener.notifications(timeout=0))
        assert listener.stop(IN_MEMORY, drain=True)

    assert sorted(iterated + payloads(called)) == ["1", "2", "3"]


def test_of_two_threads_that_begin_to_iterate_at_once_one_reads_for_both(make, sender):
    listening, both, met = Happened(), threading.Barrier(2), []
    listener = make("jobs", on_listening=listening.append)
    ownership = listener._lifecycle._ownership
    try_to_take = ownership.try_to_take

    def meeting():
        if len(met) < 2:
            met.append(1)
            both.wait(IN_MEMORY)
        return try_to_take()

    ownership.try_to_take = meeting  # neither does before the other, too, has seen that nobody reads
    iterating = [Running(lambda: payloads(listener.notifications(stop_after=2))) for _ in range(2)]
    listening.wait_for(1)
    send(sender, 1, 2, 3, 4)

    got = [each.ended() for each in iterating]
    assert len(got[0]) == len(got[1]) == 2
    assert sorted(got[0] + got[1]) == ["1", "2", "3", "4"]


def test_a_callback_of_the_thread_that_reads_may_take_what_lies_behind_an_overflow(make, server, sender):
    results, watching = Happened(), Watching()
    listener = make("own", queue_size=2, observer=watching, on_error=lambda error, _: results.append(error))
    listener.subscribe("jobs", lambda notification: results.append(payloads(listener.notifications(stop_after=1))))
    listener.start()
    send(sender, 1, 2, 3, channel="own")
    watching.wait_for_notifications(3)
    assert payloads(listener.notifications(stop_after=2)) == ["1", "2"]
    send(sender, 4, channel="own")
    send(sender, 5)

    results.wait_for(1)
    assert results == [["4"]]
    server.drop_connection(its_connection(server))
    watching.gaps.wait_for(lambda gaps: Reason.QUEUE_OVERFLOW in [gap.reason for gap in gaps])


def test_what_was_started_and_is_dropped_goes_on_until_the_interpreter_ends(server, sender, no_gc):
    watching = Watching()
    listener = Listener(lambda: server.connect(), "jobs", heartbeat=None, observer=watching)
    listener.start()
    reference, connection = weakref.ref(listener), its_connection(server)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del listener
        gc.collect()

    assert (reference(), warned) == (None, [])
    send(sender, 1)
    watching.wait_for_notifications(1)
    assert not connection.closed
    at_exit.stop_all()
    assert server.connections == [sender]


def test_a_subscription_that_is_given_more_just_when_its_worker_is_done_is_served_by_one_thread():
    """One worker is busy elsewhere until the other has come to 2, and then takes what is next in line."""
    entered, go = Happened(), threading.Event()

    def call(subscription, notification):
        entered.append(notification.payload)
        if notification.payload == "busy":
            assert go.wait(IN_MEMORY)
        if notification.payload == "2":
            give("other", "next")
            go.set()
            entered.wait_for(4)

    def serve(subscription, queue, at_most, ends):
        for notification in map(Notification._make, islice(pops(queue), at_most)):
            call(subscription, notification)

    lock = threading.Lock()
    some = Workers(2, "test", lock, serve, print, print)
    subscriptions = {
        name: Subscription(name, print, print, print, Mailbox(1000, lock)) for name in ("busy", "jobs", "other")
    }

    def give(name, *messages):
        with some._lock:
            calls, _ = subscriptions[name].mailbox.plan([(name, message, 7) for message in messages], 0.0, 0.0)
            at_once(*calls, *some.plan(subscriptions[name]))

    class Lock:
        """Let go of first by the reader, for 1, and then by the worker that has found nothing behind it."""

        def __init__(self):
            self.lock, self.released = lock, 0

        def __enter__(self):
            self.lock.acquire()

        def __exit__(self, *error):
            self.lock.release()
            self.released += 1
            if self.released == 2:
                give("jobs", "2", "3")

    give("busy", "busy")
    entered.wait_for(1)
    some._lock = Lock()
    give("jobs", "1")
    entered.wait_for(4)

    assert some.close(drain=True, deadline=time.monotonic() + IN_MEMORY)
    assert entered == ["busy", "1", "2", "next", "3"]


def test_a_stop_with_drain_announces_what_the_queues_of_workers_have_dropped(make, sender):
    events, called, watching, full, draining = [], [], Watching(), threading.Event(), threading.Event()

    def on_listening(event):
        events.append((event.gap and event.gap.dropped, event.connection.closed, list(called)))

    def callback(notification):
        if notification.payload == "1":
            assert full.wait(IN_MEMORY)
            workers = listener._delivery.workers
            wait_idle = workers.wait_idle
            workers.wait_idle = lambda *when, **unless: (draining.set(), wait_idle(*when, **unless))[1]
            assert listener.stop(IN_MEMORY, drain=True) is False
            assert draining.wait(IN_MEMORY)
        called.append(notification.payload)

    listener = make(workers=1, queue_size=2, observer=watching, on_listening=on_listening)
    listener.subscribe("jobs", callback)
    listener.start()
    send(sender, 1)
    eventually(lambda: watching.batches and not listener.status().queued, patience=IN_MEMORY)  # the worker has it
    send(sender, 2, 3, 4, 5)
    watching.wait_for_notifications(5)
    full.set()
    watching.states.wait_for(lambda states: "closed" in states)

    assert called == ["1", "2", "3"]
    assert events == [(None, False, []), (2, False, ["1", "2", "3"])]


def test_a_callback_of_a_worker_may_stop_twice(make, sender):
    results, watching = Happened(), Watching()

    def callback(notification):
        for _ in range(2):
            began = time.monotonic()
            results.append((listener.stop(IN_MEMORY), time.monotonic() - began < IN_MEMORY / 2))
            watching.states.wait_for(lambda states: "closed" in states)

    listener = make(workers=1, observer=watching)
    listener.subscribe("jobs", callback)
    listener.start()
    send(sender, 1)

    results.wait_for(2, 3 * IN_MEMORY)
    assert results == [(False, True)] * 2


def test_a_stop_with_drain_delivers_nothing_behind_its_deadline(make, sender):
    called, watching, entered, go = [], Watching(), threading.Event(), threading.Event()

    def callback(notification):
        called.append(notification.payload)
        if notification.payload == "1":
            entered.set()
            assert go.wait(IN_MEMORY)
        if notification.payload == "2":  # while it drains, and the deadline passes
            assert stopping.ended() is False

    listener = make(observer=watching)
    listener.subscribe("jobs", callback)
    listener.start()
    sender.notify_many([("jobs", payload) for payload in "123"])  # in one batch
    assert entered.wait(IN_MEMORY)
    stopping = Running(lambda: listener.stop(0.2, drain=True))
    eventually(lambda: listener._watch.stop_requested, patience=IN_MEMORY)
    go.set()

    watching.states.wait_for(lambda states: "closed" in states)
    assert "3" not in called


def test_what_raise_ends_under_run_is_closed_and_says_why(make, server, sender):
    def failing(notification):
        raise ZeroDivisionError(notification.payload)

    listener = make(on_error="raise", on_listening=lambda event: send(sender, 1))
    listener.subscribe("jobs", failing)

    with pytest.raises(ZeroDivisionError) as raised:
        listener.run()

    assert listener.status().state == "closed"
    assert server.connections == [sender]
    with pytest.raises(ListenerClosed, match="has ended: ZeroDivisionError: 1") as closed:
        listener.subscribe("jobs", print)
    assert closed.value.__cause__ is raised.value


def test_of_a_users_connection_that_is_lost_all_that_had_arrived_is_still_delivered(make, server, sender):
    connection, watching, called, got, go = server.connect(), Watching(), [], [], threading.Event()
    listener = make("own", source=connection, observer=watching, workers=1)
    listener.subscribe("jobs", lambda notification: (go.wait(IN_MEMORY), called.append(notification.payload)))
    listener.start()
    send(sender, 1, 2, channel="own")
    send(sender, 3, 4)
    watching.wait_for_notifications(4)
    server.drop_connection(connection)
    watching.states.wait_for(lambda states: "closed" in states)

    with pytest.raises(ConnectionLost):
        all(got.append(each) is None for each in listener)

    assert payloads(got) == ["1", "2"]
    go.set()
    assert listener.stop(IN_MEMORY) is True
    assert called == ["3", "4"]


def test_an_attempt_that_fails_for_good_after_start_has_returned_is_told_and_not_the_last(make, server, caplog):
    errors, listening, returned = Happened(), Happened(), threading.Event()
    refused = DatabaseError("password authentication failed", "28P01")
    failures = [OSError("refused"), refused]

    def connect():
        if len(failures) < 2:
            assert returned.wait(IN_MEMORY)
        if failures:
            raise failures.pop(0)
        return server.connect()

    listener = make("jobs", source=connect, on_error=lambda *error: errors.append(error), on_listening=listening.append)
    listener.start()
    returned.set()

    listening.wait_for(1)
    assert errors == [(refused, None)]
    (logged,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "attempt 2 to connect failed: DatabaseError: password authentication failed" in logged


def test_a_probe_whose_second_session_hangs_ends_in_time(make, server):
    connections, go = Happened(), threading.Event()

    def connect():
        assert not connections or go.wait(IN_MEMORY), "the probe waits for it"
        connections.append(server.connect())
        return connections[-1]

    listener = make("jobs", source=connect)
    listener.start()

    result = Running(lambda: listener.probe(0.05)).ended()

    assert result == Probe("unknown", "the second session has not sent anything within 0.05 s", None)
    go.set()
    connections.wait_for(2)
    eventually(lambda: connections[1].closed, patience=IN_MEMORY)


def test_without_a_heartbeat_the_system_still_checks_the_connection():
    source = Source(print, None, None, 5.0)
    with socket.create_server(("127.0.0.1", 0)) as serving, socket.create_connection(serving.getsockname()) as client:
        prepared_handle(client, source, None, 5.0).close()

        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("name", ["observer", "name", "backoff"])
def test_what_cannot_be_used_is_refused_before_anything_is_opened(make, name):
    lacking = Watching()
    lacking.checked = None  # an observer's method that is called last of all

    with pytest.raises(TypeError, match=name):
        make("jobs", **{name: lacking if name == "observer" else 5})


def test_a_stop_that_drains_cuts_nothing_off_that_the_announcement_needs(make, server, sender):
    gaps, watching, entered, go = [], Watching(), threading.Event(), threading.Event()
    listener = make(workers=1, queue_size=2, observer=watching, on_listening=lambda event: gaps.append(event.gap))
    listener.subscribe("jobs", lambda notification: (entered.set(), go.wait(IN_MEMORY)))
    listener.start()
    send(sender, 1)
    assert entered.wait(IN_MEMORY)
    send(sender, 2, 3, 4, 5)
    watching.wait_for_notifications(5)
    fetching, asked = threading.Event(), threading.Event()
    fetch = listener._runner._fetch_into
    listener._runner._fetch_into = lambda queue: (fetching.set(), asked.wait(IN_MEMORY), fetch(queue))
    listener._runner.wake()
    assert fetching.wait(IN_MEMORY)

    stopping = Running(lambda: listener.stop(IN_MEMORY, drain=True))
    eventually(lambda: drains(listener), patience=IN_MEMORY)
    asked.set()
    go.set()

    assert stopping.ended() is True
    assert [gap and gap.dropped for gap in gaps] == [None, 2]
