"""pgnotify.notify and pgnotify.notify_many, on each kind of connection."""

import enum

import pytest

import pgnotify
from pgnotify import ChannelError, ConnectionLost, PayloadError
from pgnotify.registry import DRIVERS
from pgnotify.testing import sent_notifications
from pgnotify.testing.nasty import BAD_CHANNELS, BAD_PAYLOADS, GOOD_CHANNELS, GOOD_PAYLOADS
from tests.helpers.user import User


@pytest.fixture
def heard(session, channel):
    """What another session hears on the channel, since it was asked last."""
    session.listen(channel)
    return session.received


def distinct(count):
    return list(map(str, range(count)))


def test_notify_sends_at_once(db, channel, heard):
    pgnotify.notify(db, channel, "it's")
    pgnotify.notify(db, channel)

    assert heard() == [(channel, "it's"), (channel, "")]


def test_notify_comes_from_the_connection_it_was_given(db, user, channel):
    handler = pgnotify.wrap(db)
    handler.listen(channel)

    pgnotify.notify(db, channel, "to myself")

    assert handler.fetch() == [(channel, "to myself", user.pid)]


def test_what_is_sent_in_a_transaction_that_is_rolled_back_is_recorded(db, user, channel, heard):
    user.begin()
    with sent_notifications(db) as sent, sent_notifications() as on_all:
        pgnotify.notify(db, channel, "1")
        pgnotify.notify_many(pgnotify.wrap(db), [(channel, "2")])
    user.rollback()

    assert sent == on_all == [(channel, "1"), (channel, "2")]
    assert heard() == []


def test_notify_takes_a_wrapped_connection(db, channel, heard):
    pgnotify.notify(pgnotify.wrap(db), channel, "1")
    pgnotify.notify_many(pgnotify.wrap(db), [(channel, "2")])
    pgnotify.wrap(db).notify(channel, "3")
    pgnotify.wrap(db).notify_many([(channel, "4")])

    assert heard() == [(channel, payload) for payload in "1234"]


def test_members_of_an_enum_are_sent_as_their_values(db, channel, heard):
    event = enum.Enum("Event", {"CHANNEL": channel, "PAYLOAD": "it's"}, type=str)

    pgnotify.notify(db, event.CHANNEL, event.PAYLOAD)
    pgnotify.notify_many(db, [(event.CHANNEL, event.PAYLOAD), (event.CHANNEL, event.CHANNEL)])

    assert heard() == [(channel, "it's"), (channel, "it's"), (channel, channel)]


def test_every_channel_and_payload_is_sent_as_it_is(db, session):
    session.listen(*GOOD_CHANNELS)
    everything = [(name, payload) for name in GOOD_CHANNELS for payload in ("1", "it's")]
    everything += [("jobs", payload) for payload in GOOD_PAYLOADS]

    for name, payload in everything:
        pgnotify.notify(db, name, payload)
    one_by_one = session.received()
    pgnotify.notify_many(db, everything)
    all_at_once = session.received()

    assert one_by_one == everything
    assert all_at_once == list(dict.fromkeys(everything))  # equal pairs are folded


def test_bad_input_is_refused_before_anything_is_sent(db, user, channel, heard):
    user.begin()

    for name in BAD_CHANNELS:
        with pytest.raises(ChannelError):
            pgnotify.notify(db, name, "x")
        with pytest.raises(ChannelError):
            pgnotify.notify_many(db, [(channel, "good"), (name, "x")])
    for payload in BAD_PAYLOADS:
        with pytest.raises(PayloadError):
            pgnotify.notify(db, channel, payload)
        with pytest.raises(PayloadError):
            pgnotify.notify_many(db, [(channel, "good"), (channel, payload)])

    user.commit()
    assert heard() == []
    pgnotify.notify(db, channel, "good")
    assert heard() == [(channel, "good")]


@pytest.mark.parametrize("wrong", [None, 7, b"bytes"])
def test_what_is_no_text_is_refused_before_anything_is_sent(db, channel, heard, wrong):
    with pytest.raises(TypeError):
        pgnotify.notify(db, channel, wrong)
    with pytest.raises(TypeError):
        pgnotify.notify(db, wrong)
    with pytest.raises(TypeError):
        pgnotify.notify_many(db, [(channel, "good"), (channel, wrong)])

    assert heard() == []


def test_notify_many_keeps_the_order_of_ten_thousand(db, channel, heard):
    payloads = distinct(10_000)

    pgnotify.notify_many(db, [(channel, payload) for payload in payloads])

    assert heard() == [(channel, payload) for payload in payloads]


def test_notify_many_keeps_the_order_across_channels(db, session):
    session.listen("a", "b")
    pairs = [("a", "1"), ("b", "1"), ("a", "2"), ("b", "0"), ("a", "0")]

    pgnotify.notify_many(db, pairs)

    assert session.received() == pairs


def test_notify_many_sends_equal_pairs_once_where_they_came_first(db, channel, heard):
    pgnotify.notify_many(db, [(channel, payload) for payload in ("d", "d", "e", "d", "f", "", "e", "")])

    assert heard() == [(channel, payload) for payload in ("d", "e", "f", "")]


def test_notify_many_takes_any_iterable(db, channel, heard):
    pgnotify.notify_many(db, ((channel, payload) for payload in "abc"))
    pgnotify.notify_many(db, {(channel, "d"): None}.keys())
    pgnotify.notify_many(db, [[channel, "e"]])

    assert heard() == [(channel, payload) for payload in "abcde"]


def test_notify_many_sends_nothing_if_the_iterable_fails(db, channel, heard):
    def failing():
        yield channel, "1"
        raise LookupError("of the user's")

    with pytest.raises(LookupError):
        pgnotify.notify_many(db, failing())

    assert heard() == []


def test_notify_many_of_large_payloads(db, channel, heard):
    pairs = [(channel, f"{number:07}" + "日" * 2_664) for number in range(300)]

    pgnotify.notify_many(db, pairs)

    assert heard() == pairs


@pytest.mark.parametrize("count", [1, 10, 2_000])
def test_notify_many_costs_one_round_trip_for_any_number(kind, connect, address, proxy, channel, heard, count):
    db = connect(address._replace(host=proxy.host, port=proxy.port))
    User(kind, db).run("SELECT 1")  # Django connects late
    proxy.record()

    pgnotify.notify_many(db, [(channel, payload) for payload in distinct(count)])

    assert proxy.answers == 1
    assert len(heard()) == count


def test_notify_many_of_nothing_sends_nothing(kind, connect, address, proxy):
    db = connect(address._replace(host=proxy.host, port=proxy.port))
    User(kind, db).run("SELECT 1")
    proxy.record()

    pgnotify.notify_many(db, [])
    pgnotify.notify_many(db, iter(()))

    assert proxy.answers == 0


# Transactions.


def test_inside_the_users_transaction_they_are_sent_when_it_commits(db, user, channel, heard):
    user.begin()
    pgnotify.notify(db, channel, "1")
    pgnotify.notify_many(db, [(channel, "2"), (channel, "3")])
    pgnotify.notify(db, channel, "1")

    before = heard()
    user.commit()

    assert before == []
    assert heard() == [(channel, "1"), (channel, "2"), (channel, "3")]


def test_they_are_never_sent_after_a_rollback(db, user, channel, heard):
    user.begin()
    pgnotify.notify(db, channel, "1")
    pgnotify.notify_many(db, [(channel, "2"), (channel, "3")])

    user.rollback()

    assert heard() == []
    pgnotify.notify(db, channel, "4")
    assert heard() == [(channel, "4")]


def test_neither_commits_nor_rolls_back_the_users_work(db, user, channel, session):
    user.begin()
    work = user.sql("SELECT txid_current()")[0][0]

    pgnotify.notify(db, channel, "1")
    pgnotify.notify_many(db, [(channel, "2")])
    with pytest.raises(PayloadError):
        pgnotify.notify(db, channel, "\0")

    assert session.sql(f"SELECT txid_status({work})") == [("in progress",)]
    user.commit()
    assert session.sql(f"SELECT txid_status({work})") == [("committed",)]


def test_inside_a_failed_transaction_it_is_the_drivers_error(db, user, channel, heard):
    user.fail()

    with pytest.raises(user.driver.Error, match="current transaction is aborted"):
        pgnotify.notify(db, channel, "1")
    with pytest.raises(user.driver.Error, match="current transaction is aborted"):
        pgnotify.notify_many(db, [(channel, "2")])

    user.rollback()
    assert heard() == []


def test_the_connections_mode_is_left_as_it_was(db, kind, user, channel, session, heard):
    user.run("SELECT 1")  # Django connects late
    before = getattr(db, "autocommit", None)

    pgnotify.notify(db, channel, "1")
    pgnotify.notify_many(db, [(channel, "2")])
    after = getattr(db, "autocommit", None)
    work = user.sql("SELECT txid_current()")[0][0]

    assert after == before
    assert heard() == [(channel, "1"), (channel, "2")]
    assert session.sql(f"SELECT txid_status({work})") == [
        ("in progress" if kind.implicit_transactions else "committed",)
    ]


# Errors.


def test_a_server_that_is_gone_is_a_lost_connection(db, user, channel, session):
    session.terminate(user.pid)

    with pytest.raises(ConnectionLost) as caught:
        pgnotify.notify(db, channel, "1")

    assert isinstance(caught.value.__cause__, (user.driver.Error, OSError))


def test_a_server_that_is_gone_is_a_lost_connection_for_many(db, user, channel, session):
    session.terminate(user.pid)

    with pytest.raises(ConnectionLost) as caught:
        pgnotify.notify_many(db, [(channel, "1")])

    assert isinstance(caught.value.__cause__, (user.driver.Error, OSError))


def test_a_connection_that_was_closed_is_a_lost_connection(db, channel):
    wrapped = pgnotify.wrap(db)
    wrapped.close()

    with pytest.raises(ConnectionLost):
        wrapped.notify(channel, "1")
    with pytest.raises(ConnectionLost):
        wrapped.notify_many([(channel, "1")])


@pytest.mark.drivers(*DRIVERS)  # Django reconnects
def test_a_connection_that_the_user_has_closed_is_a_lost_connection(db, channel):
    db.close()

    with pytest.raises(ConnectionLost):
        pgnotify.notify(db, channel, "1")
    with pytest.raises(ConnectionLost):
        pgnotify.notify_many(db, [(channel, "1")])
