"""What check() returns from a memory server, and the faults that a listener notices only with it."""

from __future__ import annotations

import pytest

from pgnotify.errors import TransactionError
from pgnotify.protocol import ChecksHealth, HasDescriptor, Health, ListensMany, NamesServerPid, UnlistensMany
from pgnotify.testing.memory import DatabaseError


@pytest.fixture
def listener(server):
    return server.connect()


def test_a_connection_offers_what_a_listener_asks_for(listener):
    assert isinstance(listener, ListensMany)
    assert isinstance(listener, UnlistensMany)
    assert isinstance(listener, ChecksHealth)
    assert isinstance(listener, NamesServerPid)
    assert isinstance(listener, HasDescriptor)


def test_a_healthy_server_says_so(listener):
    listener.listen_many(["jobs", "stop_jobs"])

    assert listener.check() == Health(False, 0.0, listener.pid, frozenset({"jobs", "stop_jobs"}))


def test_the_usage_of_the_queue_is_what_it_is_set_to(server, listener):
    server.queue_usage = 0.75

    assert listener.check().queue_usage == 0.75
    assert server.queue_usage == 0.75


@pytest.mark.parametrize("usage", [-0.1, 1.1, 75])
def test_a_usage_that_no_queue_has_is_refused(server, usage):
    with pytest.raises(ValueError, match="from 0 to 1"):
        server.queue_usage = usage


def test_a_lost_subscription_is_seen_by_a_check_only(server, listener):
    listener.listen_many(["jobs", "stop_jobs"])

    server.lose_subscription(listener, "jobs")

    assert listener.wait(0) is False
    assert listener.check().channels == {"stop_jobs"}


def test_a_swapped_session_is_deaf_and_has_another_pid(server, listener):
    listener.listen("jobs")
    pid = listener.pid

    server.swap_session(listener)

    assert listener.wait(0) is False
    health = listener.check()
    assert health.channels == frozenset()
    assert health.server_pid == listener.pid != pid
    assert listener.server_pid == pid


def test_a_swapped_session_hands_over_what_had_arrived_and_may_listen_again(server, listener):
    listener.listen("jobs")
    server.connect().notify("jobs", "before")

    server.swap_session()
    server.connect().notify("jobs", "unheard")
    listener.listen("jobs")
    server.connect().notify("jobs", "after")

    assert [each.payload for each in listener.fetch()] == ["before", "after"]


def test_a_swapped_session_has_forgotten_its_transaction(server, listener):
    other = server.connect()
    other.listen("jobs")
    listener.listen("jobs")
    listener.begin()
    listener.notify("jobs", "never committed")
    other.notify("jobs", "held back")

    server.swap_session(listener)
    listener.commit()

    assert listener.fetch() == []
    assert [each.payload for each in other.fetch()] == ["held back"]


def test_pids_stay_apart_after_a_swap(server, listener):
    server.swap_session(listener)

    assert len({listener.pid, listener.server_pid, server.connect().pid}) == 3


def test_behind_a_pooler_the_connection_outlives_the_failover(server, listener):
    listener.listen("jobs")

    server.become_standby(behind_pooler=True)

    assert listener.wait(0) is False
    health = listener.check()
    assert (health.in_recovery, health.channels) == (True, frozenset())
    with pytest.raises(DatabaseError, match="during recovery"):
        listener.listen_many(["jobs"])
    server.promote()
    assert listener.check().in_recovery is False


def test_a_standby_is_told_by_a_check(server):
    server.become_standby()

    assert server.connect().check().in_recovery is True


def test_the_server_pid_is_told_in_a_black_hole_and_after_the_end(server, listener):
    server.blackhole(listener)
    assert listener.server_pid == listener.pid

    listener.close()

    assert listener.server_pid == listener.pid


def test_a_listen_to_many_of_which_one_is_refused_is_one_to_none(listener):
    listener.listen("before")

    with pytest.raises(DatabaseError):
        listener.listen_many(["before", "jobs", ""])

    assert listener.listening_channels == {"before"}


def test_a_listen_to_none_sends_nothing_but_is_refused_as_another(server, listener):
    server.blackhole(listener)
    listener.listen_many([])
    server.heal()

    listener.begin()

    with pytest.raises(TransactionError):
        listener.listen_many([])


def test_an_unlisten_of_many_of_which_one_is_refused_is_one_of_none(listener):
    listener.listen_many(["jobs", "other"])

    with pytest.raises(DatabaseError):
        listener.unlisten_many(["jobs", "other", ""])

    assert listener.listening_channels == {"jobs", "other"}


def test_an_unlisten_of_none_sends_nothing_but_is_refused_as_another(server, listener):
    server.blackhole(listener)
    listener.unlisten_many([])
    server.heal()

    listener.begin()

    with pytest.raises(TransactionError):
        listener.unlisten_many([])


def test_a_standby_allows_an_unlisten_of_many_which_does_nothing(server, listener):
    listener.listen_many(["jobs", "other"])
    server.become_standby(behind_pooler=True)

    listener.unlisten_many(["jobs", "other"])

    assert listener.listening_channels == frozenset()
