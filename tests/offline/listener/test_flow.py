"""The flow: when a question is put off because of what is arriving, and for how long."""

from __future__ import annotations

import pytest

from pgnotify.errors import ConnectionLost
from pgnotify.listener.flow import CALM_BYTES, HALF_LIFE_SECONDS, LONGEST_DELAY_SECONDS, PROMPT_SECONDS, Flow
from tests.helpers.notifications import note
from tests.helpers.play import LEFT
from tests.helpers.play_listener import moments_of_questions, play
from tests.offline.listener.test_loop import listening

BIG = note("x" * 4000)


def test_nothing_is_calm():
    assert Flow().seconds_to_calm(1000.0) == 0


def test_a_few_short_ones_are_calm():
    flow = Flow()
    flow.arrived(100, note("1"), 1000.0)

    assert flow.seconds_to_calm(1000.0) == 0


def test_a_burst_is_calm_after_two_half_lives_at_most():
    flow = Flow()
    flow.arrived(500, BIG, 1000.0)

    assert flow.seconds_to_calm(1000.0) == pytest.approx(2 * HALF_LIFE_SECONDS, abs=0.002)
    assert flow.seconds_to_calm(1000.0 + HALF_LIFE_SECONDS) == pytest.approx(HALF_LIFE_SECONDS, abs=0.002)
    assert flow.seconds_to_calm(1000.0 + 2 * HALF_LIFE_SECONDS) == 0


@pytest.mark.parametrize(
    ("bytes_per_second", "each_seconds", "calm"),
    [(1e6, 0.01, False), (1e6, 0.1, False), (200e3, 0.02, False), (50e3, 0.02, True)],
)
def test_a_steady_flow_is_not_calm_at_any_moment(bytes_per_second, each_seconds, calm):
    flow, now = Flow(), 1000.0
    big = note("x" * (int(bytes_per_second * each_seconds) - 25))

    seen = []
    for _ in range(100):
        flow.arrived(1, big, now)
        now += each_seconds
        seen.append(flow.seconds_to_calm(now) == 0)

    assert set(seen[20:]) == {calm}


def test_a_prompt_answer_shows_that_the_link_carries_as_much_and_a_slow_one_that_it_does_not():
    flow = Flow()
    flow.arrived(1, note("x" * int(CALM_BYTES)), 1000.0)
    assert flow.seconds_to_calm(1000.0) > 0

    flow.answered(1000.0, PROMPT_SECONDS)
    assert flow.seconds_to_calm(1000.0) == 0

    flow.answered(1000.0, PROMPT_SECONDS * 2)
    assert flow.seconds_to_calm(1000.0) > 0


def flow_of(lasting, seconds, each_seconds=0.01):
    """Notifications that arrive at 400 kB/s."""
    began, count = lasting.clock.now, int(seconds / each_seconds)
    return [(began + number * each_seconds, BIG) for number in range(count)]


def test_a_question_waits_for_a_flow_to_end_and_then_comes_within_two_half_lives():
    lasting = listening(heartbeat=2.0)
    arrivals = flow_of(lasting, 16.0)

    [asked] = moments_of_questions(lasting, arrivals)

    assert 0 < asked - arrivals[-1][0] < 0.202
    assert len(lasting.got) == len(arrivals)


def test_a_flow_that_lasts_is_asked_into_and_again_soon_if_it_was_answered_at_once():
    lasting = listening(heartbeat=2.0)
    began = lasting.clock.now

    asked = moments_of_questions(lasting, flow_of(lasting, LONGEST_DELAY_SECONDS + 10))

    assert asked[0] - began == pytest.approx(LONGEST_DELAY_SECONDS, abs=0.1)
    assert len(asked) > 50


def test_a_flow_that_lasts_is_left_alone_again_if_the_answer_took_long():
    lasting = listening(heartbeat=2.0)

    asked = moments_of_questions(lasting, flow_of(lasting, LONGEST_DELAY_SECONDS + 10), answer_seconds=2.0)

    assert len(asked) == 2  # the second one when it is over


def test_a_flow_puts_no_loss_off():
    lasting = listening(heartbeat=2.0)

    play(lasting, ("fetch", [BIG] * 10), ("fetch", ConnectionLost), ("fetch", ConnectionLost), ("disconnect", None),
         ("connect", LEFT))  # fmt: skip
