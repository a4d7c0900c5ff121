"""Streams on both fronts: notifications and gaps of one channel, in order, for one consumer each."""

from __future__ import annotations

import os

import pytest

from pgnotify import ChannelError, ConnectionLost, Gap, ListenerClosed, Observer, Reason
from pgnotify.connecting.backoff import Backoff
from tests.helpers.listener_fronts import blocking_only, both_fronts
from tests.helpers.listeners import Happened, Told, Watching, its_connection, send
from tests.helpers.notifications import payloads
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = both_fronts


def take(stream, count):
    """Return this many items: the payloads of notifications, and gaps as their reason and number."""
    return [
        (str(item.reason), item.dropped) if isinstance(item, Gap) else item.payload
        for item in stream.items(IN_MEMORY, count)
    ]


@pytest.fixture
def started(make):
    """A function that makes a listener that reads in the background."""

    def start(*channels, **options):
        listener = make(*channels, **options)
        listener.start()
        return listener

    return start


LOST = ("connection lost", 0)


# What it has.


def test_once_entered_it_listens(started, server, sender):
    with started().subscription("jobs") as stream:
        assert its_connection(server).listening_channels == {"jobs"}
        send(sender, 1, 2)

        assert take(stream, 2) == ["1", "2"]


def test_without_a_thread_that_reads_its_consumer_does(make, sender):
    with make() as listener, listener.subscription("jobs") as stream:
        send(sender, 1, 2)

        assert take(stream, 2) == ["1", "2"]


def test_a_loss_lies_between_what_came_before_and_after_it(started, server, sender):
    told = Told()
    listener = started("other", on_listening=told)
    told.next()
    with listener.subscription("jobs") as stream:
        told.next()
        send(sender, 1)
        assert take(stream, 1) == ["1"]
        send(sender, 2)
        server.drop_connection(its_connection(server))
        gap = told.next().gap
        send(sender, 3)

        before, its, after = stream.items(IN_MEMORY, 3)
        assert (before.payload, after.payload) == ("2", "3")
        assert (its.reason, its.channels, its.dropped) == (Reason.CONNECTION_LOST, ("jobs",), 0)
        assert (its.lost_at, its.restored_at) == (gap.lost_at, gap.restored_at)
        assert gap.channels == ("other", "jobs")


def test_a_subscription_that_the_server_has_forgotten_is_a_gap_of_its_streams_only(started, server, sender):
    listener = started(heartbeat=0.02)
    with listener.subscription("jobs") as stream, listener.subscription("other") as other:
        server.lose_subscription(channel="jobs")
        assert take(stream, 1) == [("subscription lost", 0)]
        send(sender, 1)
        send(sender, 2, channel="other")

        assert (take(stream, 1), take(other, 1)) == (["1"], ["2"])


def test_a_fail_over_is_a_gap(started, server, sender):
    watching = Watching()
    listener = started(heartbeat=0.02, backoff=Backoff(0.01, 0.01), observer=watching)
    with listener.subscription("jobs") as stream:
        server.become_standby(behind_pooler=True)
        watching.states.wait_for(lambda states: states.count("backing off") >= 2)
        server.promote()

        assert take(stream, 1) == [("fail-over", 0)]


def test_an_on_listening_that_fails_puts_the_gap_off_but_loses_none(started, server, sender):
    failures = [ZeroDivisionError(), ZeroDivisionError()]

    def on_listening(event):
        if event.gap is not None and failures:
            raise failures.pop()

    listener = started(on_listening=on_listening, on_error=lambda *_: None)
    with listener.subscription("jobs") as stream:
        server.drop_connection(its_connection(server))

        assert take(stream, 1) == [LOST]
        send(sender, 1)
        assert take(stream, 1) == ["1"]
        assert failures == []


def test_one_that_is_entered_during_a_loss_gets_no_gap_of_before(make, server, sender):
    watching = Watching()
    refused = []

    def connect():
        if refused:
            raise refused.pop()
        return server.connect()

    listener = make("jobs", source=connect, backoff=Backoff(0.05, 0.05), observer=watching)
    listener.start()
    refused += [OSError("refused")] * 3
    server.drop_connection(its_connection(server))
    watching.states.wait_for(lambda states: "backing off" in states)

    with listener.subscription("jobs") as stream:
        send(sender, 1)
        assert take(stream, 1) == ["1"]


# Its queue.


def test_its_overflow_is_a_gap_of_its_own(started, sender, caplog):
    told, watching = Told(), Watching()
    listener = started(on_listening=told, observer=watching)
    with listener.subscription("jobs", queue_size=2) as slow, listener.subscription("jobs") as quick:
        send(sender, 1, 2, 3, 4, 5)
        watching.wait_for_notifications(5)
        assert take(quick, 5) == ["1", "2", "3", "4", "5"]
        status = listener.status()
        assert (status.dropped, status.queued) == (3, 2)

        assert take(slow, 3) == ["1", "2", ("queue overflow", 3)]
        send(sender, 6)
        assert (take(slow, 1), take(quick, 1)) == (["6"], ["6"])
        assert told.gaps == []
        assert listener.status().gaps == 0
    warned = [each.getMessage() for each in caplog.records if "a queue is full" in each.getMessage()]
    assert warned == [
        "pgnotify: a queue is full, and notifications of 'jobs' are dropped: the consumer of its stream is too slow"
    ]


def test_the_observer_is_told_of_the_stream_whose_queue_was_full(started, sender):
    class Drops(Observer):
        def __init__(self):
            self.seen = Happened()

        def dropped(self, name, channel, notifications, subscription):
            self.seen.append((channel, notifications, repr(subscription)))

    observer = Drops()
    listener = started(observer=observer)
    with listener.subscription("jobs", queue_size=1):
        sender.notify_many([("jobs", "1"), ("jobs", "2"), ("jobs", "3")])
        observer.seen.wait_for(1)

        [(channel, count, stream)] = observer.seen
        assert (channel, count) == ("jobs", 2)
        assert "Stream of 'jobs'" in stream


def test_a_stuck_one_stays_bounded_while_the_connection_flaps(started, server, sender):
    told = Told()
    listener = started(on_listening=told)
    with listener.subscription("jobs", queue_size=2) as stream:
        told.next()
        for _ in range(5):
            send(sender, "x", "x", "x")
            server.drop_connection(its_connection(server))
            told.next()
        assert listener.status().queued <= 4

        assert take(stream, 4) == ["x", "x", ("queue overflow", 13), LOST]


def test_what_nobody_takes_counts_as_unread(started, sender, monkeypatch):
    watching = Watching()
    listener = started(observer=watching)
    with listener.subscription("jobs") as stream:
        send(sender, 1)
        watching.wait_for_notifications(1)
        eventually(lambda: listener.status().unread > 0, patience=IN_MEMORY)
        assert listener.status().queued == 1

        assert take(stream, 1) == ["1"]
        assert listener.status().queued == 0


# Beside others.


def test_each_stream_of_a_channel_has_all(started, sender):
    listener = started()
    with listener.subscription("jobs") as first, listener.subscription("jobs") as second:
        send(sender, 1, 2)

        assert take(first, 2) == take(second, 2) == ["1", "2"]


@pytest.mark.parametrize("workers", [0, 1])
def test_beside_callbacks_and_an_iteration(started, sender, workers):
    called = Happened()
    listener = started("jobs", "own", workers=workers)
    listener.subscribe("jobs", lambda notification: called.append(notification.payload)).wait_listening(IN_MEMORY)
    with listener.subscription("jobs") as stream:
        send(sender, 1, 2)
        send(sender, "own", channel="own")

        assert take(stream, 2) == ["1", "2"]
        called.wait_for(2)
        assert called == ["1", "2"]
        assert payloads(listener.notifications(IN_MEMORY, 1)) == ["own"]


def test_a_channel_of_the_iterations_goes_to_its_stream_while_there_is_one(started, sender):
    listener = started("jobs")
    with listener.subscription("jobs") as stream:
        send(sender, 1)
        assert take(stream, 1) == ["1"]
    send(sender, 2)

    assert payloads(listener.notifications(IN_MEMORY, 1)) == ["2"]


def test_two_consumers_of_one_stream_share_what_it_has(started, sender):
    with started().subscription("jobs") as stream:
        consumers = [Running(take, stream, 10) for _ in range(2)]
        for number in range(20):
            send(sender, number)

        taken = [each.ended() for each in consumers]
    assert sorted(int(each) for those in taken for each in those) == list(range(20))
    assert all(those == sorted(those, key=int) for those in taken)


# Its end.


def test_an_iteration_ends_with_its_timeout_or_its_count_and_loses_nothing(started, sender):
    watching = Watching()
    with started(observer=watching).subscription("jobs") as stream:
        assert list(stream.items(timeout=0.01)) == []
        send(sender, 1, 2, 3)
        watching.wait_for_notifications(3)
        for item in stream:
            assert item.payload == "1"
            break
        assert take(stream, 1) == ["2"]
        assert list(stream.items(stop_after=0)) == []
        assert payloads(stream.items(timeout=0)) == ["3"]


def test_at_its_end_nothing_listens_any_more_and_what_waits_is_dropped(started, server, sender):
    watching = Watching()
    listener = started(observer=watching)
    with listener.subscription("jobs") as stream:
        send(sender, 1)
        watching.wait_for_notifications(1)
        assert repr(stream).endswith("Stream of 'jobs', 1 waiting>")

    eventually(lambda: its_connection(server).listening_channels == frozenset(), patience=IN_MEMORY)
    assert listener.status().queued == 0
    assert repr(stream).endswith("Stream of 'jobs', closed>")


def test_closing_it_ends_an_iteration_that_waits(started):
    with started().subscription("jobs") as stream:
        consumer = Running(take, stream, None)
        stream.close()
        stream.close()

        assert consumer.ended() == []


def test_a_stop_ends_it(started, sender):
    listener = started()
    with listener.subscription("jobs") as stream:
        consumer = Running(take, stream, None)
        assert listener.stop(IN_MEMORY)

        assert consumer.ended() == []


def test_a_stop_with_drain_ends_it_after_what_is_there(started, sender):
    listener = started()
    with listener.subscription("jobs") as stream:
        send(sender, *range(50))
        assert listener.stop(IN_MEMORY, drain=True)

        assert take(stream, None) == [str(number) for number in range(50)]


def test_a_callback_that_stops_with_drain_lets_it_have_each_notification_once(started, sender):
    called = []
    listener = started()

    def callback(notification):
        called.append(notification.payload)
        if len(called) == 1:
            listener.stop(IN_MEMORY, drain=True)

    with listener.subscription("jobs") as stream, listener.subscribe("jobs", callback):
        sender.notify_many([("jobs", each) for each in "123"])

        assert take(stream, 9) == called == ["1", "2", "3"]


def test_an_error_that_ends_the_listener_is_raised_after_what_is_there(started, server, sender):
    connection, watching = server.connect(), Watching()
    listener = started(source=connection, observer=watching)
    with listener.subscription("jobs") as stream:
        send(sender, 1, 2)
        watching.wait_for_notifications(2)
        server.drop_connection(connection)
        watching.states.wait_for(lambda states: "closed" in states)

        assert take(stream, 2) == ["1", "2"]
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                take(stream, 1)


# What cannot be.


def test_one_that_was_closed_may_be_opened_again(started, sender):
    stream = started().subscription("jobs")
    for number in (1, 2):
        with stream:
            send(sender, number)
            assert take(stream, 1) == [str(number)]


def test_one_that_is_open_is_not_opened_again(started):
    with started().subscription("jobs") as stream, pytest.raises(RuntimeError, match="is open already"):
        stream.__enter__()


def test_one_that_was_never_opened_has_nothing(started):
    stream = started().subscription("jobs")

    with pytest.raises(RuntimeError, match="the stream of 'jobs' is not open"):
        list(stream.items(0.1))


def test_after_a_stop_there_are_none(started):
    listener = started()
    stream = listener.subscription("jobs")
    listener.stop(IN_MEMORY)

    with pytest.raises(ListenerClosed):
        listener.subscription("jobs")
    with pytest.raises(ListenerClosed):
        stream.__enter__()


@pytest.mark.parametrize(
    ("arguments", "error"), [(("x" * 64,), ChannelError), (("jobs", 0), ValueError), (("jobs", "1"), TypeError)]
)
def test_arguments_that_are_not_possible_are_refused_at_once(make, arguments, error):
    with pytest.raises(error):
        make().subscription(*arguments)


@blocking_only("fork")
def test_a_forked_child_is_refused(started, sender):
    watching = Watching()
    listener = started(observer=watching)
    with listener.subscription("jobs") as stream:
        send(sender, 1)
        watching.wait_for_notifications(1)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                take(stream, 1)
            except ListenerClosed:
                status = 0
            finally:
                os._exit(status)

        assert os.waitpid(child, 0)[1] == 0
        assert take(stream, 1) == ["1"]
