"""The Listener on a server in memory: subscriptions, their errors, and what may be done inside a callback."""

from __future__ import annotations

import contextlib
import logging
import threading

import pytest

from pgnotify.connecting.backoff import Backoff
from pgnotify.errors import ListenerClosed
from tests.helpers.listener_fronts import blocking_only, both_fronts
from tests.helpers.listeners import Happened, Holding, its_connection, refusing, send
from tests.helpers.notifications import payloads
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = both_fronts


def read(listener):
    """Read what is there, and carry out what was asked for; return what nobody has subscribed to."""
    return payloads(listener.notifications(timeout=0))


# One LISTEN for each channel.


def test_several_subscriptions_of_a_channel_share_one_listen_and_are_called_in_order(make, server, sender):
    events, called = [], []
    with make(on_listening=events.append) as listener:
        for name in ("first", "second"):
            subscription = listener.subscribe(
                "jobs", lambda notification, name=name: called.append((name, notification.payload))
            )
            assert subscription.wait_listening(IN_MEMORY)
        send(sender, 1, 2)
        read(listener)

    assert [event.channels for event in events] == [("jobs",)]
    assert called == [("first", "1"), ("second", "1"), ("first", "2"), ("second", "2")]


def test_the_last_one_that_is_cancelled_ends_the_listen(make, server):
    with make() as listener:
        first, second = listener.subscribe("jobs", print), listener.subscribe("jobs", print)
        read(listener)

        first.cancel()
        read(listener)
        assert its_connection(server).listening_channels == {"jobs"}
        second.cancel()
        read(listener)
        assert its_connection(server).listening_channels == frozenset()


def test_a_channel_of_the_listeners_own_outlives_its_subscriptions(make, server, sender):
    with make("jobs") as listener:
        with listener.subscribe("jobs", print):
            read(listener)
        send(sender, 1)

        assert read(listener) == ["1"]


@blocking_only("who reads")
def test_a_subscription_that_is_cancelled_is_not_called_any_more(make, sender):
    called = []
    with make() as listener:
        subscription = listener.subscribe("jobs", called.append)
        read(listener)
        send(sender, 1)
        subscription.cancel()
        read(listener)

    assert called == []


@pytest.mark.parametrize("batches", [[(1, 2, 3)], [(1,), (2, 3)]])
def test_a_subscription_that_is_cancelled_while_a_worker_calls_it_is_not_called_any_more(make, sender, batches):
    holding = Holding()
    with make(workers=1) as listener:
        subscription = listener.subscribe("jobs", holding)
        read(listener)
        for batch in batches:
            send(sender, *batch)
            read(listener)
            assert holding.entered.wait(IN_MEMORY)
        subscription.cancel()
        holding.released.set()
        assert listener.stop(IN_MEMORY, drain=True)

    assert holding.payloads == ["1"]


def test_to_cancel_twice_does_nothing(make, server):
    with make() as listener:
        first, _ = listener.subscribe("jobs", print), listener.subscribe("jobs", print)

        first.cancel()
        first.cancel()
        read(listener)

        assert its_connection(server).listening_channels == {"jobs"}


def test_channels_that_are_subscribed_to_from_many_threads_at_once_are_all_listened_to(make, server):
    names = {str(number) for number in range(50)}
    with make() as listener:
        subscribing = [Running(lambda name=name: listener.subscribe(name, print)) for name in sorted(names)]
        for each in subscribing:
            each.ended()

        eventually(lambda: read(listener) or its_connection(server).listening_channels == names, patience=IN_MEMORY)


def test_whoever_waits_for_a_subscription_reads_meanwhile(make, server):
    listener = make()

    assert listener.subscribe("jobs", print).wait_listening(IN_MEMORY) is True
    assert its_connection(server).listening_channels == {"jobs"}


def test_with_a_thread_that_reads_it_only_waits(make, server):
    listener = make()
    listener.start()

    assert listener.subscribe("jobs", print).wait_listening(IN_MEMORY) is True


def test_a_wait_that_takes_too_long_is_in_vain(make, server):
    listener = make(source=refusing(server, 100), backoff=Backoff(1000, 1000))
    listener.start()

    assert listener.subscribe("jobs", print).wait_listening(0.001) is False


def test_a_wait_ends_with_a_stop(make, server):
    listener = make(source=refusing(server, 100), backoff=Backoff(1000, 1000))
    listener.start()
    subscription = listener.subscribe("jobs", print)
    waiting = Running(subscription.wait_listening)

    listener.stop(IN_MEMORY)

    with contextlib.suppress(ListenerClosed):  # it had not begun
        assert waiting.ended() is False


@blocking_only("held loop")
def test_a_wait_ends_when_it_is_cancelled(make, server):
    listener = make()
    listening, go = Happened(), threading.Event()
    listener = make("own", on_listening=lambda event: (listening.append(event), go.wait(IN_MEMORY)))
    Running(listener.start)
    listening.wait_for(1)  # the thread that reads is busy for now
    subscription = listener.subscribe("jobs", print)
    waiting = Running(lambda: subscription.wait_listening(3))

    subscription.cancel()
    go.set()

    waiting.join(2)
    assert not waiting.is_alive()


def test_inside_a_callback_nothing_can_be_waited_for(make, sender):
    errors = []
    listener = make(on_error=lambda error, notification: errors.append(error))
    with listener:
        listener.subscribe("jobs", lambda notification: listener.subscribe("other", print).wait_listening(1))
        read(listener)
        send(sender, 1)
        read(listener)

    assert [type(error) for error in errors] == [RuntimeError]


# Inside a callback.


def test_a_callback_may_subscribe(make, server, sender):
    called = []
    with make() as listener:

        def callback(notification):
            if notification.payload == "1":
                listener.subscribe("other", called.append)

        listener.subscribe("jobs", callback)
        read(listener)
        send(sender, 1, 2)
        eventually(lambda: read(listener) or "other" in its_connection(server).listening_channels, patience=IN_MEMORY)
        send(sender, 3, channel="other")
        read(listener)

    assert payloads(called) == ["3"]


def test_a_callback_that_subscribes_has_nothing_counted_twice(make, sender):
    with make() as listener:
        listener.subscribe("jobs", lambda notification: listener.subscribe("other", print))
        read(listener)
        send(sender, 1, 2, 3)
        read(listener)

        assert listener.status().notifications == 3


def test_a_callback_may_cancel_its_own_subscription(make, server, sender):
    called = []
    with make() as listener:

        def callback(notification):
            called.append(notification.payload)
            subscription.cancel()

        subscription = listener.subscribe("jobs", callback)
        read(listener)
        send(sender, 1, 2)
        read(listener)

        assert called == ["1"]
        assert its_connection(server).listening_channels == frozenset()


def test_a_callback_may_cancel_another_subscription_of_the_same_notification(make, sender):
    called = []
    with make() as listener:
        listener.subscribe("jobs", lambda notification: second.cancel())
        second = listener.subscribe("jobs", called.append)
        read(listener)
        send(sender, 1)
        read(listener)

    assert called == []


def test_an_on_listening_may_subscribe(make, server):
    listener = make("jobs", on_listening=lambda event: listener.subscribe("other", print))
    with listener:
        read(listener)

        assert its_connection(server).listening_channels == {"jobs", "other"}


# Errors of callbacks.


def failing(notification):
    raise ZeroDivisionError(notification.payload)


def test_an_error_of_a_callback_is_logged_with_its_traceback_and_it_goes_on(make, sender, caplog):
    called = []
    with make() as listener:
        listener.subscribe("jobs", failing)
        listener.subscribe("jobs", called.append)
        read(listener)
        caplog.clear()
        send(sender, 1, 2)
        read(listener)

    assert payloads(called) == ["1", "2"]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == ["pgnotify: the callback for 'jobs' failed"] * 2
    assert errors[0].exc_info[0] is ZeroDivisionError


def test_an_on_error_is_called_instead(make, sender, caplog):
    errors = []
    with make(on_error=lambda error, notification: errors.append((str(error), notification.payload))) as listener:
        listener.subscribe("jobs", failing)
        read(listener)
        caplog.clear()
        send(sender, 1, 2)
        read(listener)

    assert errors == [("1", "1"), ("2", "2")]
    assert caplog.records == []


def test_raise_has_it_raised_where_it_is_read(make, sender):
    called = []
    # Sent when it reads: on an event loop it might otherwise have ended before run() is called.
    listener = make(on_error="raise", on_listening=lambda event: send(sender, 1))
    listener.subscribe("jobs", failing)
    listener.subscribe("jobs", called.append)

    with pytest.raises(ZeroDivisionError):
        listener.run()

    assert payloads(called) == ["1"]


@pytest.mark.parametrize("workers", [0, 1])
def test_raise_ends_what_was_started_and_disconnects(make, server, sender, workers):
    listener = make("own", on_error="raise", workers=workers)
    listener.subscribe("jobs", failing)
    listener.start()
    send(sender, 1)

    with pytest.raises(ZeroDivisionError):
        next(iter(listener))

    with pytest.raises(ListenerClosed, match="has ended: ZeroDivisionError: 1"):
        listener.subscribe("other", print)
    listener.stop(IN_MEMORY)
    assert server.connections == [sender]
    assert listener.status().state == "closed"


def test_an_on_error_that_raises_itself_is_logged_and_all_goes_on(make, sender, caplog):
    def on_error(error, notification):
        raise KeyError from error

    listener = make("own", on_error=on_error)
    listener.subscribe("jobs", failing)
    listener.start()
    send(sender, 1)
    send(sender, 2, channel="own")

    assert payloads([next(iter(listener))]) == ["2"]
    assert "on_error failed on an error of the callback for 'jobs': ZeroDivisionError: 1" in caplog.text
    assert "KeyError" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_of_a_worker_that_exits_is_not_the_silent_end_of_its_subscription(make, sender):
    called = Happened()

    def callback(notification):
        called.append(notification.payload)
        if notification.payload == "1":
            raise SystemExit

    listener = make(workers=1)
    listener.subscribe("jobs", callback)
    listener.start()
    send(sender, 1, 2)
    called.wait_for(1)

    called.wait_for(lambda called: "2" in called or listener.status().state == "closed", 1)


def test_an_on_listening_that_fails_is_reported_and_called_again(make, server):
    errors, events = Happened(), Happened()

    def on_listening(event):
        events.append(event)
        if len(events) == 1:
            raise ZeroDivisionError

    listener = make("jobs", on_listening=on_listening, on_error=lambda *error: errors.append(error))
    listener.start()
    events.wait_for(2)

    assert [(type(error), notification) for error, notification in errors] == [(ZeroDivisionError, None)]
    assert [event.gap for event in events] == [None, None]
    assert events[0].connection is not events[1].connection


# Workers.


def test_a_worker_calls_the_callback_while_the_reader_goes_on(make, sender):
    entered, go, called = threading.Event(), threading.Event(), Happened()

    def slow(notification):
        entered.set()
        assert go.wait(IN_MEMORY)
        called.append(notification.payload)

    listener = make("own", workers=1)
    listener.subscribe("jobs", slow)
    listener.start()
    send(sender, 1)
    assert entered.wait(IN_MEMORY)
    send(sender, 2, channel="own")

    assert payloads(listener.notifications(stop_after=1)) == ["2"]
    go.set()
    called.wait_for(1)
