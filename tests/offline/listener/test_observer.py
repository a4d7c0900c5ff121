"""What an observer is told, in which thread and under which lock; and that it costs nothing, whatever it raises."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from pgnotify import Observer
from pgnotify.connecting.backoff import Backoff
from pgnotify.errors import SourceError, UndecodablePayload
from pgnotify.listener import timed
from pgnotify.listener.delivery import Delivery
from pgnotify.listener.timed import TimedDelivery
from tests.helpers.counting import counting_calls
from tests.helpers.interrupting import TimeLimit, time_limit
from tests.helpers.listener_fronts import blocking_only, both_fronts
from tests.helpers.listeners import Happened, Holding, Watching, its_connection, refusing, send
from tests.helpers.notifications import payloads
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = both_fronts

METHODS = [name for name in vars(Observer) if not name.startswith("_")]


def noting(name):
    def note(self, *facts):
        self.calls.append((name, *facts[1:]))

    return note


class Noting(Observer):
    """Remembers each call, without the listener's name."""

    def __init__(self):
        self.calls = Happened()

    def of(self, method):
        return [facts for name, *facts in self.calls if name == method]


for method in METHODS:
    setattr(Noting, method, noting(method))


def read(listener):
    return payloads(listener.notifications(timeout=0))


def fail(notification):
    raise ZeroDivisionError(notification.payload)


@pytest.fixture
def ticking(monkeypatch):
    """A clock of callbacks that shows one second more each time."""
    seconds = iter(range(1000))
    monkeypatch.setattr(timed, "clock", lambda: next(seconds))


# What it is told.


def test_each_channel_of_a_batch_is_told_by_itself(make, sender):
    observer = Noting()
    with make("jobs", "other", observer=observer) as listener:
        sender.notify_many([("jobs", "1"), ("other", "éé"), ("jobs", "22")])
        read(listener)

    assert observer.of("received") == [[3, 7]]
    assert observer.of("channel_received") == [["jobs", 2, 3], ["other", 1, 4]]


def test_the_channel_of_a_probe_is_not_told(make):
    observer = Noting()
    with make("jobs", observer=observer) as listener:
        assert listener.probe(IN_MEMORY).delivering == "yes"

    assert [facts for name, *facts in observer.calls if name in ("channel_received", "callback_finished")] == []


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("workers", [0, 1])
def test_each_callback_is_told_with_its_seconds_and_its_error(make, sender, ticking, workers, others):
    observer = Noting()
    listener = make(workers=workers, observer=observer)
    for callback in [print] * others + [lambda notification: notification.payload == "bad" and fail(notification)]:
        listener.subscribe("jobs", callback)
    with listener:
        listener.start()
        send(sender, "good", "bad")
        observer.calls.wait_for(lambda calls: len(observer.of("callback_finished")) == 2 * (others + 1))

    told = observer.of("callback_finished")
    assert {(channel, seconds) for channel, seconds, _ in told} == {("jobs", 1)}
    assert Counter(type(error) for *_, error in told) == {type(None): 1 + 2 * others, ZeroDivisionError: 1}
    assert listener.status().callback_errors == 1


def test_of_different_channels_each_callback_is_told_in_order(make, sender, ticking):
    observer = Noting()
    with make("iterated", observer=observer) as listener:
        for channel in ("a", "b"):
            listener.subscribe(channel, print).wait_listening(IN_MEMORY)
        sender.notify_many([("a", "1"), ("b", "2"), ("iterated", "3"), ("a", "4")])

        assert read(listener) == ["3"]

    assert [channel for channel, *_ in observer.of("callback_finished")] == ["a", "b", "a"]


def test_a_subscription_that_is_cancelled_by_its_callback_is_told_of_no_more(make, sender):
    observer = Noting()
    with make(observer=observer) as listener:
        subscription = listener.subscribe("jobs", lambda notification: subscription.cancel())
        subscription.wait_listening(IN_MEMORY)
        send(sender, 1, 2)
        read(listener)

    assert len(observer.of("callback_finished")) == 1


def test_a_full_queue_of_a_subscription_is_told_with_its_channel(make, sender):
    observer, held = Noting(), Holding()
    listener = make(workers=1, queue_size=1, observer=observer)
    subscription = listener.subscribe("jobs", held)
    listener.start()
    send(sender, 1)
    assert held.entered.wait(IN_MEMORY)
    for count in (2, 3, 4):
        send(sender, count)
        observer.calls.wait_for(lambda calls, count=count: len(observer.of("received")) == count)
    held.released.set()

    assert observer.of("dropped") == [["jobs", 1, subscription]] * 2
    assert listener.status().dropped == 2


def test_the_full_queue_of_the_iteration_is_told_with_the_channels_that_were_dropped(make, sender):
    observer = Noting()
    listener = make("jobs", "other", queue_size=1, observer=observer)
    listener.start()
    sender.notify_many([("jobs", "1"), ("other", "2"), ("jobs", "3"), ("other", "4")])
    observer.calls.wait_for(lambda calls: len(observer.of("dropped")) == 2)

    assert observer.of("dropped") == [["other", 2, None], ["jobs", 1, None]]


@blocking_only("inside")
@pytest.mark.parametrize("channel", ["jobs", None])
def test_an_undecodable_one_is_told_as_dropped(make, server, sender, channel):
    observer = Noting()
    with make("jobs", observer=observer) as listener:
        failures = [UndecodablePayload("not UTF-8", channel=channel, undecodable=b"12345")]

        def undecodable(queue):
            if failures:
                raise failures.pop()

        its_connection(server).fetch_into = undecodable
        listener._runner.use(its_connection(server))
        read(listener)

    assert observer.of("dropped") == [[channel, 1, None]]
    assert observer.of("channel_received") == [["jobs", 1, 5]] * (channel is not None)


def test_each_failed_attempt_is_told(make, server):
    observer, refused = Noting(), OSError("refused")
    listener = make("jobs", source=refusing(server, 2, refused), backoff=Backoff(0, 0), observer=observer)
    listener.start()
    listener.subscribe("jobs", print).wait_listening(IN_MEMORY)

    assert observer.of("connect_failed") == [[refused, 1, 0.0], [refused, 2, 0.0]]


def test_the_attempt_whose_error_is_raised_is_told_and_kept(make, server):
    observer, connection = Noting(), server.connect()
    connection.close()
    listener = make("jobs", source=lambda: connection, observer=observer)
    with pytest.raises(SourceError) as raised:
        listener.start()

    assert observer.of("connect_failed") == [[raised.value, 1, None]]
    status = listener.status()
    assert status.state == "idle"
    assert status.last_error.startswith("SourceError: ")
    assert status.last_error_at.utcoffset().total_seconds() == 0


def test_every_heartbeat_is_told_with_its_lag(make):
    observer = Noting()
    listener = make("jobs", heartbeat=0.01, observer=observer)
    listener.start()
    observer.calls.wait_for(lambda calls: observer.of("heartbeat_lagged"))

    assert all(lag >= 0 for (lag,) in observer.of("heartbeat_lagged"))
    assert len(observer.of("checked")) == len(observer.of("heartbeat_lagged"))


# What is overridden.


def test_a_subclass_with_one_method_is_told_of_that_only(make, server, sender):
    class Partial(Observer):
        def __init__(self):
            self.gaps = []

        def gap_announced(self, name, gap):
            self.gaps.append((name, gap.reason))

    observer = Partial()
    with make("jobs", name="cache", observer=observer) as listener:
        server.drop_connection(its_connection(server))
        assert listener.wait_or_poll(IN_MEMORY, IN_MEMORY) is not None

    assert observer.gaps == [("cache", "connection lost")]


def test_an_object_with_the_first_four_methods_goes_on_working(make, sender):
    watching = Watching()
    assert not isinstance(watching, Observer)
    listener = make(queue_size=1, workers=1, heartbeat=0.01, observer=watching)
    listener.subscribe("jobs", fail)
    listener.start()
    send(sender, 1)
    watching.wait_for_notifications(1)
    watching.checks.wait_for(1)


@pytest.mark.parametrize("method", METHODS)
def test_an_async_method_is_refused(make, method):
    async def told(self, *facts):
        """Nobody would wait for this."""

    with pytest.raises(TypeError, match=rf"observer\.{method} must be a function that runs"):
        make(observer=type("Async", (Observer,), {method: told})())


def test_only_an_observer_of_callbacks_has_them_timed(make):
    class Other(Observer):
        def received(self, name, notifications, size):
            """Do nothing."""

    for observer in (None, Watching(), Observer(), Other()):
        assert type(make(observer=observer)._delivery) is Delivery
    assert type(make(observer=Noting())._delivery) is TimedDelivery


@blocking_only("inside")
@pytest.mark.parametrize("make_observer", [lambda: None, Observer], ids=["none", "no-op"])
def test_a_further_notification_calls_the_callback_and_nothing_else(make, sender, make_observer):
    def called(count):
        with make(observer=make_observer()) as listener:
            listener.subscribe("jobs", ignore).wait_listening(IN_MEMORY)
            send(sender, *range(count))
            with counting_calls() as calls:
                read(listener)
        return Counter(call.name for call in calls if call.by_us)

    assert called(100) - called(50) == {f"{__name__}.ignore": 50}


def ignore(notification):
    """The user's callback."""


# What it raises, and where it is called.


@pytest.mark.parametrize("failing", METHODS)
@pytest.mark.parametrize("workers", [0, 1])
def test_an_observer_that_raises_costs_no_notification(make, server, sender, caplog, failing, workers):
    def raising(self, *facts):
        note(self, *facts)
        raise ZeroDivisionError

    note = noting(failing)
    observer = type("Failing", (Noting,), {failing: raising})()
    received, held = Happened(), Holding()
    listener = make(
        source=refusing(server, 1), workers=workers, heartbeat=0.01, queue_size=1, on_error=print, observer=observer
    )
    listener.subscribe("jobs", lambda notification: received.append(notification.payload))
    full = listener.subscribe("full", held)
    listener.start()
    assert full.wait_listening(IN_MEMORY)
    for number in (1, 2, 3):
        send(sender, number)
        received.wait_for(number)
    server.drop_connection(its_connection(server))
    observer.calls.wait_for(lambda calls: observer.of("gap_announced"))
    observer.calls.wait_for(lambda calls: observer.of("heartbeat_lagged"))
    if failing == "dropped" and workers:
        for number in (1, 2, 3):
            send(sender, number, channel="full")
            eventually(lambda number=number: listener.status().notifications == 3 + number, patience=IN_MEMORY)
    held.released.set()
    send(sender, 4)
    received.wait_for(4)
    assert listener.stop(IN_MEMORY)

    assert received == ["1", "2", "3", "4"]
    logged = [record for record in caplog.records if record.getMessage() == "pgnotify: the observer failed"]
    assert len(logged) == bool(observer.of(failing)), "it is logged once"
    assert all(record.exc_info for record in logged)


def test_a_further_failure_is_logged_a_minute_later(make, sender, caplog, monkeypatch):
    class Failing(Observer):
        def received(self, name, notifications, size):
            raise ZeroDivisionError

    moments = iter([0.0, 59.0, 60.0, 61.0])
    with make("jobs", observer=Failing()) as listener:
        monkeypatch.setattr("pgnotify.listener.observer.time", type("Clock", (), {"monotonic": lambda: next(moments)}))
        for number in range(4):
            send(sender, number)
            assert read(listener) == [str(number)]

    assert caplog.messages.count("pgnotify: the observer failed") == 2


@blocking_only("signals")
def test_an_error_of_a_signal_handler_is_not_the_observers(make, sender, caplog):
    class Interrupted(Observer):
        def received(self, name, notifications, size):
            if limits:
                limits.pop()()

    with time_limit() as limit, make("jobs", observer=Interrupted()) as listener:
        limits = [limit]
        send(sender, 1)
        with pytest.raises(TimeLimit):
            read(listener)

        assert read(listener) == ["1"]
    assert "pgnotify: the observer failed" not in caplog.messages


@blocking_only("held loop")
def test_it_is_called_in_the_thread_that_reads_or_calls_the_callback_and_under_no_lock(make, server, sender):
    """Each call uses the listener from another thread, which would wait for any lock of pgnotify's."""
    called, held = Happened(), Holding()

    def calling(name):
        def call(self, *facts):
            using = threading.Thread(target=lambda: (listener.status(), listener.subscribe("new", print).cancel()))
            using.start()
            using.join(IN_MEMORY)
            called.append((name, threading.current_thread().name, using.is_alive()))

        return call

    observer = type("Using", (Observer,), {name: calling(name) for name in METHODS})()
    listener = make(
        source=refusing(server, 1), workers=1, queue_size=1, heartbeat=0.01, name="a", observer=observer, on_error=print
    )
    full = listener.subscribe("full", held)
    listener.start()
    assert full.wait_listening(IN_MEMORY)
    for number in (1, 2, 3):
        before = listener.status().notifications
        send(sender, number, channel="full")
        eventually(lambda before=before: listener.status().notifications > before, patience=IN_MEMORY)
    held.released.set()
    for name in METHODS:
        called.wait_for(lambda calls, name=name: name in [method for method, *_ in calls])
    assert listener.stop(IN_MEMORY)

    assert {is_alive for *_, is_alive in called} == {False}
    threads = {name: {thread for method, thread, _ in called if method == name} for name in METHODS}
    assert threads.pop("callback_finished") == {"a worker 1"}
    assert set().union(*threads.values()) == {"a listener"}
