"""The Listener on a server in memory: the ways to read, and what a loss looks like in each."""

from __future__ import annotations

import threading
import time

import pytest

from pgnotify.connecting import source
from pgnotify.connecting.backoff import Backoff
from pgnotify.errors import ConnectionLost, ListenerClosed
from pgnotify.listener import runner
from pgnotify.listener.gap import Gap, Listening, Reason
from tests.helpers.listener_fronts import blocking_only, both_fronts
from tests.helpers.listeners import Happened, Watching, its_connection, refusing, send
from tests.helpers.notifications import payloads
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = both_fronts


class WrongPassword(Exception):
    sqlstate = "28P01"


def drain(listener):
    """Return the payloads of what is there."""
    return payloads(listener.notifications(timeout=0))


def come_back(listener):
    """Have a listener that nobody reads notice its loss, and come back."""
    assert listener.wait_or_poll(IN_MEMORY, IN_MEMORY) is not None


# Iteration without a thread.


def test_nothing_is_opened_before_it_is_read(make, server):
    make("jobs")

    assert server.connections == []


def test_an_iteration_connects_and_yields_in_order(make, sender):
    listener = make("jobs", on_listening=lambda event: send(sender, 1, 2, 3))

    assert payloads(listener.notifications(stop_after=3)) == ["1", "2", "3"]


def test_entered_it_listens_already(make, sender):
    with make("jobs") as listener:
        send(sender, 1)

        assert drain(listener) == ["1"]


def test_an_iteration_can_be_left_and_taken_up_again(make, sender):
    with make("jobs") as listener:
        send(sender, *range(10))
        for notification in listener:
            if notification.payload == "3":
                break

        assert payloads(listener.notifications(stop_after=2)) == ["4", "5"]
        assert drain(listener) == ["6", "7", "8", "9"]


def test_a_timeout_ends_the_iteration(make):
    with make("jobs") as listener:
        assert list(listener.notifications(timeout=0.001)) == []


def test_the_iteration_ends_with_a_stop(make, sender):
    with make("jobs") as listener:
        send(sender, 1, 2)
        seen = []
        for notification in listener:
            seen.append(notification.payload)
            listener.stop()

        assert seen == ["1"]


def test_to_stop_after_none_yields_none(make, sender):
    with make("jobs") as listener:
        send(sender, 1)

        assert list(listener.notifications(stop_after=0)) == []
        assert drain(listener) == ["1"]


def test_what_has_a_subscription_is_not_iterated_over(make, sender):
    called = []
    with make("jobs", "other") as listener:
        listener.subscribe("jobs", called.append)
        send(sender, 1)
        send(sender, 2, channel="other")

        assert drain(listener) == ["2"]
        assert payloads(called) == ["1"]


@blocking_only("who reads")
def test_two_threads_cannot_both_read(make, server):
    listening, go = Happened(), threading.Event()
    listener = make("jobs", on_listening=lambda event: (listening.append(event), go.wait(IN_MEMORY)))
    reader = Running(listener.run)
    listening.wait_for(1)

    with pytest.raises(RuntimeError, match=r"^another thread already reads this listener$"):
        listener.run()
    with pytest.raises(RuntimeError, match=r"^a thread already reads this listener$"):
        listener.start()

    go.set()
    assert listener.stop(IN_MEMORY)
    reader.ended()


# run()


@blocking_only("who reads")
def test_run_calls_callbacks_in_its_own_thread_until_it_is_stopped(make, sender):
    listener, called = make(), []

    def callback(notification):
        called.append((notification.payload, threading.get_ident()))
        if notification.payload == "2":
            assert listener.stop() is False

    with listener:
        listener.subscribe("jobs", callback)
        assert listener.wait_or_poll(0, 0) is None
        send(sender, 1, 2, 3)
        listener.run()

    assert called == [("1", threading.get_ident()), ("2", threading.get_ident())]


def test_run_ends_by_a_stop_from_elsewhere(make, server):
    listening = Happened()
    listener = make("jobs", on_listening=listening.append)
    reader = Running(listener.run)
    listening.wait_for(1)

    assert listener.stop(IN_MEMORY) is True

    reader.ended()
    assert server.connections == []


def test_beside_run_others_may_wait_for_a_subscription_and_probe(make):
    listening = Happened()
    listener = make("jobs", on_listening=listening.append)
    reader = Running(listener.run)
    listening.wait_for(1)

    assert listener.subscribe("other", print).wait_listening(IN_MEMORY) is True
    assert listener.probe(IN_MEMORY).delivering == "yes"

    listener.stop(IN_MEMORY)
    reader.ended()


# start()


def test_started_it_listens_on_return_and_reads_in_a_thread_of_its_own(make, server, sender):
    called = Happened()
    listener = make()
    listener.subscribe("jobs", lambda notification: called.append(threading.current_thread()))

    listener.start()

    assert its_connection(server).listening_channels == {"jobs"}
    send(sender, 1)
    called.wait_for(1)
    assert called[0] is not threading.current_thread()
    assert called[0].daemon


def test_started_it_is_iterated_over_from_elsewhere(make, sender):
    listener = make("jobs")
    listener.start()
    send(sender, 1, 2)

    assert payloads(listener.notifications(stop_after=2)) == ["1", "2"]


@blocking_only("who reads")
def test_a_second_start_is_refused(make):
    listener = make("jobs")
    listener.start()

    with pytest.raises(RuntimeError, match=r"^a thread already reads this listener$"):
        listener.start()


@pytest.mark.parametrize("begin", ["start", "__enter__"])
def test_a_permanent_error_is_raised_at_the_start(make, server, begin):
    listener = make("jobs", source=refusing(server, 1, WrongPassword()))

    with pytest.raises(WrongPassword):
        getattr(listener, begin)()

    assert server.connections == []


def test_after_a_start_that_has_failed_another_may_succeed(make, server):
    listener = make("jobs", source=refusing(server, 1, WrongPassword()))
    with pytest.raises(WrongPassword):
        listener.start()

    listener.start()

    assert listener.status().state == "listening"


def test_a_passing_error_at_the_start_is_tried_again_later(make, server):
    listener = make(source=refusing(server, 3))
    listener.start()

    assert listener.subscribe("jobs", print).wait_listening(IN_MEMORY)


# A loss.


def test_after_a_loss_it_comes_back_and_announces_the_gap_in_its_place(make, server, sender):
    seen = []
    listener = make(on_listening=seen.append)
    listener.subscribe("jobs", lambda notification: seen.append(notification.payload))
    with listener:
        send(sender, "before")
        server.drop_connection(its_connection(server))
        send(sender, "missed")
        come_back(listener)
        send(sender, "after")
        drain(listener)

    first, *rest, again, last = seen
    assert first.gap is None
    assert (rest, last) == (["before"], "after")
    assert again.gap.reason is Reason.CONNECTION_LOST
    assert again.channels == again.gap.channels == ("jobs",)
    assert again.gap.lost_at <= again.gap.restored_at


def test_the_connection_of_an_event_is_the_live_one_of_the_driver(make, server):
    connections = []
    with make("jobs", on_listening=lambda event: connections.append(event.connection)) as listener:
        drain(listener)
        assert connections == [its_connection(server)]
        server.drop_connection(its_connection(server))
        come_back(listener)

        assert connections[1:] == [its_connection(server)]


def test_a_loss_between_entering_and_reading_is_a_gap(make, server, sender):
    events = []
    with make("jobs", on_listening=events.append) as listener:
        server.drop_connection(its_connection(server))
        send(sender, "missed")
        assert listener.subscribe("other", print).wait_listening(IN_MEMORY)
        drain(listener)

        assert events[-1].gap is not None
        assert listener.status().gaps == 1


def test_a_server_that_does_not_answer_is_given_up_after_the_deadline(make, server):
    gaps = Happened()
    listener = make("jobs", heartbeat=0.02, answer_timeout=0.05, on_listening=lambda event: gaps.append(event.gap))
    listener.start()

    server.blackhole(its_connection(server))

    gaps.wait_for(2)
    assert gaps[1].reason is Reason.HEARTBEAT_MISSED


def test_a_subscription_that_the_server_has_forgotten_is_renewed(make, server):
    gaps = Happened()
    listener = make("jobs", "other", heartbeat=0.02, on_listening=lambda event: gaps.append(event.gap))
    listener.start()

    server.lose_subscription(channel="jobs")

    gaps.wait_for(2)
    assert (gaps[1].reason, gaps[1].channels) == (Reason.SUBSCRIPTION_LOST, ("jobs",))
    assert listener.status().reconnects == 0


def test_a_fail_over_ends_at_the_new_primary(make, server):
    gaps, watching = Happened(), Watching()
    listener = make(
        "jobs",
        heartbeat=0.02,
        backoff=Backoff(0.01, 0.01),
        on_listening=lambda event: gaps.append(event.gap),
        observer=watching,
    )
    listener.start()

    server.become_standby(behind_pooler=True)
    watching.states.wait_for(lambda states: states.count("backing off") >= 2)
    server.promote()

    gaps.wait_for(2)
    assert gaps[1].reason is Reason.FAIL_OVER


def test_a_standby_is_nothing_to_have_come_back_to(make, server):
    watching = Watching()
    server.become_standby()
    listener = make("jobs", backoff=Backoff(0.01, 0.01), observer=watching)
    listener.start()
    watching.states.wait_for(lambda states: states.count("backing off") >= 3)

    assert listener.status().reconnects == 0


def test_a_connection_that_is_the_source_is_lost_for_good_and_what_had_arrived_comes_first(make, server, sender):
    connection = server.connect()
    called = []
    listener = make(source=connection)
    listener.subscribe("jobs", lambda notification: called.append(notification.payload))
    with listener:
        send(sender, 1, 2)
        server.drop_connection(connection)

        with pytest.raises(ConnectionLost):
            listener.run()

    assert called == ["1", "2"]


def test_of_such_a_loss_an_iteration_beside_learns_after_all_that_had_arrived(make, server, sender):
    connection, watching = server.connect(), Watching()
    listener = make("jobs", source=connection, observer=watching)
    listener.start()
    iteration = listener.notifications()
    send(sender, 1, 2, 3)
    watching.wait_for_notifications(3)
    server.drop_connection(connection)
    watching.states.wait_for(lambda states: "closed" in states)

    assert payloads(next(iteration) for _ in range(3)) == ["1", "2", "3"]
    with pytest.raises(ConnectionLost):
        next(iteration)


def test_who_only_polls_comes_back_too(make, server, sender):
    with make("jobs") as listener:
        server.drop_connection(its_connection(server))
        patience = time.monotonic() + 1
        while not listener.status().reconnects and time.monotonic() < patience:
            drain(listener)

        send(sender, 1)
        assert drain(listener) == ["1"]


@pytest.mark.parametrize(
    ("from_dsn", "what"),
    [(False, "the connect function has not returned"), (True, "the attempt to connect has not ended")],
    ids=["function", "connection string"],
)
def test_an_attempt_to_connect_that_does_not_end_is_left_and_made_again(
    make, server, sender, monkeypatch, from_dsn, what
):
    monkeypatch.setattr(runner, "LONGEST_CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(source, "MOST_ADDRESSES", 0)  # the connect_timeout has passed
    monkeypatch.setattr(source, "connect_with", lambda driver: lambda parameters: connect())
    monkeypatch.setattr("pgnotify.aio.source.connect_async_with", lambda driver: (lambda parameters: connect(), False))
    calls, go = Happened(), threading.Event()

    def connect():
        connection = server.connect()
        calls.append(connection)
        if connection is calls[0]:
            assert go.wait(IN_MEMORY)
        return connection

    listener = make("jobs", source="host=db" if from_dsn else connect)
    listener.start()
    calls.wait_for(2)
    eventually(lambda: listener.status().state == "listening", patience=IN_MEMORY)

    assert listener.status().last_error == f"Unanswered: {what} for 0 s"
    go.set()
    eventually(lambda: server.connections == [sender, calls[1]], patience=IN_MEMORY)


@pytest.mark.parametrize("wait", ["wait_or_poll", "notifications", "wait_listening"])
def test_an_attempt_that_takes_long_does_not_put_a_timeout_off(make, server, wait):
    go, slow = threading.Event(), [False]

    def connect():
        if slow[0]:
            go.wait(1)
        return server.connect()

    with make("jobs", source=connect) as listener:
        slow[0] = True
        server.drop_connection(its_connection(server))
        subscription = listener.subscribe("other", print)
        started = time.monotonic()
        {
            "wait_or_poll": lambda: listener.wait_or_poll(0.05, 0.05),
            "notifications": lambda: list(listener.notifications(timeout=0.05)),
            "wait_listening": lambda: subscription.wait_listening(0.05),
        }[wait]()
        waited = time.monotonic() - started
        go.set()

    assert waited < 0.5


# A queue that overflows.


@pytest.fixture
def overflowing(make, sender):
    """A listener whose queue of two has overflown, and what its user sees."""
    seen, watching = [], Watching()

    def on_listening(event: Listening):
        if event.gap is not None:
            seen.append(event.gap)

    listener = make("jobs", queue_size=2, on_listening=on_listening, observer=watching)
    listener.start()
    send(sender, 1, 2, 3, 4, 5)
    watching.wait_for_notifications(5)
    return listener, seen


def test_an_overflow_is_a_gap_in_its_place(overflowing, sender):
    listener, seen = overflowing
    iteration = listener.notifications()

    seen += [next(iteration).payload, next(iteration).payload]
    send(sender, 6)
    seen.append(next(iteration).payload)

    gap = seen[2]
    assert [seen[0], seen[1], seen[3]] == ["1", "2", "6"]
    assert (gap.reason, gap.dropped, gap.channels) == (Reason.QUEUE_OVERFLOW, 3, ("jobs",))


def test_an_overflow_is_counted(overflowing):
    listener, _ = overflowing

    status = listener.status()

    assert (status.notifications, status.dropped, status.queued) == (5, 3, 2)


def test_an_overflow_of_a_worker_is_a_gap_in_its_place(make, sender):
    seen, watching, entered, go = Happened(), Watching(), threading.Event(), threading.Event()
    listener = make(
        workers=1, queue_size=2, observer=watching, on_listening=lambda event: event.gap and seen.append(event.gap)
    )

    def callback(notification):
        entered.set()
        assert go.wait(IN_MEMORY)
        seen.append(notification.payload)

    listener.subscribe("jobs", callback)
    listener.start()
    send(sender, 1)
    assert entered.wait(IN_MEMORY)
    send(sender, 2, 3, 4, 5)
    watching.wait_for_notifications(5)
    go.set()
    seen.wait_for(4)

    assert seen[:3] == ["1", "2", "3"]
    assert (seen[3].reason, seen[3].dropped) == (Reason.QUEUE_OVERFLOW, 2)


def test_an_overflow_of_a_run_that_has_ended_is_announced_to_an_iteration(make, sender):
    events = []
    listener = make("own", queue_size=2, on_error="raise", on_listening=lambda event: events.append(event.gap))
    with listener:
        assert listener.subscribe("jobs", lambda notification: 1 / 0).wait_listening(IN_MEMORY)
        send(sender, 1, 2, 3, 4, channel="own")
        send(sender, 5)
        with pytest.raises(ZeroDivisionError):
            listener.run()
        reader = Running(lambda: drain(listener))

        reader.join(1)

        assert not reader.is_alive()
        assert events[-1].dropped == 2


# wait_or_poll()


def test_the_latest_notification_is_the_hint_and_those_before_are_seen(make, sender):
    with make("jobs") as listener:
        sender.notify_many([("jobs", "1"), ("jobs", "2"), ("jobs", "3")])

        assert listener.wait_or_poll(IN_MEMORY).payload == "3"
        assert listener.wait_or_poll(0.001) is None


def test_a_gap_is_a_hint_once(make, server, sender):
    with make("jobs") as listener:
        send(sender, 1)
        assert listener.wait_or_poll(IN_MEMORY).payload == "1"
        server.drop_connection(its_connection(server))

        assert isinstance(listener.wait_or_poll(IN_MEMORY, IN_MEMORY), Gap)
        assert listener.wait_or_poll(0.001) is None


def test_while_deaf_it_waits_less(make, server):
    listener = make("jobs", source=refusing(server, 1000), backoff=Backoff(1000, 1000))

    assert listener.wait_or_poll(healthy=1000, deaf=0.001) is None


def test_a_stop_ends_the_wait_for_a_hint(make):
    listener = make("jobs")
    listener.start()
    waiting = Running(lambda: listener.wait_or_poll(IN_MEMORY))

    listener.stop(IN_MEMORY)

    with pytest.raises(ListenerClosed):
        waiting.ended()
