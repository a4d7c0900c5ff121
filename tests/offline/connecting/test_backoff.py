"""The pauses between attempts to connect."""

from __future__ import annotations

import math

import pytest

from pgnotify.connecting.backoff import Backoff


def longest(backoff, attempt):
    return backoff.delay(attempt, random=lambda: 1.0)


def test_the_longest_pause_doubles_up_to_the_maximum():
    backoff = Backoff(initial=0.5, maximum=3)

    assert [longest(backoff, attempt) for attempt in range(1, 6)] == [0.5, 1, 2, 3, 3]


def test_by_default_it_goes_from_a_quarter_of_a_second_to_half_a_minute():
    assert [longest(Backoff(), attempt) for attempt in (1, 2, 7, 8)] == [0.25, 0.5, 16, 30]


@pytest.mark.parametrize("part", [0.0, 0.25, 0.75])
def test_a_pause_is_any_part_of_the_longest_one(part):
    assert Backoff(initial=2, maximum=8).delay(3, random=lambda: part) == part * 8


def test_by_default_a_pause_is_random():
    pauses = {Backoff(initial=1, maximum=1).delay(1) for _ in range(20)}

    assert len(pauses) > 1
    assert all(0 <= pause < 1 for pause in pauses)


@pytest.mark.parametrize("attempt", [1_000, 1_100, 2**31, 2**63, 10**30])
def test_an_attempt_of_any_size_waits_for_the_maximum(attempt):
    assert longest(Backoff(), attempt) == 30


def test_an_initial_pause_of_zero_stays_zero():
    assert longest(Backoff(initial=0), 10**30) == 0


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_count_from_one(attempt):
    with pytest.raises(ValueError, match=rf"1 or more, not {attempt}"):
        Backoff().delay(attempt)


@pytest.mark.parametrize("name", ["initial", "maximum", "healthy_after"])
@pytest.mark.parametrize("value", [-0.1, -1, math.nan, math.inf, -math.inf])
def test_a_bad_time_is_refused_by_its_name(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be 0 or more seconds and finite, not {value}"):
        Backoff(**{name: value})


@pytest.mark.parametrize("name", ["initial", "maximum", "healthy_after"])
def test_a_time_that_no_float_can_hold_is_refused_by_its_name(name):
    with pytest.raises(ValueError, match=f"{name} is an integer that no float can hold"):
        Backoff(**{name: 10**400})


@pytest.mark.parametrize("name", ["initial", "maximum", "healthy_after"])
@pytest.mark.parametrize("value", [None, "1", True, [1]])
def test_a_time_of_the_wrong_type_is_refused_by_its_name(name, value):
    with pytest.raises(TypeError, match=f"{name} must be a number of seconds, not {type(value).__name__}"):
        Backoff(**{name: value})


def test_a_maximum_below_the_initial_pause_is_refused():
    with pytest.raises(ValueError, match=r"maximum must be at least initial, which is 2, not 1\.5"):
        Backoff(initial=2, maximum=1.5)


def test_the_maximum_may_be_the_initial_pause():
    assert longest(Backoff(initial=2, maximum=2), 9) == 2


def test_it_does_not_change():
    with pytest.raises(AttributeError):
        Backoff().initial = 1
