"""Thousands of channels in the listener's loop: one part after the other, each with an answer of its own."""

from __future__ import annotations

import math

import pytest

from pgnotify.errors import ConnectionLost, Unanswered
from pgnotify.listener.events import Failed, ListenInForce, Refused
from pgnotify.listener.loop import listener_loop
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.program.state import State
from tests.helpers.play import LEFT
from tests.helpers.play_listener import CONNECTING, OPENED, Lasting, Permanent, health, play

ONE = Notification("a", "1", 7)
FIVE = ("a", "b", "c", "d", "e")


@pytest.fixture(autouse=True)
def parts_of_two(monkeypatch):
    for module in ("protocol", "listener.loop", "listener.channels"):
        monkeypatch.setattr(f"pgnotify.{module}.MOST_CHANNELS", 2)


def listening(*channels, **options):
    lasting = Lasting(*channels, **options)
    further = (("listenmany", None),) * (math.ceil(len(channels) / 2) - 1)
    play(lasting, *CONNECTING, *further, ("fetch", LEFT))
    del lasting.actions[:], lasting.news[:]
    return lasting


def listened(lasting):
    return [action.channels for action in lasting.asked(p.ListenMany)]


# On a new connection.


def test_a_new_connection_listens_part_by_part_and_the_user_is_told_once_of_all():
    lasting = Lasting(*FIVE)

    got = play(lasting, *CONNECTING, ("listenmany", None), ("listenmany", None), ("fetch", [ONE]), ("fetch", LEFT))

    assert listened(lasting) == [("a", "b"), ("c", "d"), ("e",)]
    assert got == [ListenInForce(FIVE, None), ONE]


def test_a_backend_that_listens_to_one_channel_at_a_time_is_asked_for_the_others_of_a_part():
    lasting = Lasting("a", "b", "c")
    first = ("connect", OPENED), ("askhealth", health())

    got = play(lasting, *first, ("listenmany", ("b",)), ("listenmany", ()), ("listenmany", ()), ("fetch", LEFT))

    assert listened(lasting) == [("a", "b"), ("b",), ("c",)]
    assert got == [ListenInForce(("a", "b", "c"), None)]


@pytest.mark.parametrize("left", [(), ("d",)])
def test_a_stop_between_two_answers_ends_it_and_what_is_in_force_is_known(left):
    lasting = Lasting(*FIVE)

    def stop():
        lasting.watch.request_stop()
        return left

    got = play(lasting, *CONNECTING, ("listenmany", stop))

    assert lasting.result is True
    assert got == []
    assert list(lasting.watch.in_force) == ["a", "b", "c", "d"][: 4 - len(left)]


def test_a_run_whose_deadline_passes_between_two_parts_goes_on_with_the_next_one():
    lasting = Lasting(*FIVE)
    deadline = lasting.clock.now + 1

    first = play(lasting, *CONNECTING, ("listenmany", lasting.clock.passes(1)), deadline=deadline)
    assert (first, lasting.result) == ([], False)
    then = play(lasting, ("listenmany", None), ("fetch", LEFT))

    assert listened(lasting) == [("a", "b"), ("c", "d"), ("e",)]
    assert then == [ListenInForce(FIVE, None)]


def test_a_part_that_is_not_answered_is_a_failed_attempt_and_the_next_one_begins_with_the_first_part():
    lasting = Lasting(*FIVE)

    play(lasting, *CONNECTING, ("listenmany", Unanswered("silence")), ("disconnect", None), ("wait", LEFT))
    assert [failed.attempt for failed in lasting.told(Failed)] == [1]
    lasting.clock.now += 10
    got = play(lasting, *CONNECTING, ("listenmany", None), ("listenmany", None), ("fetch", LEFT))

    assert listened(lasting)[-3:] == [("a", "b"), ("c", "d"), ("e",)]
    assert got == [ListenInForce(FIVE, None)]


def test_the_gap_lasts_until_the_last_part_is_in_force():
    lasting = listening(*FIVE)
    steps = ("fetch", ConnectionLost), ("fetch", ConnectionLost), ("disconnect", None), *CONNECTING

    slow = ("listenmany", lasting.clock.passes(3))
    ((channels, gap, _),) = play(lasting, *steps, slow, slow, ("fetch", LEFT))

    assert channels == gap.channels == FIVE
    assert gap.restored_at == lasting.at(6)


def test_changes_during_the_parts_of_a_new_connection_are_not_lost_and_do_not_keep_it_from_listening():
    lasting = Lasting(*FIVE)

    got = play(
        lasting,
        *CONNECTING[:2],
        ("listenmany", lambda: lasting.want("b", "c", "d", "e", "f")),  # a, which is listened to, is cancelled
        ("listenmany", lambda: lasting.want("b", "c", "d", "f", "g")),  # and e, which is not
        ("listenmany", None),  # f instead of e
        ("unlistenmany", None),
        ("listenmany", None),
        ("fetch", LEFT),
    )

    assert listened(lasting) == [("a", "b"), ("c", "d"), ("f",), ("g",)]
    assert lasting.asked(p.UnlistenMany) == [p.UnlistenMany(("a",))]
    assert got == [ListenInForce(("a", "b", "c", "d", "f"), None), ListenInForce(("g",), None)]
    assert list(lasting.watch.in_force) == ["b", "c", "d", "f", "g"]


# While LISTEN is in force.


def test_between_two_parts_notifications_are_looked_for_and_delivered():
    lasting = listening("a")
    lasting.want(*FIVE)

    got = play(lasting, ("listenmany", None), ("fetch", [ONE]), ("listenmany", None), ("fetch", []), ("wait", LEFT))

    assert listened(lasting) == [("b", "c"), ("d", "e")]
    assert got == [ListenInForce(("b", "c"), None), ListenInForce(("d", "e"), None), ONE]


def test_however_many_changes_come_notifications_are_looked_for_and_the_server_is_asked():
    lasting = listening("a")
    lasting.want("a", "0")
    program, action = listener_loop(lasting.watch, lasting), None
    asked, outcome = [], None

    for number in range(1, 200):  # during each statement, and each time something is looked for, something changes
        action = program.send(outcome)
        asked.append(type(action))
        lasting.clock.now += 1
        lasting.want("a", str(number))
        match action:
            case p.AskHealth():
                outcome = health(*lasting.watch.in_force)
            case p.Tell(news):
                outcome = lasting.tell(news)
            case _:
                outcome = ()
    program.close()

    assert asked.count(p.Fetch) >= asked.count(p.ListenMany) - 1 >= 20
    assert asked.count(p.AskHealth) >= 4


def test_cancelled_channels_are_unlistened_in_parts():
    lasting = listening(*FIVE)
    lasting.want("e")

    play(lasting, ("unlistenmany", ("b",)), ("unlistenmany", ()), ("fetch", []), ("unlistenmany", ()), ("fetch", LEFT))

    assert [action.channels for action in lasting.asked(p.UnlistenMany)] == [("a", "b"), ("b",), ("c", "d")]
    assert list(lasting.watch.in_force) == ["e"]


def test_a_run_that_only_looks_still_applies_all_changes():
    lasting = listening("a")
    lasting.want(*FIVE)
    look = ("fetch", [])

    got = play(lasting, ("listenmany", None), look, ("listenmany", None), look, deadline=lasting.clock.now)

    assert lasting.result is False
    assert [news.channels for news in got] == [("b", "c"), ("d", "e")]


def test_forgotten_channels_are_listened_to_again_in_parts_and_are_one_gap():
    lasting = listening(*FIVE, heartbeat=30.0)
    lasting.clock.now += 30

    (told,) = play(
        lasting,
        ("fetch", []),
        ("askhealth", health("e")),
        ("listenmany", None),
        ("listenmany", None),
        ("fetch", LEFT),
    )

    assert listened(lasting) == [("a", "b"), ("c", "d")]
    assert told.gap.channels == ("a", "b", "c", "d")


def test_of_a_part_with_a_refused_channel_the_halves_are_tried(monkeypatch):
    monkeypatch.setattr("pgnotify.listener.channels.MOST_CHANNELS", 64)
    lasting = listening("a")
    names = tuple(f"{number:02}" for number in range(64))
    lasting.want("a", *names)
    refusal = Permanent("bad")
    program, outcome = listener_loop(lasting.watch, lasting), None

    while not isinstance(action := program.send(outcome), p.Fetch):
        outcome = lasting.tell(action.event) if isinstance(action, p.Tell) else ()
        while isinstance(action, p.ListenMany) and "37" in action.channels:
            lasting.actions.append(action)
            action = program.throw(refusal)
            outcome = lasting.tell(action.event) if isinstance(action, p.Tell) else ()
    program.close()

    assert lasting.told(Refused) == [Refused("37", refusal)]
    assert len(lasting.actions) == 7  # 64, 32, 16, 8, 4, 2 and 1 channels
    assert lasting.watch.in_force.keys() == {"a", *names} - {"37"}
    assert lasting.watch.state is State.LISTENING
