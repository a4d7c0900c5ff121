"""A durable subscription goes on after a restart with what was not asked for; each name gets all; one process reads."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

import pgnotify
from pgnotify import Superseded
from pgnotify.testing.conformance._statements import run_statement
from tests.helpers.listener_fronts import Listener, both_fronts
from tests.helpers.listeners import AT_ONCE, Happened, interrupts_callbacks, next_payloads
from tests.helpers.notifications import payloads
from tests.helpers.threads import Background
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = both_fronts


@pytest.fixture
def durable(driver, address, outbox, channel):
    """A function that makes a listener for a durable subscription to the channel, unless told otherwise."""

    def make(name, *channels, **options):
        return Listener(address.dsn, *(channels or (channel,)), driver=driver, outbox=outbox, durable=name, **options)

    return make


def test_what_is_sent_while_nobody_listens_reaches_every_name_that_is_known(durable, sender, channel, name):
    names = [name, name + "2"]
    for each in names:
        with durable(each):
            pass
    sender.send(channel, 1, 2)

    for each in names:
        with durable(each) as listener:
            assert next_payloads(listener, 2) == ["1", "2"]
        with durable(each) as listener:
            assert list(listener.notifications(timeout=0.05)) == []


def test_the_next_listener_goes_on_with_what_was_not_asked_for(durable, sender, channel, name):
    with durable(name, start="all") as listener:
        sender.send_numbers(channel, 5)
        for message in listener:
            if message.payload == "2":
                break  # so it is not known whether this one is done with

    with durable(name) as listener:
        assert next_payloads(listener, 2) == ["2", "3"]

    with durable(name) as listener:
        assert next_payloads(listener, 1) == ["4"]


def test_a_stop_in_a_callback_acknowledges_up_to_it(durable, sender, channel, name):
    called = Happened()

    def stop_at_2(message):
        called.append(message.payload)
        if message.payload == "2":
            listener.stop()

    sender.send_numbers(channel, 5)
    listener = durable(name, start="all")
    listener.subscribe(channel, stop_at_2)
    listener.run()

    with durable(name) as listener:
        assert next_payloads(listener, 2) == ["3", "4"]
    assert called == ["0", "1", "2"]


def test_a_callback_that_ends_the_listener_with_an_error_is_called_again(durable, sender, channel, name):
    def fail_at_2(message):
        if message.payload == "2":
            raise ValueError("not this one")

    sender.send_numbers(channel, 5)
    listener = durable(name, start="all", on_error="raise")
    listener.subscribe(channel, fail_at_2)
    with pytest.raises(ValueError, match="not this one"):
        listener.run()
    listener.stop()

    with durable(name) as listener:
        assert next_payloads(listener, 3) == ["2", "3", "4"]


def test_a_stop_waits_for_workers_and_acknowledges_what_they_have_done(durable, sender, channel, name):
    entered, may_return = threading.Event(), threading.Event()

    def wait_at_2(message):
        if message.payload == "2":
            entered.set()
            assert may_return.wait(PATIENCE)

    listener = durable(name, workers=1)
    listener.subscribe(channel, wait_at_2)
    try:
        listener.start()
        sender.send_numbers(channel, 5)
        assert entered.wait(PATIENCE)
        stopping = Background(listener.stop)
        eventually(lambda: interrupts_callbacks(listener))
        may_return.set()
        assert stopping.ended()
    finally:
        may_return.set()
        listener.stop()

    with durable(name) as listener:
        assert next_payloads(listener, 2) == ["3", "4"]


def test_a_stream_goes_on_with_what_it_has_not_asked_for(durable, sender, channel, name):
    listener = durable(name)
    with listener.subscription(channel) as stream:
        sender.send_numbers(channel, 5)
        for message in stream:
            if message.payload == "2":
                break
        listener.stop()

    with durable(name) as listener:
        assert next_payloads(listener, 3) == ["2", "3", "4"]


def test_another_process_stands_by_until_the_first_one_ends(durable, sender, channel, name):
    with listening_to(durable(name)) as first, listening_to(durable(name)) as second:
        eventually(lambda: second.status().standing_by)
        sender.send(channel, 1)
        assert next_payloads(first, 1) == ["1"]
        assert list(second.notifications(timeout=0.05)) == []
        assert list(first.notifications(timeout=0)) == []
        first.stop()
        sender.send(channel, 2)

        assert next_payloads(second, 1) == ["2"]
        assert (first.status().standing_by, second.status().standing_by) == (False, False)
        assert second.status().durable == name


def test_a_loss_loses_nothing_and_what_was_not_acknowledged_comes_again(durable, sender, channel, name):
    with listening_to(durable(name, backoff=AT_ONCE)) as listener:
        sender.send(channel, 1)
        assert next_payloads(listener, 1) == ["1"]
        sender.session.terminate(listener.status().server_pid)
        sender.send(channel, 2)

        assert next_payloads(listener, 1) == ["2"]
        assert listener.status().dropped == 0


def test_a_channel_that_comes_too_late_is_refused(durable, sender, channel, name):
    with listening_to(durable(name)) as listener:
        sender.send(channel, 1)
        assert next_payloads(listener, 1) == ["1"]

        with pytest.raises(RuntimeError, match="give all channels to the constructor"):
            listener.subscribe("another channel", print)
        with pytest.raises(RuntimeError, match="give all channels to the constructor"):
            listener.subscription("another channel")
        listener.subscribe(channel, print)


def test_nothing_is_read_before_each_channel_has_a_consumer(durable, sender, channel, name):
    with durable(name, channel, f"{channel} 2"):
        pass
    sender.send(channel, 1)
    sender.send(f"{channel} 2", 2)

    with listening_to(durable(name, channel, f"{channel} 2")) as listener:
        eventually(lambda: listener.status().held_up)
        with listener.subscription(channel) as first:
            eventually(lambda: listener.status().held_up)
            assert listener.status().notifications == 0
            with listener.subscription(f"{channel} 2") as second:
                assert payloads(second.items(PATIENCE, 1)) == ["2"]
                assert payloads(first.items(PATIENCE, 1)) == ["1"]


def test_consumers_that_come_late_get_what_waits_for_the_iteration(durable, sender, channel, name):
    others, called = [f"{channel} 2", f"{channel} 3"], Happened()
    with listening_to(durable(name, channel, *others)) as listener:
        assert list(listener.notifications(timeout=0)) == []  # so it has begun
        sender.session.sql("BEGIN")
        for each in (*others, channel, *others):
            sender.send(each, each)
        sender.session.sql("COMMIT")
        eventually(lambda: listener.status().queued == 5)
        listener.subscribe(others[0], called.append)
        with listener.subscription(others[1]) as stream:
            called.wait_for(2, PATIENCE)
            assert payloads(stream.items(PATIENCE, 2)) == [others[1]] * 2
            assert next_payloads(listener, 1) == [channel]
            sender.send(others[1], "new")
            assert list(listener.notifications(timeout=0.05)) == []
            assert payloads(stream.items(PATIENCE, 1)) == ["new"]

    assert payloads(called) == [others[0]] * 2


def test_the_progress_of_a_slow_consumer_is_stored(durable, sender, channel, name, monkeypatch):
    monkeypatch.setattr("pgnotify.outbox.durable.STORED_EACH_SECONDS", 0.0)
    with durable(name) as listener:
        sender.send_numbers(channel, 5)
        messages = listener.notifications()
        first, second, _ = next(messages), next(messages), next(messages)

        eventually(lambda: sender.after(name) == str(second.id))
        assert first.id < second.id


def test_a_batch_comes_again_until_it_is_acknowledged_in_a_committed_transaction(
    durable, driver, address, sender, channel, name
):
    with pgnotify.connect(address.dsn, driver=driver) as connection, durable(name) as listener:
        sent = sender.send_numbers(channel, 25)
        batches = listener.batches(10)
        for end in ("ROLLBACK", "COMMIT"):
            batch = next(batches)
            assert payloads(batch) == sent[:10]
            run_statement(connection.connection, "BEGIN")
            batch.acknowledge(connection)
            run_statement(connection.connection, end)
        batch = next(batches)
        assert payloads(batch) == sent[10:20]
        batch.acknowledge(connection)
        with pytest.raises(Superseded, match="this batch of 10 messages"):
            batch.acknowledge(connection)

    with durable(name) as listener:
        assert next_payloads(listener, 5) == sent[20:]


def test_a_batch_is_whole_even_if_its_messages_are_delivered_one_by_one(durable, sender, channel, name, monkeypatch):
    monkeypatch.setattr("pgnotify.outbox.durable.DurableReading.portion", lambda self, waiting: 1)  # as at the end
    with durable(name) as listener:
        sent = sender.send_numbers(channel, 10)

        assert payloads(next(listener.batches(10))) == sent


@contextmanager
def listening_to(listener):
    """Start a listener, and stop it at the end."""
    try:
        listener.start()
        yield listener
    finally:
        listener.stop()
