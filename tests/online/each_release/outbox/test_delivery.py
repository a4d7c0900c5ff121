"""What is stored in an outbox reaches a listener, whatever its size, in order, also after a loss of the connection."""

from __future__ import annotations

import pgnotify
from tests.helpers.listener_fronts import Listener, both_fronts
from tests.helpers.listeners import AT_ONCE, Happened, Told, listening, next_payloads
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = both_fronts


def test_a_message_of_any_size_arrives_with_its_number_and_its_time(driver, address, outbox, sender, channel):
    with Listener(address.dsn, channel, driver=driver, outbox=outbox) as listener:
        sender.send(channel, "", "x" * 20_000, "ü" * 2_500_000)

        first, second, third = listener.notifications(PATIENCE, 3)

    assert [type(each) for each in (first, second, third)] == [pgnotify.Message] * 3
    assert (first.channel, first.payload, first.pid) == (channel, "", sender.session.pid)
    assert second.payload == "x" * 20_000
    assert third.payload == "ü" * 2_500_000
    assert 0 < first.id < second.id < third.id
    assert first.sent_at <= second.sent_at
    assert first.sent_at.utcoffset().total_seconds() == 0


def test_messages_come_in_order_and_those_of_a_rolled_back_transaction_never(driver, address, outbox, sender, channel):
    with Listener(address.dsn, channel, driver=driver, outbox=outbox) as listener:
        sender.send(channel, 1, 2)
        sender.session.sql("BEGIN")
        sender.send(channel, "never")
        sender.session.sql("ROLLBACK")
        sender.send("another channel", "not asked for")
        sender.send(channel, 3)

        assert next_payloads(listener, 3) == ["1", "2", "3"]
        assert list(listener.notifications(timeout=0.05)) == []


def test_nothing_sent_during_a_loss_is_lost_and_no_gap_is_told(driver, address, outbox, sender, channel):
    told = Told()
    with listening(address.dsn, channel, driver=driver, outbox=outbox, on_listening=told, backoff=AT_ONCE) as listener:
        told.next()
        sender.send(channel, "before")
        assert next_payloads(listener, 1) == ["before"]

        sender.session.terminate(listener.status().server_pid)
        sender.send(channel, "after")

        assert next_payloads(listener, 1) == ["after"]
        assert told.next().gap is None
        assert told.gaps == []
        assert listener.status().reconnects == 1


def test_callbacks_of_several_channels_get_theirs_and_the_iteration_the_others(
    driver, address, outbox, sender, channel
):
    others = [f"{channel} 2", f"{channel} 3"]
    listener = Listener(address.dsn, channel, driver=driver, outbox=outbox)
    called = Happened()
    listener.subscribe(others[0], called.append)
    with listener:
        late = listener.subscribe(others[1], called.append)
        assert late.wait_listening(PATIENCE)
        for each in (others[0], channel, others[1]):
            sender.send(each, "to " + each)

        assert next_payloads(listener, 1) == ["to " + channel]
        called.wait_for(2, PATIENCE)

    assert [each.payload for each in called] == ["to " + each for each in others]


def test_a_slow_stream_holds_the_reader_up_and_loses_nothing(driver, address, outbox, sender, channel):
    with (
        listening(address.dsn, driver=driver, outbox=outbox) as listener,
        listener.subscription(channel, queue_size=1) as slow,
        listener.subscription(channel, queue_size=1) as quick,
    ):
        sent = sender.send_numbers(channel, 1200)
        quickly = [each.payload for each in quick.items(PATIENCE, 500)]
        eventually(lambda: listener.status().held_up)
        slowly = [each.payload for each in slow.items(PATIENCE, 1000)]
        quickly += [each.payload for each in quick.items(PATIENCE, 700)]
        slowly += [each.payload for each in slow.items(PATIENCE, 200)]
        assert listener.status().dropped == 0

    assert slowly == sent
    assert quickly == sent


def test_workers_get_every_message_of_a_subscription_in_order(driver, address, outbox, sender, channel):
    called = Happened()
    with listening(address.dsn, driver=driver, outbox=outbox, workers=2, queue_size=1) as listener:
        assert listener.subscribe(channel, called.append).wait_listening(PATIENCE)
        sent = sender.send_numbers(channel, 700)
        called.wait_for(700, PATIENCE)

    assert [each.payload for each in called] == sent


def test_a_hint_that_there_is_work_is_the_latest_message(driver, address, outbox, sender, channel):
    with Listener(address.dsn, channel, driver=driver, outbox=outbox) as listener:
        sender.send(channel, 1, 2)
        hint = listener.wait_or_poll(healthy=PATIENCE)
        sender.send(channel, 3)

        assert (type(hint), hint.payload) == (pgnotify.Message, "2")
        assert listener.wait_or_poll(healthy=PATIENCE).payload == "3"
        assert listener.wait_or_poll(healthy=0.0) is None


def test_a_probe_arrives(driver, address, outbox, sender, channel):
    with listening(address.dsn, channel, driver=driver, outbox=outbox) as listener:
        assert listener.probe().delivering == "yes"
        sender.send(channel, "after it")

        assert next_payloads(listener, 1) == ["after it"]


def test_all_begins_with_the_oldest_message_and_new_with_the_next_one(driver, address, outbox, sender, channel):
    sender.send(channel, "old")
    with (
        Listener(address.dsn, channel, driver=driver, outbox=outbox) as from_now_on,
        Listener(address.dsn, channel, driver=driver, outbox=outbox, start="all") as from_the_beginning,
    ):
        sender.send(channel, "new")

        assert next_payloads(from_now_on, 1) == ["new"]
        assert next_payloads(from_the_beginning, 2) == ["old", "new"]
