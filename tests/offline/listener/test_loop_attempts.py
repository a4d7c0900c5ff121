"""The listener's loop by example: how long it waits before it tries again."""

from __future__ import annotations

import pytest

from pgnotify.errors import ConnectionLost
from pgnotify.listener.events import Connecting, Failed, Lost
from pgnotify.listener.failure import FUTILE_ALLOWED, SHORT_SECONDS
from pgnotify.program import actions as p
from pgnotify.program.state import State
from tests.helpers.notifications import note
from tests.helpers.play import LEFT
from tests.helpers.play_listener import CONNECTING, Passing, play
from tests.offline.listener.test_loop import GONE, listening

FAILING = (("connect", Passing), ("disconnect", None))


def failing(lasting, *attempts):
    """The steps of attempts that fail, each with the pause that follows."""
    return tuple(
        step for attempt in attempts for step in (*FAILING, ("wait", lasting.clock.passes(lasting.delay(attempt))))
    )


def test_after_a_loss_the_first_attempt_is_made_at_once():
    lasting = listening()

    play(lasting, *GONE, ("connect", LEFT))

    assert [lost.delay for lost in lasting.told(Lost)] == [0.0]
    assert lasting.asked(p.Wait) == []


def test_then_the_pauses_follow_the_attempts():
    lasting = listening()

    play(lasting, *GONE, *failing(lasting, 1, 2, 3), ("connect", LEFT))

    assert lasting.asked(p.Wait) == [p.Wait(10.0), p.Wait(20.0), p.Wait(30.0)]
    assert [(failed.attempt, failed.delay) for failed in lasting.told(Failed)] == [(1, 10.0), (2, 20.0), (3, 30.0)]
    assert len(lasting.told(Connecting)) == 4


def test_a_pause_that_is_interrupted_goes_on_for_the_rest():
    lasting = listening()

    play(lasting, *GONE, *FAILING, ("wait", lasting.clock.passes(4)), ("wait", LEFT))

    assert lasting.asked(p.Wait) == [p.Wait(10.0), p.Wait(6.0)]


def test_what_is_queued_is_delivered_before_a_pause():
    lasting = listening()

    got = play(
        lasting,
        ("fetch", ConnectionLost),
        ("fetch", [note("1")]),
        ("fetch", ConnectionLost),
        ("disconnect", None),
        *FAILING,
        ("wait", LEFT),
    )

    assert got == [note("1")]


@pytest.mark.parametrize(("seconds", "pause"), [(59.0, 30.0), (60.0, 10.0)])
def test_failures_are_forgotten_only_after_a_connection_that_has_lasted(seconds, pause):
    lasting = listening(heartbeat=None)
    play(lasting, *GONE, *failing(lasting, 1, 2), *CONNECTING, ("fetch", LEFT))
    lasting.clock.now += seconds

    play(lasting, *GONE, *FAILING, ("wait", LEFT))

    assert lasting.asked(p.Wait)[-1] == p.Wait(pause)


def lost_at_once(lasting, times, lasted=0.0, brought=()):
    """Have so many connections end in a row; return the delays."""
    lasting.news.clear()
    fetched = (("fetch", list(brought)),) if brought else ()
    for _ in range(times):
        lasting.clock.now += lasted
        play(lasting, *fetched, *GONE, until=lambda: lasting.watch.state is State.LOST)
        lasting.clock.now = max(lasting.clock.now, lasting.watch.retry_at)
        play(lasting, *CONNECTING, ("fetch", LEFT))
    return [lost.delay for lost in lasting.told(Lost)]


def test_so_many_vain_connections_are_forgiven():
    assert lost_at_once(listening(), FUTILE_ALLOWED) == [0.0] * FUTILE_ALLOWED


def test_a_server_that_does_nothing_but_hang_up_is_left_alone_for_a_while():
    lasting = listening()
    lost_at_once(lasting, FUTILE_ALLOWED)

    play(lasting, *GONE, ("wait", LEFT))

    assert lasting.told(Lost)[-1].delay == 10.0
    assert lasting.asked(p.Wait) == [p.Wait(10.0)]


@pytest.mark.parametrize("well", [{"lasted": SHORT_SECONDS}, {"brought": [note()]}], ids=["lasted", "brought"])
def test_connections_that_were_not_in_vain_are_always_forgiven(well):
    assert lost_at_once(listening(), FUTILE_ALLOWED + 5, **well) == [0.0] * (FUTILE_ALLOWED + 5)


def test_a_connection_that_has_brought_something_sets_the_vain_ones_back():
    lasting = listening()
    lost_at_once(lasting, FUTILE_ALLOWED)
    lost_at_once(lasting, 1, brought=[note()])

    assert lost_at_once(lasting, FUTILE_ALLOWED) == [0.0] * FUTILE_ALLOWED
