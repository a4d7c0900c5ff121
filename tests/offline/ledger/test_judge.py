"""The judge of the ledger finds what it is there for: books that were forged for it."""

from __future__ import annotations

from itertools import islice

import pytest

from pgnotify.listener.gap import Gap, Reason, utc
from tests.ledger.books import Announced, Book, Delivered, Sent, Strike
from tests.ledger.faults import FAULTS, OF_LOOPS, OF_PROCESSES, OF_STORED, OVERFLOWS, plan, possible
from tests.ledger.judge import judge, together
from tests.ledger.trial import MODES, STORED_MODES, is_async

LOST, OVERFLOW = Reason.CONNECTION_LOST, Reason.QUEUE_OVERFLOW


def sent(*numbers: int, channel: str = "jobs", sure: bool = True) -> list[Sent]:
    """What was sent: number 7 on its way from second 7.0 to 7.5."""
    return [Sent(number, channel, float(number), number + 0.5, sure) for number in numbers]


def delivered(*numbers: int, channel: str = "jobs") -> list[Delivered]:
    """What was delivered, each a second after it was sent."""
    return [Delivered(number, channel, number + 1.0) for number in numbers]


def gap(lost_at: float, restored_at: float, *channels: str, reason: Reason = LOST, dropped: int = 0) -> list[Announced]:
    """What was announced."""
    told = Gap(reason, utc(lost_at), utc(restored_at), channels or ("jobs",), dropped)
    return [Announced(told, restored_at)]


def unaccounted(books: list[Sent], book: list) -> list[int]:
    return [each.number for each in judge(books, book).unaccounted]


def test_all_that_was_sent_and_delivered_in_order_holds():
    verdict = judge(sent(1, 2, 3), delivered(1, 2, 3))

    assert verdict.holds
    assert (verdict.sent, verdict.delivered, verdict.in_gaps, verdict.unsure) == (3, 3, 0, 0)


def test_what_is_missing_is_unaccounted_for():
    assert unaccounted(sent(1, 2, 3), delivered(1, 3)) == [2]


def test_what_is_missing_at_the_end_is_unaccounted_for():
    assert unaccounted(sent(1, 2, 3), delivered(1, 2)) == [3]


def test_what_is_missing_in_a_gap_is_accounted_for():
    verdict = judge(sent(1, 2, 3, 4), [*delivered(1), *gap(1.8, 3.2), *delivered(4)])

    assert verdict.holds
    assert (verdict.delivered, verdict.in_gaps) == (2, 2)
    assert verdict.gaps == {"connection lost": 1}
    assert verdict.gap_seconds == pytest.approx(1.4)


@pytest.mark.parametrize(
    ("lost_at", "restored_at", "covered"),
    [
        (2.0, 2.5, True),
        (2.5, 9.0, True),  # it had not returned before
        (2.6, 9.0, False),
        (1.0, 2.0, True),  # it had begun before
        (1.0, 1.9, False),
    ],
)
def test_a_gap_accounts_for_what_was_on_its_way_in_it_and_no_more(lost_at, restored_at, covered):
    book = [*gap(lost_at, restored_at), *delivered(10)]

    assert unaccounted(sent(2, 10), book) == ([] if covered else [2])


def test_a_gap_of_another_channel_accounts_for_nothing():
    assert unaccounted(sent(1, 2, 3), [*delivered(1), *gap(1.5, 2.9, "cache"), *delivered(3)]) == [2]


def test_twice_is_wrong():
    assert judge(sent(1, 2), delivered(1, 2, 2)).wrong == ("2 was delivered twice on 'jobs'",)


def test_twice_is_wrong_in_a_gap_too():
    assert not judge(sent(1, 2), [*delivered(1, 2), *gap(1.0, 2.9), *delivered(2)]).holds


def test_out_of_order_is_wrong():
    assert judge(sent(1, 2, 3), delivered(1, 3, 2)).wrong == ("2 was delivered behind 3 on 'jobs'",)


def test_channels_have_no_order_among_each_other():
    books = [*sent(1), *sent(2, channel="cache"), *sent(3)]

    assert judge(books, [*delivered(1, 3), *delivered(2, channel="cache")]).holds


def test_what_was_sent_on_another_channel_is_wrong():
    assert judge(sent(1), delivered(1, channel="cache")).wrong == ("1 was never sent on 'cache'",)


def test_what_was_never_sent_is_wrong():
    assert judge(sent(1), delivered(1, 7)).wrong == ("7 was never sent on 'jobs'",)


def test_what_is_unsure_may_be_missing():
    verdict = judge([*sent(1), *sent(2, sure=False), *sent(3)], delivered(1, 3))

    assert verdict.holds
    assert (verdict.sent, verdict.delivered, verdict.unsure) == (2, 2, 1)


def test_what_is_unsure_may_be_delivered_once_only():
    books = [*sent(1), *sent(2, sure=False), *sent(3)]

    assert judge(books, delivered(1, 2, 3)).holds
    assert not judge(books, delivered(1, 2, 2, 3)).holds


def test_a_gap_behind_what_was_sent_after_it_is_wrong():
    verdict = judge(sent(1, 2, 3, 4), [*delivered(1, 4), *gap(1.8, 3.2)])

    assert "announced behind" in verdict.wrong[0]


def test_a_full_queue_that_tells_in_its_place_what_it_dropped_holds():
    verdict = judge(sent(1, 2, 3, 4), [*delivered(1), *gap(1.0, 3.5, reason=OVERFLOW, dropped=2), *delivered(4)])

    assert verdict.holds
    assert (verdict.in_gaps, verdict.dropped) == (2, 2)


@pytest.mark.parametrize("dropped", [1, 3])
def test_a_full_queue_that_miscounts_is_wrong(dropped):
    verdict = judge(sent(1, 2, 3, 4), [*delivered(1), *gap(1.0, 3.5, reason=OVERFLOW, dropped=dropped), *delivered(4)])

    assert f"says {dropped} dropped where 2 to 2 are missing" in verdict.wrong[0]


@pytest.mark.parametrize("lost_at", [1.8, 3.55])
def test_the_count_of_a_full_queue_may_include_what_lies_in_the_gap_of_a_loss_just_before(lost_at):
    overflow = gap(3.6, 5.5, reason=OVERFLOW, dropped=3)  # of 3, 4 and 5

    verdict = judge(sent(1, 2, 3, 4, 5, 6), [*delivered(1), *gap(lost_at, 3.6), *overflow, *delivered(6)])

    assert verdict.holds is (lost_at == 1.8)


def test_the_count_of_a_full_queue_may_include_what_is_unsure():
    books = [*sent(1), *sent(2, sure=False), *sent(3, 4)]

    for dropped in (1, 2):
        book = [*delivered(1), *gap(1.0, 3.5, reason=OVERFLOW, dropped=dropped), *delivered(4)]
        assert judge(books, book).holds


def test_the_gap_of_a_full_queue_too_late_accounts_for_nothing():
    verdict = judge(sent(1, 2, 3, 4), [*delivered(1, 4), *gap(1.0, 3.5, reason=OVERFLOW, dropped=2)])

    assert [each.number for each in verdict.unaccounted] == [2, 3]


def test_the_gap_of_a_full_queue_too_early_accounts_for_nothing():
    verdict = judge(sent(1, 2, 3, 4), [*gap(1.0, 3.5, reason=OVERFLOW, dropped=2), *delivered(1, 4)])

    assert [each.number for each in verdict.unaccounted] == [2, 3]


def test_the_gap_of_a_full_queue_may_wait_for_the_next_listen():
    book = [*delivered(1, 4), *gap(4.0, 5.0), *gap(1.0, 3.5, reason=OVERFLOW, dropped=2), *delivered(6)]

    assert judge(sent(1, 2, 3, 4, 6), book).holds


def test_what_a_driver_has_dropped_for_a_signal_handler_excuses_one_that_was_sent_just_before():
    books = sent(1, 2, 3, 4, 5, 6)

    verdict = judge(books, delivered(1, 4, 6), lost_in_driver=[3.2, 4.6])

    assert [each.number for each in verdict.unaccounted] == [2, 5]
    assert (verdict.lost_in_driver, verdict.in_gaps) == (1, 0)


HOUR = 3600.0


def sent_ahead(*numbers: int, set_by: float = HOUR) -> list[Sent]:
    """What was sent while the clock was set ahead, or back."""
    return [Sent(number, "jobs", number + set_by, number + 0.5 + set_by, set_by=set_by) for number in numbers]


def gap_ahead(lost_at: float, restored_at: float, at: float, set_by: float) -> list[Announced]:
    """A gap during which the clock was set, announced at a moment of the machine's clock."""
    return [Announced(Gap(LOST, utc(lost_at), utc(restored_at), ("jobs",)), at, set_by)]


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_what_was_sent_while_the_clock_was_set_lies_in_the_gap_by_that_clock(set_by):
    books = [*sent(1), *sent_ahead(2, set_by=set_by), *sent(3, 4)]
    lost_at, restored_at = sorted([1.8, 3.2 + set_by]) if set_by > 0 else (1.8 + set_by, 3.2)

    verdict = judge(books, [*delivered(1), *gap_ahead(lost_at, restored_at, 3.9, 0.0), *delivered(4)])

    assert verdict.holds
    assert verdict.in_gaps == 2
    assert verdict.gap_seconds == pytest.approx(1.4)


@pytest.mark.parametrize("set_by", [HOUR, -HOUR])
def test_a_gap_by_one_setting_only_does_not_account_for_what_was_sent_by_another(set_by):
    books = [*sent(1), *sent_ahead(2, set_by=set_by), *sent(4)]

    assert unaccounted(books, [*delivered(1), *gap_ahead(1.8, 3.2, 3.9, 0.0), *delivered(4)]) == [2]


def test_a_gap_of_an_hour_accounts_for_nothing_that_was_sent_after_it():
    books = sent(1, 2, 4, 5, 6)

    assert unaccounted(books, [*delivered(1), *gap_ahead(1.8, 3.2 + HOUR, 3.2, 0.0), *delivered(4, 6)]) == [5]


def test_a_gap_of_an_hour_accounts_for_nothing_that_was_passed_before_it():
    books = sent(1, 2, 3, 4, 5)

    assert unaccounted(books, [*delivered(1, 3), *gap_ahead(3.8 - HOUR, 4.8, 4.8, 0.0), *delivered(5)]) == [2]


def test_a_clock_that_was_set_puts_no_gap_behind_what_was_sent_after_it():
    books = [*sent_ahead(1), *sent(2, 3)]

    assert judge(books, [*delivered(1), *gap_ahead(1.8, 2.9, 2.9, 0.0), *delivered(3)]).holds


def test_recovery_ends_with_the_first_delivery_of_what_was_sent_after_the_gap():
    def recoveries(*strikes: Strike) -> dict[str, list[float]]:
        return judge(sent(1, 2, 3, 4), [*gap(1.5, 2.5), *delivered(2, 3, 4)], strikes).recoveries

    assert recoveries(Strike("fin", 1.6, 1.6)) == {"fin": [pytest.approx(2.4)]}
    assert recoveries(Strike("kill -9", 1.6, 2.0)) == {"kill -9": [pytest.approx(2.0)]}


def test_a_recovery_during_which_the_next_fault_struck_is_not_counted():
    strikes = [Strike("fin", 1.6, 1.6), Strike("reset", 3.0, 3.0)]

    assert judge(sent(1, 2, 3, 4), [*gap(1.5, 2.5), *delivered(2, 3, 4)], strikes).recoveries == {}


def test_a_recovery_after_the_end_is_not_counted():
    book = [*gap(1.5, 2.5), *delivered(2, 3, 4)]

    assert judge(sent(1, 2, 3, 4), book, [Strike("fin", 1.6, 1.6)], ended_at=3.9).recoveries == {}


def test_the_books_of_several_streams_are_judged_one_by_one_and_added():
    strike = Strike("fin", 1.6, 1.6)
    prompt = judge(sent(1, 2, 3, 4), [*gap(1.6, 2.5), *delivered(2, 3, 4)], [strike])
    slow = judge(sent(1, 2, 3, 4), [*delivered(1), *gap(1.0, 2.5, reason=OVERFLOW, dropped=1), *delivered(4)], [strike])

    both = together([prompt, slow])

    assert not both.holds
    assert (both.sent, both.delivered, both.in_gaps, both.dropped) == (8, 5, 1, 1)
    assert both.gaps == {"connection lost": 1, "queue overflow": 1}
    assert [each.number for each in both.unaccounted] == [1, 3]
    assert both.recoveries == {"fin": [pytest.approx(2.4)]}


def test_a_user_that_comes_and_goes_is_due_what_was_sent_meanwhile_and_may_have_more():
    books = [*sent(1, 2, 3, 4, 5, 6), *sent(7, channel="cache")]
    visit = Book(("jobs",), delivered(1, 5), since=3.0)

    verdict = judge(visit.due(books), visit.entries)

    assert [each.number for each in visit.due(books)] == [1, 3, 4, 5]
    assert [each.number for each in verdict.unaccounted] == [3, 4]
    assert not verdict.wrong


def test_a_user_that_stays_is_due_everything_on_its_channels():
    assert Book(("jobs",)).due([*sent(1, 2), *sent(3, channel="cache")]) == sent(1, 2)


def test_loops_are_struck_where_there_are_any_and_a_time_limit_strikes_none():
    blocking = [mode for mode in MODES if not is_async(mode)]
    on_loops = [mode for mode in MODES if is_async(mode)]

    without_outbox = [kind for kind in FAULTS if kind not in (*OF_STORED, *OF_PROCESSES)]
    assert possible(list(FAULTS), blocking) == [kind for kind in without_outbox if kind not in OF_LOOPS]
    assert possible(list(FAULTS), [*blocking, *on_loops]) == without_outbox
    assert "time limit" not in possible(list(FAULTS), on_loops)


def test_listeners_with_an_outbox_overflow_never_and_only_processes_are_killed():
    with_outbox = [kind for kind in FAULTS if kind not in OVERFLOWS]

    assert possible(list(FAULTS), STORED_MODES) == with_outbox
    assert "reader killed" not in possible(list(FAULTS), ["outbox run"])


def test_the_same_seed_has_the_same_faults():
    def ten(seed: int) -> list:
        return list(islice(plan(seed, list(FAULTS), ["a", "b"], 1.0), 10))

    assert ten(1) == ten(1)
    assert ten(1) != ten(2)


def test_a_round_has_every_fault_once():
    assert {each.kind for each in islice(plan(3, list(FAULTS), ["a"], 1.0), len(FAULTS))} == {*FAULTS}
