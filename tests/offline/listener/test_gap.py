"""Periods by a clock that is set: what is inside, whichever setting a sender has read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgnotify.errors import ConnectionLost
from pgnotify.listener import clocks
from pgnotify.listener.gap import Moment, Period, Reason, utc
from pgnotify.program import actions as p
from tests.helpers.play import LEFT
from tests.helpers.play_listener import CONNECTING, EPOCH, OPENED, Passing, health, play
from tests.offline.listener.test_loop import listening

# Halves, so that no sum is rounded.
steps = st.integers(-20_000, 20_000).map(lambda halves: halves / 2)
seconds = st.integers(0, 2_000).map(lambda halves: halves / 2)


def gap_of(*moments):
    period = Period(moments[0])
    for moment in moments[1:]:
        period.extend(moment)
    return period.gap(Reason.CONNECTION_LOST, ("jobs",))


@pytest.mark.parametrize(
    ("set_by", "lost_at", "restored_at"),
    [
        (0, 1000, 1010),
        (-3600, 1000 - 3600, 1010),  # by the new setting it began an hour earlier, by the old one it ends now
        (3600, 1000, 1010 + 3600),
    ],
)
def test_a_period_is_as_long_as_both_settings_of_the_clock_make_it(set_by, lost_at, restored_at):
    gap = gap_of(Moment(1000, 50), Moment(1010 + set_by, 60))

    assert (gap.lost_at, gap.restored_at) == (utc(lost_at), utc(restored_at))


def test_a_setting_that_is_undone_before_the_end_counts_too():
    gap = gap_of(Moment(1000, 50), Moment(1005 - 3600, 55), Moment(1010, 60))

    assert (gap.lost_at, gap.restored_at) == (utc(1000 - 3600), utc(1010))


def test_a_clock_that_stood_still_while_the_machine_was_suspended_makes_it_no_shorter():
    gap = gap_of(Moment(1000, 50), Moment(5000, 51))

    assert (gap.lost_at, gap.restored_at) == (utc(1000), utc(5000))


@settings(deadline=None)  # on a busy machine
@given(st.lists(st.tuples(seconds, steps), max_size=8), st.tuples(seconds, steps))
def test_whatever_the_clocks_show_every_reading_is_inside(course, suspended):
    moments = [Moment(EPOCH, 1000.0)]
    for elapsed, step in course:
        moments.append(Moment(moments[-1].wall + elapsed + step, moments[-1].elapsed + elapsed))
    moments.append(Moment(moments[-1].wall + suspended[1], moments[-1].elapsed))

    gap = gap_of(*moments)

    assert all(gap.lost_at <= utc(moment.wall) <= gap.restored_at for moment in moments)
    for setting in {moment.wall - moment.elapsed for moment in moments}:
        assert gap.lost_at <= utc(moments[0].elapsed + setting)
        assert utc(moments[-1].elapsed + setting) <= gap.restored_at


@settings(deadline=None)  # on a busy machine
@given(st.lists(st.tuples(seconds, steps), min_size=5, max_size=5))
def test_the_gap_of_a_loss_has_the_true_period_by_each_setting_that_was_read(course):
    lasting = listening()
    settings = []

    def passing(outcome=None):
        elapsed, step = course.pop()

        def pass_and_set():
            lasting.clock.now += elapsed
            lasting.set_clock(step)
            settings.append(lasting.set_by)
            return outcome

        return pass_and_set

    beat = (("wait", lasting.clock.passes(30)), ("fetch", []), ("askhealth", health("jobs")), ("fetch", []))
    play(lasting, ("fetch", []), *beat, ("wait", LEFT))
    began = lasting.clock.now
    settings.append(lasting.set_by)

    play(lasting, ("fetch", ConnectionLost), ("fetch", ConnectionLost), ("disconnect", passing()),
         ("connect", passing(OPENED)), ("askhealth", Passing), ("disconnect", passing()),
         ("wait", lasting.clock.passes(10)), ("connect", passing(OPENED)), ("askhealth", health()),
         ("listenmany", passing()), ("fetch", LEFT))  # fmt: skip

    settings.pop(-4)  # came and went between two readings
    settings.pop(-2)
    [gap] = lasting.gaps()
    assert gap.lost_at <= gap.restored_at
    for setting in settings:
        assert gap.lost_at <= utc(EPOCH + setting + began)
        assert utc(EPOCH + setting + lasting.clock.now) <= gap.restored_at


def test_an_hour_back_between_a_heartbeat_and_a_loss():
    lasting = listening()
    lasting.clock.now += 10
    lasting.set_clock(-3600)

    play(lasting, ("fetch", ConnectionLost), ("fetch", ConnectionLost), ("disconnect", None), *CONNECTING,
         ("fetch", LEFT))  # fmt: skip

    [gap] = lasting.gaps()
    assert (gap.lost_at, gap.restored_at) == (lasting.at(-3600), lasting.at(10))


def test_subscriptions_that_are_lost_have_the_clock_read_too():
    lasting = listening()
    lasting.set_clock(-3600)

    play(lasting, ("fetch", []), ("wait", lasting.clock.passes(30)), ("fetch", []), ("askhealth", health("none")),
         ("listenmany", lasting.clock.passes(1)), ("fetch", LEFT))  # fmt: skip

    [gap] = lasting.gaps()
    assert (gap.lost_at, gap.restored_at) == (lasting.at(-3600), lasting.at(31))
    assert lasting.asked(p.ListenMany) == [p.ListenMany(("jobs",))]


def test_the_clocks_are_read_together():
    one, other = clocks.now(), clocks.now()

    assert other.elapsed >= one.elapsed
    assert gap_of(one, other).lost_at <= gap_of(one, other).restored_at
