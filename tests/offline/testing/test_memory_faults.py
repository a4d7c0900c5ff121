"""The faults that MemoryServer plays, and their effect on a connection."""

from __future__ import annotations

import os
import socket

import pytest

import pgnotify
from pgnotify import ConnectionLost, TransactionError
from pgnotify.testing.memory import DatabaseError, MemoryServer
from tests.helpers.memory import (
    STATEMENTS,
    VERBS,
    arrived_payloads,
    assert_lost,
    payloads_before_the_loss,
    readable,
    refused,
)
from tests.helpers.threads import Running
from tests.helpers.waiting import IN_MEMORY

# Faults: the connection is dropped


def test_a_dropped_connection_hands_over_what_had_arrived_and_is_lost_for_good(server, sender, listener):
    sender.notify_many([("jobs", str(number)) for number in range(700)])

    server.drop_connection(listener)
    server.drop_connection(listener)

    assert server.connections == [sender]
    assert listener.closed is False
    assert payloads_before_the_loss(listener) == [str(number) for number in range(700)]
    assert_lost(listener)
    assert readable(listener)
    listener.close()
    assert_lost(listener)


@pytest.mark.parametrize("verb", sorted(STATEMENTS))
def test_a_drop_is_told_by_whatever_comes_first_and_what_had_arrived_stays(server, sender, listener, verb):
    sender.notify("jobs", "last words")
    server.drop_connection(listener)

    with pytest.raises(ConnectionLost) as lost:
        STATEMENTS[verb](listener)

    assert lost.value.__cause__.sqlstate == "57P01"
    assert listener.wait(None) is True
    assert [each.payload for each in listener.fetch()] == ["last words"]
    assert_lost(listener)


def test_a_drop_inside_a_transaction_is_a_loss_and_what_was_held_back_is_gone(server, sender, listener):
    listener.begin()
    sender.notify("jobs", "held back")

    server.drop_connection(listener)

    assert_lost(listener)


def test_a_drop_ends_a_wait_in_another_thread(server, listener, blocking):
    waiting = Running(lambda: payloads_before_the_loss(listener))
    assert blocking.wait(IN_MEMORY)

    server.drop_connection(listener)

    assert waiting.ended() == []
    assert_lost(listener)


@pytest.mark.parametrize("how", [socket.SHUT_RDWR, socket.SHUT_RD])
def test_a_shutdown_of_the_descriptor_from_outside_is_a_loss(server, sender, listener, how):
    sender.notify("jobs", "last words")

    shut_down(listener, how)

    assert payloads_before_the_loss(listener) == ["last words"]
    assert_lost(listener, "08006")
    assert listener.listening_channels == frozenset()
    assert server.connections == [sender]


def shut_down(connection, how=socket.SHUT_RDWR):
    """Shut the socket down through a duplicate, as a watchdog does that has only the descriptor."""
    with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(how)


# Faults: the black hole


def test_nothing_comes_out_of_a_black_hole_until_it_is_healed(server, sender, listener):
    sender.notify("jobs", "before")
    server.blackhole(listener)
    sender.notify("jobs", "1")
    assert arrived_payloads(listener) == ["before"]
    assert listener.wait(0) is False
    assert not readable(listener)

    sender.notify("jobs", "2")
    server.heal(listener)
    server.heal(listener)

    assert listener.wait(0) is True
    assert arrived_payloads(listener) == ["1", "2"]


@pytest.mark.parametrize("verb", sorted(STATEMENTS))
def test_a_statement_blocks_in_a_black_hole_and_goes_on_when_it_is_healed(server, sender, blocking, verb):
    if verb in ("savepoint", "rollback_to", "release"):
        sender.begin()
        sender.savepoint("a")
    server.blackhole(sender)
    call = Running(lambda: STATEMENTS[verb](sender))
    assert blocking.wait(IN_MEMORY)
    assert sender.busy

    server.heal(sender)

    call.ended()
    assert not readable(sender)
    server.blackhole(sender)
    server.heal(sender)
    assert not readable(sender)


def test_what_is_sent_from_within_a_black_hole_is_sent_when_it_is_healed(server, sender, listener, blocking):
    server.blackhole(sender)
    call = Running(lambda: sender.notify("jobs", "late"))
    assert blocking.wait(IN_MEMORY)
    assert arrived_payloads(listener) == []

    server.heal()
    call.ended()

    assert arrived_payloads(listener) == ["late"]


def test_a_wait_in_a_black_hole_ends_with_it(server, sender, listener, blocking):
    server.blackhole()
    waiting = Running(lambda: listener.wait(None))
    assert blocking.wait(IN_MEMORY)
    other = server.connect()
    other.notify("jobs", "held back")

    server.heal()

    assert waiting.ended() is True
    assert arrived_payloads(listener) == ["held back"]


@pytest.mark.parametrize("end", ["drop", "close", "shutdown", "close the server"])
def test_the_end_of_the_connection_ends_a_call_that_a_black_hole_has_swallowed(server, sender, listener, blocking, end):
    sender.listen("jobs")
    sender.notify("jobs", "arrived before")  # which must not keep the call from sleeping
    server.blackhole(sender)
    call = Running(lambda: sender.notify("jobs", "swallowed"))
    assert blocking.wait(IN_MEMORY)

    {
        "drop": lambda: server.drop_connection(sender),
        "close": sender.close,
        "shutdown": lambda: shut_down(sender),
        "close the server": server.close,
    }[end]()

    with pytest.raises(ConnectionLost):
        call.ended()
    assert payloads_before_the_loss(sender) == ([] if end == "close" else ["arrived before"])
    assert payloads_before_the_loss(listener) == ["arrived before"] if end == "close the server" else True


def test_what_had_arrived_before_a_black_hole_is_there_after_a_call_that_it_blocked(server, sender, listener, blocking):
    sender.notify("jobs", "before")
    server.blackhole(listener)
    call = Running(lambda: listener.listen("other"))
    assert blocking.wait(IN_MEMORY)
    assert blocking.asleep

    server.heal(listener)
    call.ended()

    assert readable(listener)
    assert arrived_payloads(listener) == ["before"]


def test_a_refusal_in_a_transaction_needs_no_answer_from_within_a_black_hole(server, listener):
    listener.begin()
    server.blackhole(listener)

    for verb in ("listen", "unlisten", "wait"):
        with pytest.raises(TransactionError):
            VERBS[verb](listener)


def test_a_black_hole_swallows_the_connections_of_its_time_only(server, sender, listener):
    server.blackhole()

    later = server.connect()
    later.listen("jobs")
    later.notify("jobs", "x")

    assert arrived_payloads(later) == ["x"]
    assert arrived_payloads(listener) == []


def test_a_drop_in_a_black_hole_loses_what_was_under_way(server, sender, listener):
    server.blackhole(listener)
    sender.notify("jobs", "under way")

    server.drop_connection(listener)
    server.heal(listener)

    assert_lost(listener)


# Faults: the subscription is lost


def test_a_lost_subscription_is_silence_until_one_listens_again(server, sender, listener):
    listener.listen("other")
    server.lose_subscription(listener, "jobs")
    sender.notify("jobs", "unheard")
    sender.notify("other", "heard")
    assert listener.listening_channels == {"other"}
    assert arrived_payloads(listener) == ["heard"]

    listener.listen("jobs")
    sender.notify("jobs", "again")

    assert arrived_payloads(listener) == ["again"]


def test_all_subscriptions_may_be_lost_at_once(server, sender, listener):
    sender.listen("other")

    server.lose_subscription()

    assert listener.listening_channels == sender.listening_channels == frozenset()


# Faults: the server restarts, or fails over


def test_a_restart_loses_all_connections_and_takes_new_ones(server, sender, listener):
    sender.notify("jobs", "last words")

    server.restart()

    assert payloads_before_the_loss(listener) == ["last words"]
    assert_lost(sender)
    again = server.connect()
    assert again.listening_channels == frozenset()
    assert server.connections == [again]
    again.notify("jobs")


def test_a_standby_refuses_to_listen_and_notify_until_it_is_promoted(server, sender):
    server.become_standby()
    assert_lost(sender)
    connection = server.connect()
    assert server.in_recovery
    assert connection.in_recovery

    with pytest.raises(DatabaseError, match="cannot execute LISTEN during recovery") as refusal:
        connection.listen("jobs")
    assert refusal.value.sqlstate == "25006"
    with pytest.raises(DatabaseError, match="cannot execute NOTIFY during recovery"):
        connection.notify("jobs")
    connection.unlisten("jobs")
    connection.begin()
    assert refused(connection.notify_many, [("jobs", "x")]) == "25006"
    assert refused(connection.notify, "jobs") == "25P02"
    connection.rollback()

    server.promote()
    connection.listen("jobs")
    connection.notify("jobs", "x")
    assert not connection.in_recovery
    assert arrived_payloads(connection) == ["x"]


def test_a_connection_of_another_server_is_refused(server):
    with MemoryServer() as other:
        connection = other.connect()

        for fault in (server.drop_connection, server.blackhole, server.heal, server.lose_subscription):
            with pytest.raises(ValueError, match="another server"):
                fault(connection)


def test_what_is_no_connection_of_a_memory_server_is_refused(server):
    wrapped = pgnotify.wrap(server.connect())

    with pytest.raises(TypeError, match=r"pass a connection that connect\(\) has returned, not a Connection"):
        server.blackhole(wrapped)
