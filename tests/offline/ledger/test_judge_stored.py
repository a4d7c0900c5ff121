"""The judge of listeners with an outbox finds what it is there for: books that were forged for it."""

from __future__ import annotations

from collections import defaultdict

import pytest

from pgnotify.listener.gap import Gap, Reason, utc
from tests.ledger.books import Announced, Book, Delivered, Sent, Strike
from tests.ledger.outbox.judge import judge_stored

ONE_SESSION = defaultdict(int)
CROSSED = {1: 0, 2: 1, 3: 0}
"""Which session has sent each number."""


def sent(*numbers: int, sure: bool = True, channel: str = "jobs") -> list[Sent]:
    """What was stored: number 7 from second 7.0 to 7.5."""
    return [Sent(number, channel, float(number), number + 0.5, sure) for number in numbers]


def book(*numbers: int, lives: tuple[int, ...] = (), channel: str = "jobs") -> Book:
    """What was delivered, in this order."""
    entries = [Delivered(number, channel, 10.0 + place) for place, number in enumerate(numbers)]
    return Book(("jobs", "more"), [*entries], [*lives])


def test_all_that_was_committed_is_delivered():
    verdict = judge_stored(sent(1, 2, 3), ONE_SESSION, book(1, 2, 3))

    assert verdict.holds
    assert (verdict.sent, verdict.delivered, verdict.doubled, verdict.again) == (3, 3, 0, 0)


def test_what_is_missing_is_unaccounted_for_and_a_gap_excuses_nothing():
    its = book(1, 3)
    its.entries.insert(1, Announced(Gap(Reason.CONNECTION_LOST, utc(0.0), utc(9.0), ("jobs",)), 9.0))

    verdict = judge_stored(sent(1, 2, 3), ONE_SESSION, its)

    assert [each.number for each in verdict.unaccounted] == [2]
    assert [text.partition(":")[0] for text in verdict.wrong] == ["a gap was announced"]


def test_what_may_be_committed_or_not_is_not_missing():
    assert judge_stored([*sent(1), *sent(2, sure=False)], ONE_SESSION, book(1)).holds


def test_a_second_delivery_is_wrong_in_one_life_and_counted_in_the_next_one():
    assert judge_stored(sent(1, 2), ONE_SESSION, book(1, 2, 2)).doubled == 1
    assert not judge_stored(sent(1, 2), ONE_SESSION, book(1, 2, 2)).holds

    verdict = judge_stored(sent(1, 2, 3), ONE_SESSION, book(1, 2, 2, 3, lives=(2,)))
    assert verdict.holds
    assert (verdict.doubled, verdict.again) == (0, 1)


@pytest.mark.parametrize("of", [ONE_SESSION, CROSSED])
def test_each_sender_has_an_order_of_its_own(of):
    assert judge_stored(sent(1, 2, 3), of, book(2, 1, 3)).holds is (of is CROSSED)


def test_consumers_of_several_channels_may_have_one_order_or_one_for_each():
    both = [*sent(1), *sent(2, channel="more")]
    its = Book(("jobs", "more"), [Delivered(2, "more", 10.0), Delivered(1, "jobs", 11.0)])

    assert judge_stored(both, ONE_SESSION, its, in_one_order=False).holds
    assert not judge_stored(both, ONE_SESSION, its).holds


@pytest.mark.parametrize("its", [book(1, 2), book(1, channel="more")])
def test_what_was_rolled_back_or_sent_elsewhere_is_wrong(its):
    assert not judge_stored(sent(1), ONE_SESSION, its).holds


def test_it_says_how_long_deliveries_were_interrupted():
    strikes = [Strike("reset", 1.5, 1.5), Strike("kill -9", 2.5, 2.75)]

    verdict = judge_stored(
        sent(1, 2, 3), ONE_SESSION, Book(("jobs",), [Delivered(2, "jobs", 2.25), Delivered(3, "jobs", 3.0)]), strikes
    )

    assert verdict.recoveries == {"reset": [0.75], "kill -9": [0.25]}
