"""The listener's loop by example: what a loss means, what is announced of it, and when; and the heartbeat."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnotify.errors import ConnectionLost, NotPrimary, PayloadError, Unanswered, UndecodablePayload
from pgnotify.listener.events import Checked, ListenIgnored, ListenInForce, Lost, Undecodable
from pgnotify.listener.failure import OnListeningFailed
from pgnotify.listener.gap import Gap, Reason, utc
from pgnotify.listener.loop import BATCHES_AFTER_THE_DEADLINE
from pgnotify.listener.watch import DroppedGap
from pgnotify.program import actions as p
from tests.helpers.notifications import note
from tests.helpers.play import LEFT
from tests.helpers.play_listener import CONNECTING, OPENED, Lasting, Passing, health, moments_of_questions, play
from tests.offline.listener.test_loop import GONE, listening


def overflow(lasting):
    """A gap of one of our own queues, from ten seconds ago until now."""
    now = lasting.clock.now - 1000
    return Gap(Reason.QUEUE_OVERFLOW, lasting.at(now - 10), lasting.at(now), ("jobs",), 3)


def drop(lasting, gap):
    """Do what a consumer does that has reached the place of a gap, and return what it waits with."""
    dropped = DroppedGap(gap, lambda: None)
    lasting.watch.announce(dropped)
    return dropped


def beat(lasting, answer=None):
    """The steps from one heartbeat to the answer of the next, thirty seconds later."""
    return (
        ("fetch", []),
        ("wait", lasting.clock.passes(30)),
        ("fetch", []),
        ("askhealth", answer or health(*lasting.watch.in_force)),
    )


def waits(lasting):
    """The seconds of each wait that the loop has asked for."""
    return [wait.timeout for wait in lasting.asked(p.Wait)]


# The order of things.


def test_what_had_arrived_is_fetched_first_and_delivered_before_the_gap_is_announced():
    lasting = listening()

    got = play(
        lasting,
        ("fetch", [note("1")]),
        ("fetch", ConnectionLost),
        ("fetch", [note("2")]),
        ("fetch", [note("3")]),
        ("fetch", ConnectionLost),
        ("disconnect", None),
        *CONNECTING,
        ("fetch", [note("4")]),
        ("fetch", LEFT),
    )

    gap = Gap(Reason.CONNECTION_LOST, lasting.at(0), lasting.at(0), ("jobs",))
    assert got == [note("1"), note("2"), note("3"), ListenInForce(("jobs",), gap), note("4")]


def test_what_had_arrived_waits_for_no_pause():
    lasting = listening()

    play(lasting, ("fetch", KeyError), ("fetch", [note("1")]), ("fetch", []), ("disconnect", None), ("wait", LEFT))

    assert note("1") in lasting.got


@pytest.mark.parametrize("answered", [None, OPENED])
def test_what_had_arrived_waits_for_no_attempt_to_connect(answered):
    lasting = listening()

    play(
        lasting,
        ("fetch", ConnectionLost),
        ("fetch", [note("1")]),
        ("fetch", ConnectionLost),
        ("disconnect", None),
        ("connect", lambda: lasting.got.append("an attempt") or answered),
        ("connect" if answered is None else "askhealth", LEFT),
    )

    assert lasting.got == [note("1"), "an attempt"]


def test_a_delivery_that_was_interrupted_after_a_loss_goes_on_before_the_next_attempt_to_connect():
    lasting = listening()
    lasting.callback = lambda notification: lasting.watch.interrupt()

    play(
        lasting,
        ("fetch", ConnectionLost),
        ("fetch", [note("1"), note("2"), note("3")]),
        ("fetch", ConnectionLost),
        ("disconnect", None),
        ("connect", LEFT),
    )

    assert lasting.got == [note("1"), note("2"), note("3")]


def test_a_gap_lasts_from_the_last_check_behind_which_all_was_fetched_until_listen_is_in_force():
    lasting = listening()
    play(lasting, *beat(lasting), ("fetch", []), ("wait", lasting.clock.passes(12)), ("fetch", LEFT))

    play(lasting, *GONE, ("connect", lambda: lasting.clock.passes(3)() and OPENED), *CONNECTING[1:], ("fetch", LEFT))

    [gap] = lasting.gaps()
    assert (gap.lost_at, gap.restored_at) == (lasting.at(30), lasting.at(45))


def test_the_check_counts_from_when_it_was_sent():
    lasting = listening()

    def answer_slowly():
        lasting.clock.now += 4
        return health("jobs")

    play(lasting, *beat(lasting, answer_slowly), ("fetch", []), ("wait", LEFT))
    play(lasting, *GONE, *CONNECTING, ("fetch", LEFT))

    assert lasting.gaps()[0].lost_at == lasting.at(30)
    assert lasting.told(Checked) == [Checked(health("jobs"), 4.0, None)]


def test_a_check_that_is_sent_late_says_by_how_much():
    lasting = listening()
    lasting.callback = lambda notification: lasting.clock.passes(37)()

    play(lasting, ("fetch", [note("1")]), ("fetch", []), ("askhealth", health("jobs")), ("fetch", LEFT))

    [checked] = lasting.told(Checked)
    assert checked.lag == pytest.approx(37 - 0.1)  # it was due a tenth of a second after the arrival


def test_a_check_behind_which_not_all_was_fetched_proves_nothing():
    lasting = listening()

    play(lasting, *beat(lasting), ("fetch", [note("1")]), *GONE, *CONNECTING, ("fetch", LEFT))

    assert lasting.gaps()[-1].lost_at == lasting.at(0)


def test_a_check_of_the_connection_before_proves_nothing_of_the_new_one():
    lasting = listening()
    connecting = ("connect", lambda: lasting.clock.passes(5)() and OPENED)
    play(lasting, *beat(lasting), *GONE, connecting, *CONNECTING[1:], ("fetch", []), ("wait", LEFT))

    play(lasting, *GONE, *CONNECTING, ("fetch", LEFT))

    assert [gap.lost_at for gap in lasting.gaps()] == [lasting.at(0), lasting.at(35)]


def test_traffic_alone_proves_nothing():
    lasting = listening()

    play(lasting, ("fetch", [note()]), ("fetch", []), ("wait", lasting.clock.passes(20)), ("fetch", [note()]),
         *GONE, *CONNECTING, ("fetch", LEFT))  # fmt: skip

    assert lasting.gaps()[-1].lost_at == lasting.at(0)


def test_a_loss_after_the_announcement_is_a_gap_of_its_own():
    lasting = listening()
    lasting.clock.now += 10
    play(lasting, *GONE, *CONNECTING, ("fetch", LEFT))
    lasting.clock.now += 10

    play(lasting, *GONE, *CONNECTING, ("fetch", LEFT))

    assert [(gap.lost_at, gap.restored_at) for gap in lasting.gaps()] == [
        (lasting.at(0), lasting.at(10)),
        (lasting.at(10), lasting.at(20)),
    ]


def test_the_first_listen_has_no_gap_however_many_attempts_it_took():
    lasting = Lasting("jobs")

    play(
        lasting,
        ("connect", Passing),
        ("disconnect", None),
        ("wait", lasting.clock.passes(10)),
        *CONNECTING,
        ("fetch", LEFT),
    )

    assert lasting.gaps() == [None]


def test_the_first_listen_has_no_gap_though_its_first_announcement_has_failed():
    lasting = Lasting("jobs")
    answers = iter([False, True])
    lasting.on_listening = lambda news: next(answers)

    play(
        lasting,
        *CONNECTING,
        ("disconnect", None),
        ("wait", lasting.clock.passes(10)),
        *CONNECTING,
        ("fetch", LEFT),
    )

    assert lasting.gaps() == [None, None]


def test_an_on_listening_that_fails_has_all_begin_anew_with_the_same_gap():
    lasting = listening()
    lasting.clock.now += 7
    answers = iter([False, True])
    lasting.on_listening = lambda news: next(answers)

    play(
        lasting,
        *GONE,
        *CONNECTING,
        ("disconnect", None),  # what has come in is newer than that, and lies in the gap
        ("wait", lasting.clock.passes(10)),
        *CONNECTING,
        ("fetch", LEFT),
    )

    first, second = lasting.gaps()
    assert (first.lost_at, first.restored_at) == (lasting.at(0), lasting.at(7))
    assert (second.lost_at, second.restored_at) == (lasting.at(0), lasting.at(17))
    assert second.reason is first.reason
    assert isinstance(lasting.told(Lost)[-1].error, OnListeningFailed)
    assert lasting.told(Lost)[-1].delay == 10.0


def test_what_was_not_listened_to_before_is_not_in_the_gap():
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

    [news] = lasting.told(ListenInForce)
    assert news.channels == ("jobs", "new")
    assert news.gap.channels == ("jobs",)


def test_what_is_wanted_meanwhile_is_listened_to_behind_the_announcement():
    lasting = listening()
    play(lasting, *GONE, *CONNECTING, until=lambda: lasting.watch.to_announce is not None)
    lasting.want("jobs", "beside")

    play(lasting, ("listenmany", None), ("fetch", LEFT))

    assert [news.channels for news in lasting.told(ListenInForce)] == [("jobs",), ("beside",)]


def test_a_loss_while_nothing_was_listened_to_is_no_gap():
    lasting = Lasting()
    play(lasting, ("connect", OPENED), ("askhealth", health()), ("fetch", LEFT))
    play(lasting, *GONE, ("connect", LEFT))
    lasting.want("jobs")

    play(lasting, *CONNECTING, ("fetch", LEFT))

    assert lasting.gaps()[-1] is None


# The heartbeat.


def test_a_heartbeat_is_due_by_the_clock_from_the_moment_of_the_listen():
    lasting = listening()

    play(lasting, *beat(lasting), ("fetch", []), ("wait", LEFT))

    assert lasting.asked(p.Wait) == [p.Wait(30.0), p.Wait(30.0)]


def test_traffic_does_not_put_the_heartbeat_off():
    lasting = listening(heartbeat=0.05)
    traffic = (("wait", lasting.clock.passes(0.03)), ("fetch", [note()]), ("fetch", []))

    play(lasting, ("fetch", []), *traffic, *traffic, ("askhealth", health("jobs")), ("fetch", LEFT))

    assert waits(lasting) == pytest.approx([0.05, 0.02])


def test_a_check_comes_though_callbacks_take_longer_than_notifications_need_to_arrive():
    lasting = listening()
    lasting.callback = lambda notification: lasting.clock.passes(0.06)()

    play(lasting, *[("fetch", [note()])] * 3, ("fetch", []), ("askhealth", health("jobs")), ("fetch", LEFT))

    assert len(lasting.got) == 3


def test_no_check_comes_on_top_of_a_backlog():
    lasting = listening()
    lasting.callback = lambda notification: lasting.clock.passes(20)()

    play(lasting, *[("fetch", [note()])] * 9, ("fetch", LEFT))

    assert len(lasting.got) == 9


# Soon after an arrival.


ARRIVAL = (("fetch", [note()]), ("fetch", []))


def test_an_arrival_is_followed_by_a_check_within_a_tenth_of_a_second():
    lasting = listening()

    play(lasting, *ARRIVAL, ("wait", lasting.clock.passes(0.101)), ("fetch", []), ("askhealth", health("jobs")),
         ("fetch", []), ("wait", LEFT))  # fmt: skip

    assert waits(lasting) == pytest.approx([0.1, 30.0])
    assert utc(lasting.watch.link.complete_until.wall) == lasting.at(0.101)


def test_arrivals_within_a_tenth_of_a_second_are_followed_by_one_check():
    lasting = listening()
    soon_after = (("wait", lasting.clock.passes(0.04)), *ARRIVAL)

    play(lasting, *ARRIVAL, *soon_after, *soon_after, ("wait", lasting.clock.passes(0.021)), ("fetch", []),
         ("askhealth", health("jobs")), ("fetch", []), ("wait", LEFT))  # fmt: skip

    assert waits(lasting) == pytest.approx([0.1, 0.06, 0.02, 30.0])


def test_what_arrives_with_the_answer_is_followed_by_a_check_of_its_own():
    lasting = listening()
    wait_and_check = (("wait", lasting.clock.passes(0.101)), ("fetch", []), ("askhealth", health("jobs")))

    play(lasting, *ARRIVAL, *wait_and_check, *ARRIVAL, *wait_and_check, ("fetch", []), ("wait", LEFT))

    assert waits(lasting) == pytest.approx([0.1, 0.1, 30.0])


@given(st.lists(st.integers(0, 300).map(lambda milliseconds: milliseconds / 1000), min_size=1, max_size=60))
def test_under_traffic_questions_are_a_tenth_of_a_second_apart_and_as_close_behind_the_last_arrival(pauses):
    lasting = listening()
    began = lasting.clock.now
    arrivals = [began + each for each in accumulate(pauses)]

    asked = moments_of_questions(lasting, [(moment, note()) for moment in arrivals])

    latest = arrivals[-1]
    assert len(lasting.got) == len(arrivals)
    assert all(later - earlier >= 0.0999 for earlier, later in pairwise([began, *asked]))
    assert latest <= asked[-1] <= latest + 0.1001
    assert all(earlier < latest for earlier in asked[:-1])  # exactly one more after the last arrival
    for one, other in pairwise([*arrivals, lasting.clock.now]):  # nothing when idle
        assert sum(one <= each <= other for each in asked) <= 1 + (other - one) // 0.1


def test_a_loss_under_traffic_has_a_gap_of_a_tenth_of_a_second():
    lasting = listening()
    steps = []
    for _ in range(200):
        steps += [*ARRIVAL, ("wait", lasting.clock.passes(0.05)), *ARRIVAL, ("wait", lasting.clock.passes(0.051)),
                  ("fetch", []), ("askhealth", health("jobs")), ("fetch", []),
                  ("wait", lasting.clock.passes(0.01))]  # fmt: skip
    play(lasting, *steps, *ARRIVAL, ("wait", lasting.clock.passes(0.09)), *GONE, *CONNECTING, ("fetch", LEFT))

    [gap] = lasting.gaps()
    assert (gap.restored_at - gap.lost_at).total_seconds() == pytest.approx(0.1)


def test_slow_answers_have_the_checks_be_rarer():
    lasting = listening()

    def answer_slowly():
        lasting.clock.now += 0.05
        return health("jobs")

    wait_and_check = (("wait", lasting.clock.passes(0.101)), ("fetch", []), ("askhealth", answer_slowly))
    play(lasting, *ARRIVAL, *wait_and_check, *ARRIVAL, ("wait", LEFT))

    assert waits(lasting) == pytest.approx([0.1, 0.5])


@pytest.mark.parametrize(
    ("steps", "heartbeat", "waits"),
    [
        (CONNECTING, None, None),  # nothing is ever asked
        ((CONNECTING[0], ("askhealth", lambda: None), CONNECTING[2]), 30.0, 30.0),  # a server that only answers
        ((CONNECTING[0], ("askhealth", health(server_pid=43)), CONNECTING[2]), 30.0, 30.0),  # behind a pooler
    ],
)
def test_arrivals_change_nothing_where_an_answer_proves_little(steps, heartbeat, waits):
    lasting = Lasting("jobs", heartbeat=heartbeat)

    play(lasting, *steps, *ARRIVAL, ("wait", LEFT))

    assert lasting.asked(p.Wait) == [p.Wait(waits)]


def test_arrivals_change_nothing_while_listen_does_not_stick():
    lasting = listening("jobs", "other")
    check = (("wait", lasting.clock.passes(30)), ("fetch", []), ("askhealth", health("jobs")), ("listenmany", None))

    play(lasting, ("fetch", []), *check, *ARRIVAL, ("wait", LEFT))

    assert lasting.asked(p.Wait) == [p.Wait(30.0), p.Wait(30.0)]


def test_without_a_heartbeat_nothing_is_asked():
    lasting = listening(heartbeat=None)

    play(lasting, ("fetch", []), ("wait", lasting.clock.passes(10_000)), ("fetch", []), ("wait", LEFT))

    assert lasting.asked(p.Wait) == [p.Wait(None), p.Wait(None)]


def test_a_server_that_cannot_tell_how_it_stands_is_well_if_it_answers():
    lasting = listening()

    play(lasting, *beat(lasting, lambda: None), ("fetch", []), ("wait", LEFT))

    assert lasting.watch.link.complete_until == lasting.now()


def test_a_heartbeat_that_is_not_answered_is_the_reason():
    lasting = listening()

    play(lasting, *beat(lasting, Unanswered), ("fetch", ConnectionLost), ("disconnect", None), *CONNECTING,
         ("fetch", LEFT))  # fmt: skip

    assert lasting.gaps()[0].reason is Reason.HEARTBEAT_MISSED
    assert lasting.told(Lost)[0].reason is Reason.HEARTBEAT_MISSED


def test_a_server_that_has_become_a_standby_is_left_at_once():
    lasting = listening()

    play(lasting, *beat(lasting, health("jobs", in_recovery=True)), ("fetch", []), ("disconnect", None), *CONNECTING,
         ("fetch", LEFT))  # fmt: skip

    [lost] = lasting.told(Lost)
    assert isinstance(lost.error, NotPrimary)
    assert lost.delay == 0
    assert lasting.gaps()[0].reason is Reason.FAIL_OVER


def test_channels_that_the_server_has_forgotten_are_listened_to_again_and_have_a_gap():
    lasting = listening("jobs", "other", "third")
    play(lasting, *beat(lasting), ("fetch", []), ("wait", LEFT))

    play(lasting, *beat(lasting, health("other")), ("listenmany", lasting.clock.passes(1)), ("fetch", LEFT))

    gap = Gap(Reason.SUBSCRIPTION_LOST, lasting.at(30), lasting.at(61), ("jobs", "third"))
    assert lasting.told(ListenInForce) == [ListenInForce(("jobs", "third"), gap)]
    assert lasting.asked(p.ListenMany) == [p.ListenMany(("jobs", "third"))]
    assert lasting.told(Lost) == []


def test_an_on_listening_that_fails_for_a_forgotten_channel_keeps_its_gap():
    lasting = listening()
    lasting.on_listening = lambda news: False

    failing = (("disconnect", None), ("wait", lasting.clock.passes(10)))
    play(lasting, *beat(lasting, health("none")), ("listenmany", None), ("fetch", []), *failing, *CONNECTING,
         ("disconnect", None), ("wait", LEFT))  # fmt: skip

    assert [gap.lost_at for gap in lasting.gaps()] == [lasting.at(0)] * 2


# Undecodable ones.


def undecodable(lasting, since=0, channels=("jobs",)):
    """The announcement of one that was lost between a moment and now."""
    now = lasting.clock.now - 1000
    return ListenInForce(channels, Gap(Reason.UNDECODABLE, lasting.at(since), lasting.at(now), channels, 1))


def test_one_that_cannot_be_decoded_is_announced_in_its_place():
    lasting = listening()

    got = play(
        lasting,
        ("fetch", [note("1"), note("2")]),
        ("fetch", UndecodablePayload("é", undecodable=b"secret")),
        ("fetch", UndecodablePayload("é")),
        ("fetch", [note("3")]),
        ("fetch", LEFT),
    )

    gap = undecodable(lasting)
    assert got == [note("1"), note("2"), gap, gap, note("3")]
    assert [news.size for news in lasting.told(Undecodable)] == [6, 0]


def test_a_payload_error_that_says_nothing_more_is_one_too():
    lasting = listening("jobs", "more")

    got = play(lasting, ("fetch", PayloadError("é")), ("fetch", LEFT))

    assert got == [undecodable(lasting, channels=("jobs", "more"))]


def test_only_its_channel_is_in_the_gap_if_that_is_known():
    lasting = listening("jobs", "more")

    got = play(lasting, ("fetch", UndecodablePayload("é", channel="more")), ("fetch", LEFT))

    assert got == [undecodable(lasting, channels=("more",))]


def test_its_gap_begins_where_everything_was_known_to_be_in_order():
    lasting = listening()

    got = play(
        lasting,
        *beat(lasting),
        ("fetch", []),
        ("wait", lasting.clock.passes(5)),
        ("fetch", PayloadError("é")),
        ("fetch", LEFT),
    )

    assert got == [undecodable(lasting, since=30)]


def test_heartbeats_go_on_while_nothing_can_be_decoded():
    lasting = listening()
    lasting.clock.now += 30

    play(lasting, ("fetch", PayloadError("é")), ("fetch", []), ("askhealth", health("jobs")), ("fetch", LEFT))


def test_a_deadline_ends_a_run_in_which_nothing_can_be_decoded():
    lasting = listening()

    play(lasting, *(("fetch", PayloadError("é")),) * BATCHES_AFTER_THE_DEADLINE, deadline=lasting.clock.now)

    assert lasting.result is False
    assert len(lasting.watch.dropped_gaps) == 1
    assert play(lasting, ("fetch", LEFT)) == [undecodable(lasting)]


def test_what_comes_after_one_is_fetched_from_a_connection_that_has_ended():
    lasting = listening()

    got = play(
        lasting,
        ("fetch", ConnectionLost),
        ("fetch", [note("1")]),
        ("fetch", PayloadError("é")),
        ("fetch", [note("2")]),
        ("fetch", ConnectionLost),
        ("disconnect", None),
        *CONNECTING,
        ("fetch", LEFT),
    )

    lost = Gap(Reason.CONNECTION_LOST, lasting.at(0), lasting.at(0), ("jobs",))
    assert got == [note("1"), note("2"), ListenInForce(("jobs",), lost), undecodable(lasting)]


def test_one_whose_announcement_fails_is_announced_again():
    lasting = listening()
    answers = iter([False, True, True])
    lasting.on_listening = lambda news: next(answers)

    got = play(
        lasting,
        ("fetch", PayloadError("é")),
        ("fetch", ConnectionLost),
        ("disconnect", None),
        ("wait", lasting.clock.passes(10)),
        *CONNECTING,
        ("fetch", LEFT),
    )

    assert [each.gap.reason for each in got] == [Reason.UNDECODABLE, Reason.CONNECTION_LOST, Reason.UNDECODABLE]


# LISTEN that does not stick.


def forgetful(lasting, *channels):
    """The steps of a heartbeat that finds these channels listened to only, out of several."""
    steps = [("wait", lasting.clock.passes(30)), ("fetch", []), ("askhealth", health(*channels))]
    missing = set(lasting.watch.in_force) - set(channels)
    return [*steps, *([("listenmany", None)] if missing else []), ("fetch", [])]


def test_a_listen_that_does_not_stick_counts_as_deaf_from_the_second_check():
    lasting = listening("jobs", "other")
    play(lasting, ("fetch", []), *forgetful(lasting, "jobs"), ("wait", LEFT))
    assert lasting.watch.delivering
    assert lasting.told(ListenIgnored) == []

    play(lasting, ("fetch", []), *forgetful(lasting, "jobs"), ("wait", LEFT))

    assert not lasting.watch.delivering
    assert lasting.told(ListenIgnored) == [ListenIgnored(("other",))]
    assert [gap.reason for gap in lasting.gaps()] == [Reason.SUBSCRIPTION_LOST] * 2


def deaf():
    lasting = listening("jobs", "other")
    play(lasting, ("fetch", []), *forgetful(lasting, "jobs"), *forgetful(lasting, "jobs"), ("wait", LEFT))
    assert not lasting.watch.delivering
    lasting.news.clear()
    return lasting


def test_while_it_is_deaf_each_gap_begins_with_the_check_that_first_found_it():
    lasting = deaf()

    play(lasting, ("fetch", []), *forgetful(lasting, "jobs"), ("wait", LEFT))

    [gap] = lasting.gaps()
    assert (gap.lost_at, gap.restored_at) == (lasting.at(30), lasting.at(90))
    assert lasting.told(ListenIgnored) == []


def test_a_check_that_finds_it_in_force_ends_that():
    lasting = deaf()

    play(lasting, ("fetch", []), *forgetful(lasting, "jobs", "other"), ("wait", LEFT))

    assert lasting.watch.delivering
    assert lasting.told(ListenIgnored) == [ListenIgnored(())]
    assert lasting.watch.link.complete_until == lasting.now()


@pytest.mark.parametrize(
    ("channel", "by_itself", "delivering"),
    [("other", True, True), ("jobs", True, False), ("other", False, False)],
)
def test_a_notification_of_that_channel_ends_it_if_it_arrives_by_itself(channel, by_itself, delivering):
    lasting = deaf()
    # The one that comes with an answer may have been sent before the server forgot the channel.
    first = [*forgetful(lasting, "jobs")[:-1]] if not by_itself else [("fetch", []), ("wait", None)]

    play(lasting, *([("fetch", [])] if not by_itself else []), *first, ("fetch", [note("1", channel)]), ("fetch", LEFT))

    assert lasting.watch.delivering is delivering


def test_two_checks_in_a_row_are_needed_again_after_that():
    lasting = deaf()
    play(lasting, ("fetch", []), ("wait", None), ("fetch", [note("1", "other")]), ("fetch", []), ("wait", LEFT))

    play(lasting, ("fetch", []), *forgetful(lasting, "jobs"), ("wait", LEFT))

    assert lasting.watch.delivering


def test_a_channel_that_is_no_longer_wanted_makes_nobody_deaf():
    lasting = deaf()
    lasting.want("jobs")

    play(lasting, ("unlistenmany", None), ("fetch", LEFT))

    assert lasting.watch.delivering


def test_two_checks_in_a_row_are_needed_for_a_channel_that_is_wanted_again():
    lasting = listening("jobs", "other")
    play(lasting, ("fetch", []), *forgetful(lasting, "jobs"), ("wait", LEFT))
    lasting.want("jobs")
    play(lasting, ("unlistenmany", None), ("fetch", []), ("wait", LEFT))
    lasting.want("jobs", "other")
    play(lasting, ("listenmany", None), ("fetch", []), ("wait", LEFT))

    play(lasting, ("fetch", []), *forgetful(lasting, "jobs"), ("wait", LEFT))

    assert lasting.watch.delivering


def test_another_server_process_need_not_know_of_a_listen():
    lasting = listening("jobs", "other")
    other = (("wait", lasting.clock.passes(30)), ("fetch", []), ("askhealth", health("jobs", server_pid=43)))

    play(
        lasting, ("fetch", []), *forgetful(lasting, "jobs"), *other, ("listenmany", None), ("fetch", []), ("wait", LEFT)
    )

    assert lasting.told(ListenIgnored) == []


def test_a_new_connection_is_not_deaf():
    lasting = deaf()

    play(lasting, *GONE, *CONNECTING, ("fetch", LEFT))

    assert lasting.watch.delivering


def behind_a_pooler():
    """A listener that another process answers than the one that the driver knows, which does not prove delivery."""
    lasting = Lasting("jobs", "other")
    connecting = (("connect", OPENED), ("askhealth", health(server_pid=43)), ("listenmany", None))
    play(lasting, *connecting, ("fetch", []), ("wait", LEFT))
    assert not lasting.watch.delivering
    return lasting


def test_behind_a_pooler_a_notification_that_arrives_by_itself_proves_delivery():
    lasting = behind_a_pooler()

    play(lasting, ("fetch", []), ("wait", None), ("fetch", [note()]), ("fetch", LEFT))

    assert lasting.watch.delivering


def test_one_that_comes_with_the_answer_to_a_check_proves_nothing():
    lasting = behind_a_pooler()

    play(lasting, *beat(lasting, health("jobs", "other", server_pid=43)), ("fetch", [note()]), ("fetch", LEFT))

    assert not lasting.watch.delivering


def test_one_that_comes_with_the_answer_to_an_unlisten_proves_nothing():
    lasting = behind_a_pooler()
    play(lasting, ("fetch", []), ("wait", LEFT))
    lasting.want("jobs")

    play(lasting, ("unlistenmany", None), ("fetch", [note()]), ("fetch", LEFT))

    assert not lasting.watch.delivering


def test_one_that_comes_while_callbacks_use_the_connection_proves_nothing():
    lasting = behind_a_pooler()
    lasting.watch.queue.append(note("1"))  # left by a callback that raised

    play(lasting, ("fetch", [note("2")]), ("fetch", LEFT))

    assert not lasting.watch.delivering


def test_threads_that_wait_for_a_change_learn_of_it_with_the_check():
    lasting, delivering = listening(), []
    tell = lasting.tell
    lasting.tell = lambda news: (isinstance(news, Checked) and delivering.append(lasting.watch.delivering), tell(news))[
        1
    ]

    play(lasting, *beat(lasting, health("jobs", server_pid=43)), ("fetch", LEFT))

    assert delivering == [False]


@pytest.mark.parametrize("server_pid", [43, 44])
def test_behind_a_pooler_a_notification_proves_delivery_by_the_process_that_it_came_from_alone(server_pid):
    lasting = behind_a_pooler()
    play(lasting, ("fetch", []), ("wait", None), ("fetch", [note()]), ("fetch", []), ("wait", LEFT))
    assert lasting.watch.delivering

    play(lasting, *beat(lasting, health("jobs", "other", server_pid=server_pid)), ("fetch", LEFT))

    assert lasting.watch.delivering is (server_pid == 43)


# Gaps of our own queues.


def test_an_overflow_is_announced_at_once():
    lasting = listening()
    gap, dropped = overflow(lasting), []

    def something_overflows():
        dropped.append(drop(lasting, gap))

    got = play(lasting, ("fetch", []), ("wait", something_overflows), ("fetch", LEFT))

    assert got == [ListenInForce(("jobs",), gap)]
    assert dropped[0].is_told


def test_an_overflow_is_announced_once():
    lasting = listening()
    drop(lasting, overflow(lasting))

    play(lasting, *GONE, *CONNECTING, ("fetch", LEFT))

    assert [gap.reason for gap in lasting.gaps()] == [Reason.QUEUE_OVERFLOW, Reason.CONNECTION_LOST]


def test_an_overflow_while_lost_comes_with_the_next_listen_and_behind_its_gap():
    lasting = listening()
    gap = overflow(lasting)
    play(lasting, *GONE, ("connect", Passing), ("disconnect", None), ("wait", LEFT))

    drop(lasting, gap)
    play(lasting, ("wait", lasting.clock.passes(10)), *CONNECTING, ("fetch", LEFT))

    assert [each.reason for each in lasting.gaps()] == [Reason.CONNECTION_LOST, Reason.QUEUE_OVERFLOW]


def test_an_overflow_is_announced_behind_a_listen_that_was_not_yet():
    lasting = listening()
    gap = overflow(lasting)
    play(lasting, *GONE, *CONNECTING, until=lambda: lasting.watch.to_announce is not None)

    drop(lasting, gap)
    play(lasting, ("fetch", LEFT))

    assert [each.reason for each in lasting.gaps()] == [Reason.CONNECTION_LOST, Reason.QUEUE_OVERFLOW]


@pytest.mark.parametrize("failures", [1, 2])
def test_an_overflow_whose_announcement_fails_is_announced_again(failures):
    lasting = listening()
    gap = overflow(lasting)
    lasting.on_listening = lambda news: (
        news.gap.reason is not Reason.QUEUE_OVERFLOW or lasting.gaps().count(gap) > failures
    )
    drop(lasting, gap)

    steps = []
    for attempt in range(1, failures + 1):
        steps += [("fetch", []), ("disconnect", None), ("wait", lasting.clock.passes(10 * attempt)), *CONNECTING]
    play(lasting, *steps, ("fetch", LEFT))

    assert lasting.gaps().count(gap) == failures + 1
    assert lasting.got[-1] == ListenInForce(("jobs",), gap)


def test_an_overflow_whose_announcement_has_failed_can_be_told_by_the_end_of_the_listener():
    lasting = listening()
    dropped, later = drop(lasting, overflow(lasting)), drop(lasting, overflow(lasting))
    lasting.on_listening = lambda news: False

    play(lasting, ("fetch", []), ("disconnect", None), ("wait", LEFT))

    assert [each.begun for each in (dropped, later)] == [False, False]


def test_what_came_before_a_loss_counts_from_before_it():
    lasting = listening()
    lasting.clock.now += 10
    moments = []
    lasting.callback = lambda notification: moments.append(lasting.watch.queue_complete_until.wall)

    play(lasting, ("fetch", ConnectionLost), ("fetch", [note()]), ("fetch", ConnectionLost), ("disconnect", None),
         *CONNECTING, ("fetch", LEFT))  # fmt: skip

    assert [utc(moment) for moment in moments] == [lasting.at(0)]
    assert utc(lasting.watch.link.complete_until.wall) == lasting.at(10)


def test_an_on_listening_that_fails_on_the_only_connection_is_not_called_for_the_same_again():
    lasting = Lasting("jobs", can_reconnect=False)
    lasting.on_listening = lambda news: False

    got = play(lasting, *CONNECTING, ("fetch", [note("1")]), ("fetch", LEFT))

    assert got == [ListenInForce(("jobs",), None), note("1")]
    assert lasting.asked(p.Disconnect) == []


def test_an_overflow_whose_on_listening_fails_on_the_only_connection_is_not_announced_again():
    lasting = listening(can_reconnect=False)
    drop(lasting, overflow(lasting))
    lasting.on_listening = lambda news: False

    got = play(lasting, ("fetch", [note("1")]), ("fetch", LEFT))

    assert [news.gap.reason for news in got[:1]] == [Reason.QUEUE_OVERFLOW]
    assert got[1:] == [note("1")]
    assert not lasting.watch.dropped_gaps


def test_an_on_listening_that_fails_for_a_channel_on_the_only_connection_is_still_called_for_an_overflow():
    lasting = listening(can_reconnect=False)
    gap = overflow(lasting)
    dropped = drop(lasting, gap)
    lasting.want("jobs", "new")
    lasting.on_listening = lambda news: news.gap is not None

    got = play(lasting, ("listenmany", None), ("fetch", LEFT))

    assert got == [ListenInForce(("new",), None), ListenInForce(("jobs",), gap)]
    assert dropped.is_told


@pytest.mark.parametrize("can_reconnect", [False, True])
def test_an_on_listening_that_fails_for_a_channel_is_a_failure_of_its_own(can_reconnect):
    lasting = listening(can_reconnect=can_reconnect)
    lasting.want("jobs", "new")
    lasting.on_listening = lambda news: False

    left = [("fetch", LEFT)] if not can_reconnect else [("fetch", []), ("disconnect", None), ("wait", LEFT)]
    got = play(lasting, ("listenmany", None), *left)

    assert got == [ListenInForce(("new",), None)]
    assert list(lasting.watch.in_force) == ([] if can_reconnect else ["jobs", "new"])


def test_only_the_overflow_whose_on_listening_fails_on_the_only_connection_counts_as_told():
    lasting = listening(can_reconnect=False)
    dropped, later = drop(lasting, overflow(lasting)), drop(lasting, overflow(lasting))
    lasting.on_listening = lambda news: later.is_told or dropped.is_told

    got = play(lasting, ("fetch", LEFT))

    assert [news.gap for news in got] == [dropped.gap, later.gap]
    assert (dropped.is_told, later.is_told) == (True, True)
