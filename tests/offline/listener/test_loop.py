"""The listener's loop by example: connecting, delivering, adjusting, stopping."""

from __future__ import annotations

import pytest

from pgnotify.errors import ConnectionLost, NotPrimary, SourceError, TransactionError
from pgnotify.listener.events import Connected, Connecting, Failed, ListenInForce, Lost, Refused
from pgnotify.program import actions as p
from pgnotify.program.state import State
from tests.helpers.notifications import note
from tests.helpers.play import LEFT
from tests.helpers.play_listener import CONNECTING, OPENED, Lasting, Passing, Permanent, health, play

GONE = (("fetch", ConnectionLost), ("fetch", ConnectionLost), ("disconnect", None))
"""A loss that is found by fetching, and after which nothing is left in the driver."""


def listening(*channels, **settings):
    lasting = Lasting(*(channels or ("jobs",)), **settings)
    play(lasting, *CONNECTING, ("fetch", LEFT))
    for record in (lasting.actions, lasting.news, lasting.got):
        record.clear()
    return lasting


# Connecting.


def test_it_connects_checks_and_listens_to_all_in_one_go():
    lasting = Lasting("jobs", "other")

    play(lasting, *CONNECTING, ("fetch", LEFT))

    calls = [action for action in lasting.actions if not isinstance(action, p.Tell)]
    assert calls == [p.Connect(None), p.AskHealth(), p.ListenMany(("jobs", "other")), lasting.watch.fetch]
    assert lasting.watch.state is State.LISTENING


def test_news_come_in_order():
    lasting = Lasting("jobs")

    play(lasting, *CONNECTING, ("fetch", LEFT))

    assert lasting.news == [Connecting(), Connected(health(), 42, False), ListenInForce(("jobs",), None)]


def test_the_listen_is_announced_before_the_first_fetch():
    lasting = Lasting("jobs")

    play(lasting, *CONNECTING, ("fetch", LEFT))

    assert lasting.actions[-2:] == [p.Tell(ListenInForce(("jobs",), None)), lasting.watch.fetch]


def test_without_channels_it_connects_and_listens_to_nothing():
    lasting = Lasting()

    play(lasting, ("connect", OPENED), ("askhealth", health()), ("fetch", LEFT))

    assert lasting.watch.state is State.LISTENING
    assert lasting.asked(p.ListenMany) == []


def test_an_attempt_that_was_interrupted_goes_on_and_is_told_once():
    lasting = Lasting("jobs")

    play(lasting, ("connect", None), ("connect", None), *CONNECTING, ("fetch", LEFT))

    assert lasting.told(Connecting) == [Connecting()]
    assert lasting.told(Failed) == []


def test_channels_that_are_wanted_while_it_connects_are_listened_to_at_once():
    lasting = Lasting("jobs")

    def somebody_subscribes():
        lasting.want("jobs", "other")

    play(lasting, ("connect", somebody_subscribes), *CONNECTING, ("fetch", LEFT))

    assert lasting.asked(p.ListenMany) == [p.ListenMany(("jobs", "other"))]


def test_a_standby_is_left_and_asked_again_later():
    lasting = Lasting("jobs")

    play(lasting, ("connect", OPENED), ("askhealth", health(in_recovery=True)), ("disconnect", None), ("wait", LEFT))

    [failed] = lasting.told(Failed)
    assert isinstance(failed.error, NotPrimary)
    assert (failed.attempt, failed.delay, failed.permanent) == (1, 10.0, False)
    assert lasting.asked(p.Wait) == [p.Wait(10.0)]


def test_a_permanent_error_at_the_start_is_raised():
    lasting = Lasting("jobs")

    with pytest.raises(Permanent):
        play(lasting, ("connect", Permanent), ("disconnect", None))

    assert lasting.told(Failed) == []


def test_it_remembers_when_it_last_looked_at_the_connection():
    lasting, unread = listening(), []

    def callback(notification):
        lasting.clock.now += 5
        unread.append(lasting.watch.seconds_unread(lasting.clock.now))

    lasting.callback = callback
    play(lasting, ("fetch", []), ("wait", lasting.clock.passes(7)), ("fetch", [note("1")]), ("fetch", LEFT))

    assert unread == [5]


def test_a_permanent_error_of_the_first_listen_is_raised():
    with pytest.raises(Permanent):
        play(Lasting("jobs"), *CONNECTING[:2], ("listenmany", Permanent), ("disconnect", None))


def test_a_permanent_error_later_is_told_and_it_goes_on():
    lasting = listening()

    play(lasting, *GONE, ("connect", Permanent), ("disconnect", None), ("wait", LEFT))

    [failed] = lasting.told(Failed)
    assert failed.permanent
    assert lasting.asked(p.Wait) == [p.Wait(10.0)]


@pytest.mark.parametrize("error", [SourceError, SourceError("the same again")])
def test_a_source_error_always_ends_it(error):
    lasting = listening()

    with pytest.raises(SourceError):
        play(lasting, *GONE, ("connect", error), ("disconnect", None))


def test_a_connect_function_that_returns_a_dead_connection_at_the_start_is_to_blame():
    lost = ConnectionLost("gone")
    lasting = Lasting("jobs", new_is_fresh=False)

    with pytest.raises(SourceError, match="already dead") as raised:
        play(lasting, ("connect", OPENED), ("askhealth", lost), ("disconnect", None))

    assert raised.value.__cause__ is lost


def test_a_connect_function_that_returns_a_dead_connection_later_is_asked_again():
    lasting = listening(new_is_fresh=False)

    play(lasting, *GONE, ("connect", OPENED), ("askhealth", ConnectionLost), ("disconnect", None), ("wait", LEFT))

    assert len(lasting.told(Failed)) == 1


def test_a_connection_of_ours_that_dies_at_once_is_tried_again():
    lasting = Lasting("jobs")

    play(lasting, ("connect", OPENED), ("askhealth", ConnectionLost), ("disconnect", None), ("wait", LEFT))

    assert len(lasting.told(Failed)) == 1


# Delivering.


def test_it_fetches_until_there_is_no_more_and_then_waits():
    lasting = listening(heartbeat=None)

    got = play(lasting, ("fetch", [note("1"), note("2")]), ("fetch", [note("3")]), ("fetch", []), ("wait", LEFT))

    assert got == [note("1"), note("2"), note("3")]
    assert lasting.asked(p.Wait) == [p.Wait(None)]


def test_what_is_queued_from_an_earlier_run_comes_first():
    lasting = listening()
    lasting.watch.queue.append(note("1"))

    assert play(lasting, ("fetch", [note("2")]), ("fetch", LEFT)) == [note("1"), note("2")]


def test_an_interrupted_delivery_goes_on_where_it_was():
    lasting = listening()
    lasting.callback = lambda notification: lasting.watch.interrupt()

    got = play(lasting, ("fetch", [note("1"), note("2")]), ("fetch", LEFT))

    assert got == [note("1"), note("2")]


# The deadline, and until.


def test_until_is_asked_before_the_first_step():
    lasting = Lasting("jobs")

    play(lasting, until=lambda: True)

    assert lasting.actions == []
    assert lasting.result is False


def test_until_ends_it_between_two_steps_and_all_stays_as_it_is():
    lasting = listening()

    play(lasting, ("fetch", [note("1")]), until=lambda: len(lasting.got) > 0)

    assert lasting.result is False
    assert lasting.watch.state is State.LISTENING


def test_a_deadline_in_the_past_still_looks_for_what_is_there():
    lasting = listening()

    got = play(lasting, ("fetch", [note("1")]), ("fetch", []), deadline=lasting.clock.now - 5)

    assert got == [note("1")]
    assert lasting.result is False


def test_a_deadline_ends_the_wait():
    lasting = listening()

    play(lasting, ("fetch", []), ("wait", lasting.clock.passes(5)), ("fetch", []), deadline=lasting.clock.now + 5)

    assert lasting.asked(p.Wait) == [p.Wait(5.0)]
    assert lasting.result is False


def test_a_deadline_ends_a_pause_between_attempts():
    lasting = Lasting("jobs")

    play(
        lasting,
        ("connect", Passing),
        ("disconnect", None),
        ("wait", lasting.clock.passes(4)),
        deadline=lasting.clock.now + 4,
    )

    assert lasting.asked(p.Wait) == [p.Wait(4.0)]
    assert lasting.result is False


# Adjusting.


def test_channels_added_while_listening_are_listened_to_and_announced_at_once():
    lasting = listening()
    lasting.want("jobs", "a", "b")

    got = play(lasting, ("listenmany", None), ("fetch", LEFT))

    assert lasting.asked(p.ListenMany) == [p.ListenMany(("a", "b"))]
    assert got == [ListenInForce(("a", "b"), None)]
    assert list(lasting.watch.in_force) == ["jobs", "a", "b"]


def test_channels_removed_while_listening_are_unlistened():
    lasting = listening("jobs", "other")
    lasting.want("jobs")

    got = play(lasting, ("unlistenmany", None), ("fetch", LEFT))

    assert lasting.asked(p.UnlistenMany) == [p.UnlistenMany(("other",))]
    assert got == []
    assert list(lasting.watch.in_force) == ["jobs"]


def test_channels_changed_while_lost_come_with_the_next_listen():
    lasting = listening("jobs", "other")
    play(lasting, *GONE, ("connect", Passing), ("disconnect", None), ("wait", LEFT))
    lasting.want("jobs", "new")
    lasting.clock.now += 10

    play(lasting, *CONNECTING, ("fetch", LEFT))

    assert lasting.asked(p.ListenMany) == [p.ListenMany(("jobs", "new"))]
    assert lasting.asked(p.Unlisten) == []
    assert lasting.told(ListenInForce)[-1].channels == ("jobs", "new")


def test_a_loss_while_adjusting_listens_to_all_that_is_wanted_next():
    lasting = listening()
    lasting.want("jobs", "new")

    play(
        lasting,
        ("listenmany", ConnectionLost),
        ("fetch", ConnectionLost),
        ("disconnect", None),
        *CONNECTING,
        ("fetch", LEFT),
    )

    assert lasting.asked(p.ListenMany)[-1] == p.ListenMany(("jobs", "new"))
    assert len(lasting.told(Lost)) == 1


# Stopping.


def test_a_stop_before_the_first_step_connects_to_nothing():
    lasting = Lasting("jobs")
    lasting.watch.request_stop()

    play(lasting)

    assert lasting.result is True
    assert lasting.actions == []


def test_a_stop_while_it_connects_ends_it():
    lasting = Lasting("jobs")

    play(lasting, ("connect", lambda: lasting.watch.request_stop()))

    assert lasting.result is True


def test_a_stop_while_it_waits_ends_it():
    lasting = listening()

    play(lasting, ("fetch", []), ("wait", lasting.watch.request_stop))

    assert lasting.result is True


def test_a_stop_in_a_pause_between_attempts_ends_it():
    lasting = Lasting("jobs")

    play(lasting, ("connect", Passing), ("disconnect", None), ("wait", lasting.watch.request_stop))

    assert lasting.result is True


def test_a_stop_in_a_callback_leaves_the_rest_queued():
    lasting = listening()
    lasting.callback = lambda notification: lasting.watch.request_stop()

    got = play(lasting, ("fetch", [note("1"), note("2")]))

    assert got == [note("1")]
    assert list(lasting.watch.queue) == [note("2")]
    assert lasting.result is True


def test_a_loop_that_is_closed_ends():
    lasting = listening()
    lasting.watch.closed()

    play(lasting)

    assert lasting.result is True


# A source that cannot come back.


def test_of_a_source_that_cannot_come_back_the_rest_is_delivered_and_then_the_loss_raised():
    lasting = listening(can_reconnect=False)

    with pytest.raises(ConnectionLost):
        play(
            lasting, ("fetch", ConnectionLost), ("fetch", [note("1")]), ("fetch", ConnectionLost), ("disconnect", None)
        )

    assert lasting.got == [note("1")]
    assert lasting.watch.state is State.LOST


def test_a_stop_while_the_rest_is_delivered_ends_it_without_an_error():
    lasting = listening(can_reconnect=False)
    lasting.callback = lambda notification: lasting.watch.request_stop()

    play(
        lasting,
        ("fetch", ConnectionLost),
        ("fetch", [note("1"), note("2")]),
        ("fetch", ConnectionLost),
        ("disconnect", None),
    )

    assert lasting.got == [note("1")]
    assert lasting.result is True


def test_a_transaction_on_such_a_source_is_the_users_business_and_nothing_is_parted():
    lasting = listening(can_reconnect=False)

    with pytest.raises(TransactionError):
        play(lasting, ("fetch", []), ("wait", TransactionError))

    assert lasting.watch.state is State.LISTENING
    assert list(lasting.watch.in_force) == ["jobs"]
    assert lasting.asked(p.Disconnect) == []


def test_a_transaction_on_a_connection_of_ours_is_given_up_with_it():
    lasting = listening()

    play(lasting, ("fetch", []), ("wait", TransactionError), ("fetch", []), ("disconnect", None), ("wait", LEFT))

    [lost] = lasting.told(Lost)
    assert isinstance(lost.error, TransactionError)
    assert lost.delay == 10.0


# Channels that the server will not have.


def test_a_channel_that_is_refused_is_told_and_the_others_are_listened_to():
    lasting = listening()
    lasting.want("jobs", "good", "bad")
    refusal = Permanent("bad")

    play(lasting, ("listenmany", refusal), ("listenmany", None), ("listenmany", refusal), ("fetch", LEFT))

    assert lasting.asked(p.ListenMany)[-2:] == [p.ListenMany(("good",)), p.ListenMany(("bad",))]
    assert lasting.told(Refused) == [Refused("bad", refusal)]
    assert lasting.told(ListenInForce)[-1] == ListenInForce(("good",), None)
    assert set(lasting.watch.in_force) == {"jobs", "good"}


def test_a_channel_that_is_refused_is_not_asked_for_again_until_it_is_wanted_anew():
    lasting = listening()
    lasting.want("jobs", "bad")
    play(lasting, ("listenmany", Permanent("bad")), ("fetch", LEFT))

    play(
        lasting,
        ("fetch", ConnectionLost),
        ("fetch", ConnectionLost),
        ("disconnect", None),
        *CONNECTING,
        ("fetch", LEFT),
    )
    assert lasting.asked(p.ListenMany)[-1] == p.ListenMany(("jobs",))

    lasting.want("jobs")
    lasting.want("jobs", "bad")
    play(lasting, ("listenmany", None), ("fetch", LEFT))
    assert set(lasting.watch.in_force) == {"jobs", "bad"}


def test_a_listen_that_fails_in_passing_is_a_loss():
    lasting = listening()
    lasting.want("jobs", "other")

    play(lasting, ("listenmany", Passing), ("fetch", []), ("disconnect", None), ("wait", LEFT))

    assert lasting.told(Refused) == []
