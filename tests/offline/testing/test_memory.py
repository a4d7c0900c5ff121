"""MemoryServer does as PostgreSQL does: delivery, refusals, transactions."""

from __future__ import annotations

import pytest

from pgnotify import TransactionError
from pgnotify.notification import Notification
from pgnotify.testing.nasty import BAD_CHANNELS, BAD_PAYLOADS, GOOD_CHANNELS, GOOD_PAYLOADS
from tests.helpers.memory import VERBS, arrived_payloads, readable, refused

# Delivery


def test_a_notification_goes_to_all_that_listen_and_tells_who_sent_it(server, sender, listener):
    other = server.connect()
    other.listen("jobs")
    deaf = server.connect()

    sender.notify("jobs", "x")
    listener.notify("jobs")

    expected = [Notification("jobs", "x", sender.pid), Notification("jobs", "", listener.pid)]
    assert listener.fetch() == other.fetch() == expected
    assert deaf.fetch() == sender.fetch() == []


def test_a_notification_is_heard_in_its_own_database_only(server, listener):
    elsewhere = server.connect("elsewhere")
    elsewhere.listen("jobs")

    elsewhere.notify("jobs", "there")
    listener.notify("jobs", "here")

    assert (elsewhere.database, listener.database) == ("elsewhere", "postgres")
    assert arrived_payloads(elsewhere) == ["there"]
    assert arrived_payloads(listener) == ["here"]


def test_each_connection_has_a_pid_of_its_own_also_after_others_have_gone(server):
    pids = []
    for _ in range(5):
        pids += [server.connect().pid, server.connect("elsewhere").pid]
        server.restart()

    assert len(set(pids)) == 10


def test_a_listen_begins_with_what_is_sent_after_it_and_listening_twice_is_listening_once(server, sender):
    late = server.connect()
    sender.notify("jobs", "before")
    late.listen("jobs")
    late.listen("jobs")
    sender.notify("jobs", "after")

    assert arrived_payloads(late) == ["after"]


def test_an_unlisten_ends_it_and_keeps_what_has_arrived(sender, listener):
    sender.notify("jobs", "before")
    listener.unlisten("jobs")
    listener.unlisten("unknown")
    sender.notify("jobs", "after")

    assert listener.listening_channels == frozenset()
    assert arrived_payloads(listener) == ["before"]


@pytest.mark.parametrize("channel", GOOD_CHANNELS)
def test_a_name_may_have_anything_in_it_that_a_name_can(server, sender, channel):
    listener = server.connect()
    listener.listen(channel)
    sender.notify(channel, channel)
    listener.unlisten(channel)
    sender.notify(channel)

    assert listener.fetch() == [Notification(channel, channel, sender.pid)]


def test_a_payload_may_have_anything_in_it_that_text_can(sender, listener):
    sender.notify_many([("jobs", payload) for payload in GOOD_PAYLOADS])

    assert arrived_payloads(listener) == list(GOOD_PAYLOADS)


# Refusals of the server


@pytest.mark.parametrize("channel", BAD_CHANNELS)
def test_a_channel_that_is_not_possible_is_the_servers_error_and_nothing_is_sent(sender, listener, channel):
    expected = "22023" if channel == "" or channel.isalnum() else "22021"

    assert refused(sender.notify, channel, "x") == expected
    assert refused(sender.notify_many, [("jobs", "x"), (channel, "x")]) == expected
    assert arrived_payloads(listener) == []


@pytest.mark.parametrize("payload", BAD_PAYLOADS)
def test_a_payload_that_is_not_possible_is_the_servers_error_and_nothing_is_sent(sender, listener, payload):
    expected = "22023" if payload.isalnum() else "22021"

    assert refused(sender.notify, "jobs", payload) == expected
    assert refused(sender.notify_many, [("jobs", "x"), ("jobs", payload)]) == expected
    assert arrived_payloads(listener) == []


def test_a_refusal_aborts_the_transaction(sender, listener):
    sender.begin()
    sender.notify("jobs", "before")

    assert refused(sender.notify, "", "x") == "22023"
    assert refused(sender.notify, "jobs", "x") == "25P02"
    sender.commit()

    assert arrived_payloads(listener) == []


@pytest.mark.parametrize(("written", "in_force"), [("x" * 64, "x" * 63), ("é" * 32, "é" * 31)])
def test_a_listen_to_a_name_that_is_too_long_is_cut_as_the_server_cuts_it(sender, written, in_force):
    sender.listen(written)
    assert sender.listening_channels == {in_force}

    sender.unlisten(written)
    assert sender.listening_channels == frozenset()


@pytest.mark.parametrize("verb", ["listen", "unlisten"])
def test_a_listen_to_no_name_is_a_syntax_error(sender, verb):
    assert refused(getattr(sender, verb), "") == "42601"
    assert refused(getattr(sender, verb), "a\0b") == "22021"


# Transactions


def test_in_a_transaction_it_is_sent_when_that_commits(sender, listener):
    sender.begin()
    sender.notify("jobs", "in it")
    listener.notify("jobs", "meanwhile")
    assert arrived_payloads(listener) == ["meanwhile"]

    sender.commit()

    assert arrived_payloads(listener) == ["in it"]


@pytest.mark.parametrize("end", ["rollback", "close", "drop"])
def test_what_is_rolled_back_is_never_sent(server, sender, listener, end):
    sender.begin()
    sender.notify("jobs", "in it")

    {"rollback": sender.rollback, "close": sender.close, "drop": lambda: server.drop_connection(sender)}[end]()

    assert arrived_payloads(listener) == []


def test_equal_pairs_of_a_transaction_are_sent_once_where_they_came_first(sender, listener):
    listener.listen("other")

    sender.notify_many([("jobs", "1"), ("jobs", "2"), ("other", "1"), ("jobs", "1"), ("jobs", "2")])
    sender.notify("jobs", "1")

    assert [each[:2] for each in listener.fetch()] == [("jobs", "1"), ("jobs", "2"), ("other", "1"), ("jobs", "1")]


def test_equal_pairs_are_sent_once_across_released_savepoints_too(sender, listener):
    sender.begin()
    sender.notify("jobs", "1")
    sender.savepoint("a")
    sender.notify("jobs", "2")
    sender.notify("jobs", "1")
    sender.release("a")
    sender.notify("jobs", "2")
    sender.notify("jobs", "3")
    sender.commit()

    assert arrived_payloads(listener) == ["1", "2", "3"]


def test_what_a_savepoint_takes_back_may_be_sent_again(sender, listener):
    sender.begin()
    sender.savepoint("a")
    sender.notify("jobs", "1")
    sender.rollback_to("a")
    sender.notify("jobs", "2")
    sender.rollback_to("a")
    sender.notify("jobs", "3")
    sender.notify("jobs", "1")
    sender.commit()

    assert arrived_payloads(listener) == ["3", "1"]


def test_the_innermost_savepoint_of_a_name_is_meant(sender, listener):
    sender.begin()
    sender.savepoint("a")
    sender.notify("jobs", "outer")
    sender.savepoint("a")
    sender.notify("jobs", "inner")
    sender.rollback_to("a")
    sender.release("a")
    sender.notify("jobs", "then")
    sender.commit()

    assert arrived_payloads(listener) == ["outer", "then"]


def test_going_back_to_an_outer_savepoint_ends_the_inner_ones(sender):
    sender.begin()
    sender.savepoint("outer")
    sender.savepoint("inner")
    sender.rollback_to("outer")

    assert refused(sender.release, "inner") == "3B001"


@pytest.mark.parametrize("verb", ["rollback_to", "release"])
def test_an_unknown_savepoint_is_an_error_that_aborts_the_transaction(sender, verb):
    sender.begin()

    assert refused(getattr(sender, verb), "unknown") == "3B001"
    assert refused(sender.savepoint, "a") == "25P02"


@pytest.mark.parametrize("verb", ["savepoint", "rollback_to", "release"])
def test_a_savepoint_needs_a_transaction(sender, verb):
    assert refused(getattr(sender, verb), "a") == "25P01"


def test_a_failed_transaction_refuses_everything_and_is_rolled_back_by_its_commit(sender, listener):
    sender.begin()
    sender.notify("jobs", "1")
    sender.fail()

    assert refused(sender.notify, "jobs", "2") == "25P02"
    assert refused(sender.begin) == "25P02"
    assert refused(sender.release, "a") == "25P02"
    sender.commit()
    sender.notify("jobs", "3")

    assert arrived_payloads(listener) == ["3"]


def test_a_failure_after_a_savepoint_is_taken_back_with_it(sender, listener):
    sender.begin()
    sender.notify("jobs", "1")
    sender.savepoint("a")
    sender.fail()
    sender.rollback_to("a")
    sender.notify("jobs", "2")
    sender.commit()

    assert arrived_payloads(listener) == ["1", "2"]


def test_what_is_only_a_warning_to_the_server_does_nothing(sender, listener):
    sender.commit()
    sender.rollback()
    sender.fail()
    sender.begin()
    sender.notify("jobs", "1")
    sender.begin()
    sender.commit()

    assert arrived_payloads(listener) == ["1"]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_nothing_arrives_in_a_transaction_and_all_of_it_afterwards_in_the_order_of_commits(sender, listener, end):
    sender.notify("jobs", "before")
    listener.begin()
    listener.notify("jobs", "my own")
    sender.notify("jobs", "during")
    assert arrived_payloads(listener) == ["before"]
    assert not readable(listener)

    getattr(listener, end)()

    assert arrived_payloads(listener) == (["during", "my own"] if end == "commit" else ["during"])


@pytest.mark.parametrize("state", ["begin", "fail"])
@pytest.mark.parametrize("verb", ["listen", "unlisten", "wait"])
def test_inside_a_transaction_it_is_refused_and_the_transaction_goes_on(sender, listener, verb, state):
    sender.notify("jobs", "before")
    listener.begin()
    if state == "fail":
        listener.fail()

    with pytest.raises(TransactionError, match="open transaction"):
        VERBS[verb](listener)

    listener.rollback()
    assert listener.listening_channels == {"jobs"}
    assert listener.wait(0) is True
