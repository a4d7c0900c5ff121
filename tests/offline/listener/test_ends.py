"""Every way to end a Listener, with every way to receive: nothing that has arrived is lost in silence.

The consumer is at the first of a hundred notifications. A thread that reads goes on, and its queue of five overflows.
Then the listener ends, and after that the consumer goes on.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest

from pgnotify.errors import ConnectionLost, ListenerClosed, SourceError
from tests.helpers.account import WAYS, WITH_A_READER, Account, consume
from tests.helpers.listener_fronts import blocking_only, both_fronts
from tests.helpers.listeners import Watching, drains, interrupts_callbacks, its_connection, send, wait_for_callbacks
from tests.helpers.signals import on_signal, send_signal
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = both_fronts

COUNT = 100


class Trial:
    """A listener whose consumer is at the first notification, and all others have arrived."""

    def __init__(self, make, sender, way, source=None, on_listening=Account.on_listening, **options):
        self.sender, self.way = sender, way
        self.account, self.watching = Account(), Watching()
        options["on_listening"] = lambda event: on_listening(self.account, event)
        options |= {"observer": self.watching, "workers": int("workers" in way), "queue_size": 5}
        self.listener = make("jobs", source=source, **options)
        self.consumer = consume(way, self.listener, self.account, "jobs", IN_MEMORY)

    def send_all(self):
        self.watching.states.wait_for(lambda states: "listening" in states)
        send(self.sender, 1)
        assert self.account.entered.wait(IN_MEMORY)
        send(self.sender, *range(2, COUNT + 1))
        if self.way in (*WITH_A_READER, "iterate beside workers", "start and pieces"):
            self.watching.wait_for_notifications(COUNT)

    def ended(self, *errors):
        """Let the consumer go on, and return when it has ended, perhaps with one of these errors."""
        self.account.go.set()
        with suppress(ListenerClosed, *errors):
            self.consumer.ended()
        if "start" in self.way:
            self.watching.states.wait_for(lambda states: "closed" in states)
        wait_for_callbacks(self.listener)

    def accounted_for(self):
        """Return for how many notifications there is account. A hint counts for all before it, and so does a gap."""
        if "hint" not in self.way:
            return self.account.accounted_for()
        latest = self.account.seen[-1]
        return latest if isinstance(latest, int) and not self.account.dropped else COUNT


@pytest.fixture
def trial(make, sender):
    return lambda way, **options: Trial(make, sender, way, **options)


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_with_drain(trial, way):
    it = trial(way)
    it.send_all()
    stopping = Running(lambda: it.listener.stop(IN_MEMORY, drain=True))
    eventually(lambda: drains(it.listener))

    it.ended()

    assert stopping.ended() is True
    assert it.accounted_for() == COUNT
    assert it.account.dropped == it.listener.status().dropped


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_with_drain_by_the_consumer(trial, way):
    it = trial(way)
    it.account.act = lambda: it.listener.stop(IN_MEMORY, drain=True)
    it.send_all()

    it.ended()

    assert it.accounted_for() == COUNT
    assert it.account.dropped == it.listener.status().dropped


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_without_drain_throws_away_what_lies_behind_the_consumer(trial, way):
    it = trial(way)
    it.send_all()
    stopping = Running(lambda: it.listener.stop(IN_MEMORY))
    eventually(lambda: it.listener._watch.stop_requested or it.listener.status().state == "closed")

    it.ended()

    assert stopping.ended() is True
    assert it.accounted_for() <= COUNT
    assert it.account.dropped in (0, it.listener.status().dropped)


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_without_drain_by_the_consumer_throws_away_what_lies_behind_it(trial, way):
    it = trial(way)
    it.account.act = it.listener.stop
    it.send_all()

    it.ended()

    assert it.accounted_for() <= COUNT
    assert it.account.dropped in (0, it.listener.status().dropped)


@pytest.mark.parametrize("way", WAYS)
def test_the_loss_of_a_users_connection(trial, server, way):
    connection = server.connect()
    it = trial(way, source=connection)
    it.send_all()
    server.drop_connection(connection)

    it.ended(ConnectionLost)

    assert it.accounted_for() == COUNT
    assert it.account.dropped == it.listener.status().dropped


@pytest.mark.parametrize("way", WAYS)
def test_the_loss_of_a_connection_that_is_replaced(trial, server, way):
    it = trial(way)
    it.send_all()
    server.drop_connection(its_connection(server))
    it.account.go.set()
    it.watching.gaps.wait_for(lambda gaps: any(gap.reason == "connection lost" for gap in gaps))
    send(it.sender, COUNT + 1)
    it.watching.wait_for_notifications(COUNT + 1)

    assert it.listener.stop(IN_MEMORY, drain=True)
    it.ended()

    assert it.accounted_for() in (COUNT, COUNT + 1) if "hint" in way else it.accounted_for() == COUNT + 1
    assert it.account.dropped == it.listener.status().dropped


@pytest.mark.parametrize("way", WAYS)
def test_a_source_that_fails_for_good(trial, server, way):
    connection = server.connect()
    it = trial(way, source=lambda: connection)
    it.send_all()
    server.drop_connection(connection)

    it.ended(SourceError)

    assert it.accounted_for() == COUNT
    assert it.account.dropped == it.listener.status().dropped


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
@pytest.mark.parametrize("way", ["run", "run with workers", "start with workers", "iterate beside workers"])
def test_an_error_of_a_callback_that_ends_the_listener_throws_away_what_lies_behind(trial, way, error):
    def fail():
        raise error

    it = trial(way, on_error="raise")
    it.account.act = fail
    it.send_all()

    it.ended(error)

    assert it.listener.stop(IN_MEMORY) is True
    assert it.accounted_for() <= COUNT
    assert it.account.dropped in (0, it.listener.status().dropped)


@blocking_only("who reads")
@pytest.mark.parametrize("way", ["run", "iterate", "start and iterate", "hint", "start and hint", "pieces"])
def test_after_an_error_that_leaves_the_reader_a_drain_has_the_rest(trial, way):
    """It is raised by a callback in the thread that reads, or by the code that iterates."""
    it = trial(way, on_error="raise")
    it.account.act = sys.exit
    it.send_all()
    it.account.go.set()
    with suppress(SystemExit):
        it.consumer.ended()

    assert it.listener.stop(IN_MEMORY, drain=True) is True
    with suppress(ListenerClosed):
        for notification in it.listener:
            it.account.receive(notification)

    assert it.accounted_for() == COUNT
    assert it.account.dropped == it.listener.status().dropped


@pytest.mark.parametrize("way", WITH_A_READER)
def test_an_on_listening_that_fails_is_called_again_for_the_same_gap(trial, way):
    failures = []

    def on_listening(account, event):
        if event.gap is not None and not failures:
            failures.append(event.gap)
            raise ZeroDivisionError
        account.on_listening(event)

    it = trial(way, on_listening=on_listening)
    it.send_all()
    it.account.go.set()
    it.watching.gaps.wait_for(2)

    assert it.listener.stop(IN_MEMORY, drain=True)
    it.ended()

    assert it.accounted_for() == COUNT
    assert failures[0] in it.account.seen


@pytest.mark.parametrize("way", WITH_A_READER)
def test_an_on_listening_that_fails_on_a_users_connection_is_called_once_for_a_gap(trial, server, way):
    def on_listening(account, event):
        account.on_listening(event)
        if event.gap is not None:
            raise ZeroDivisionError

    it = trial(way, source=server.connect(), on_listening=on_listening)
    it.send_all()
    it.account.act = lambda: it.listener.stop(IN_MEMORY, drain=True)

    it.ended()

    assert it.accounted_for() == COUNT


@pytest.mark.parametrize("way", WITH_A_READER)
def test_an_on_listening_that_ends_the_listener_is_called_once_for_a_gap(trial, way):
    called = []

    def on_listening(account, event):
        if event.gap is not None:
            called.append(event.gap)
            raise ZeroDivisionError

    it = trial(way, on_listening=on_listening, on_error="raise")
    it.send_all()

    it.ended(ZeroDivisionError)

    assert it.listener.stop(IN_MEMORY) is True
    assert [gap.dropped for gap in called] == [it.listener.status().dropped]


@blocking_only("who reads")
def test_an_iteration_comes_to_a_gap_before_it_raises_the_loss_with_which_that_arrived(trial, server):
    """A statement fails, and what had arrived before is fetched then."""
    connection = server.connect()
    it = trial("iterate", source=connection)
    it.account.act = lambda: it.listener.subscribe("other", print)
    it.send_all()
    it.listener._delivery.mailbox.size = 5  # as after a run that a signal handler has ended
    server.drop_connection(connection)
    it.account.go.set()

    with pytest.raises(ConnectionLost):
        it.consumer.ended()

    assert it.accounted_for() == COUNT
    assert it.account.dropped == it.listener.status().dropped == 94


# A run that waits for its workers after a loss.


@pytest.fixture
def lost(trial, server):
    """A run with workers whose connection of the user's is lost, while a callback has not returned."""
    connection = server.connect()
    it = trial("run with workers", source=connection, on_error="raise")
    it.send_all()
    server.drop_connection(connection)
    it.watching.states.wait_for(lambda states: "lost" in states)
    return it


LOSS = {"blocking": (), "asyncio": (ConnectionLost,)}
"""What such a run raises in the end if it is stopped. An AsyncListener has ended with the loss already."""


def test_a_stop_ends_a_run_that_waits_for_its_workers(lost, front):
    stopping = Running(lambda: lost.listener.stop(IN_MEMORY))
    eventually(lambda: interrupts_callbacks(lost.listener), patience=IN_MEMORY)

    lost.ended(*LOSS[front])

    assert stopping.ended() is True
    assert lost.account.seen == [1]


def test_a_stop_with_drain_of_a_run_that_waits_for_its_workers_leaves_them_time(lost, front):
    stopping = Running(lambda: lost.listener.stop(IN_MEMORY, drain=True))
    eventually(lambda: drains(lost.listener), patience=IN_MEMORY)

    lost.ended(*LOSS[front])

    assert stopping.ended() is True
    assert lost.accounted_for() == COUNT


def test_an_error_of_a_callback_ends_a_run_that_waits_for_its_workers(lost, front):
    lost.account.act = lambda: 1 / 0

    lost.account.go.set()

    with pytest.raises(LOSS[front] or ZeroDivisionError):
        lost.consumer.ended()


# A signal handler raises an Exception, such as the time limit of a task queue.


class TimeLimit(Exception):
    pass


@pytest.fixture
def time_limit():
    """A function in whose midst the time limit is reached."""

    def exceed():
        raise TimeLimit

    with on_signal(exceed):
        yield send_signal


@blocking_only("signals")
def test_a_time_limit_is_not_postponed_until_what_had_arrived_is_taken(make, time_limit):
    arrived, lifecycle = [], make("jobs")._lifecycle
    lifecycle.wait_until = lambda *_: (arrived.append(1), time_limit())

    with pytest.raises(TimeLimit):
        lifecycle.wait_first(lambda: bool(arrived), None)


@blocking_only("signals")
def test_a_time_limit_does_not_wait_for_the_workers(make, time_limit):
    listener = make("jobs", workers=1)
    run, listener._runner.run = listener._runner.run, lambda *_: time_limit()
    listener._lifecycle.shutdown.deliver_rest = lambda: pytest.fail("waits for the workers")

    with pytest.raises(TimeLimit):
        listener.run()
    listener._runner.run = run


@blocking_only("signals")
def test_a_time_limit_during_a_drain_is_raised_and_another_stop_goes_on(make, server, sender, time_limit):
    limits = [time_limit]

    def connect():
        connection = server.connect()
        fetch_into = connection.fetch_into
        connection.fetch_into = lambda queue: limits.pop()() if limits else fetch_into(queue)
        return connection

    seen = []
    listener = make(source=connect)
    listener.subscribe("jobs", seen.append)
    with listener:
        send(sender, 1)
        with pytest.raises(TimeLimit):
            listener.stop(IN_MEMORY, drain=True)

        assert listener.stop(IN_MEMORY, drain=True) is True
    assert [notification.payload for notification in seen] == ["1"]


@blocking_only("signals")
def test_a_time_limit_in_an_on_error_does_not_wait_for_the_other_callbacks(make, sender, time_limit):
    called, limits = [], [time_limit]
    listener = make(on_error=lambda error, notification: limits.pop()())
    listener.subscribe("jobs", lambda notification: 1 / 0)
    listener.subscribe("jobs", called.append)
    with listener:
        send(sender, 1)
        with pytest.raises(TimeLimit):
            listener.run()
        assert called == []
        assert list(listener.notifications(timeout=0)) == []

    assert [notification.payload for notification in called] == ["1"]
