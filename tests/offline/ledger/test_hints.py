"""The judge of hints finds what it is there for: books that were forged for it."""

from __future__ import annotations

import pytest

from pgnotify.listener.gap import Gap, Reason, utc
from tests.ledger.books import Announced, Delivered, Sent
from tests.ledger.hints import LATE_SECONDS, judge_hints


def sent(*numbers: int, sure: bool = True) -> list[Sent]:
    """What was sent: number 7 on its way from second 7.0 to 7.5."""
    return [Sent(number, "jobs", float(number), number + 0.5, sure) for number in numbers]


def hint(number: int, at: float | None = None) -> Delivered:
    """A hint that brings a notification, a second after that was sent."""
    return Delivered(number, "jobs", number + 1.0 if at is None else at)


def gap(at: float) -> Announced:
    """A gap that was returned at that moment."""
    return Announced(Gap(Reason.CONNECTION_LOST, utc(at - 1.0), utc(at), ("jobs",)), at)


def test_a_hint_stands_for_all_that_was_sent_before_it():
    verdict = judge_hints(sent(1, 2, 3, 4), [hint(2), hint(4)])

    assert verdict.holds
    assert (verdict.sent, verdict.delivered, verdict.in_gaps) == (4, 4, 0)


def test_a_gap_is_a_hint_for_all_that_was_sent_before_it_was_returned():
    verdict = judge_hints(sent(1, 2, 3, 4), [hint(1), gap(3.6), hint(4)])

    assert verdict.holds
    assert (verdict.delivered, verdict.in_gaps) == (2, 2)


def test_what_no_hint_follows_is_unaccounted_for():
    verdict = judge_hints(sent(1, 2, 3), [hint(1), gap(2.6)])

    assert [each.number for each in verdict.unaccounted] == [3]


def test_what_may_not_have_been_sent_needs_no_hint():
    assert judge_hints([*sent(1), *sent(2, sure=False)], [hint(1)]).holds


def test_a_hint_that_comes_late_is_wrong():
    verdict = judge_hints(sent(1, 2), [hint(1), hint(2, at=3.0 + LATE_SECONDS)])

    assert verdict.wrong == ("the hint for 2 came after 11.0 s",)


@pytest.mark.parametrize("numbers", [(1, 1), (2, 1)])
def test_a_hint_twice_and_one_out_of_order_are_wrong(numbers):
    assert not judge_hints(sent(1, 2), [hint(number, at=3.0) for number in (*numbers, 2)]).holds
