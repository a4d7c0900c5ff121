"""The bounded queue: what is kept, what is dropped, and where the user learns of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pgnotify.listener.gap import Gap, Moment, Reason, utc
from pgnotify.listener.mailbox import Mailbox, Overflow


def plains(*payloads, channel="jobs"):
    return [(channel, str(payload), 7) for payload in payloads]


def put(mailbox, *payloads, complete_until=100.0, now=110.0, channel="jobs"):
    """Put at a moment that both clocks show."""
    return mailbox.put(plains(*payloads, channel=channel), Moment(complete_until, complete_until), Moment(now, now))


def take(mailbox):
    """Take the next notification, or pass the overflow that comes first; None if there is neither."""
    overflow = mailbox.overflow()
    if overflow is not None:
        mailbox.pass_by(overflow)
        return overflow
    return mailbox.items.popleft() if mailbox.items else None


def taken(mailbox):
    """Take all; payloads, and "gap" for the mark of an overflow."""
    items = iter(lambda: take(mailbox), None)
    return ["gap" if isinstance(item, Overflow) else item[1] for item in items]


def test_an_empty_one_has_nothing():
    mailbox = Mailbox(3)

    assert take(mailbox) is None
    assert not mailbox
    assert len(mailbox) == 0


def test_what_is_put_is_taken_in_order():
    mailbox = Mailbox(3)

    assert put(mailbox, 1, 2) == 0
    assert put(mailbox, 3) == 0

    assert taken(mailbox) == ["1", "2", "3"]


def test_without_a_size_all_is_kept():
    mailbox = Mailbox()

    assert put(mailbox, *range(5000)) == 0
    assert len(mailbox) == 5000


def test_what_there_is_no_room_for_is_dropped_and_counted():
    mailbox = Mailbox(3)

    assert put(mailbox, 1, 2, 3, 4, 5) == 2
    assert taken(mailbox) == ["1", "2", "3", "gap"]


def test_the_mark_of_an_overflow_is_no_notification():
    mailbox = Mailbox(2)
    put(mailbox, 1, 2, 3)

    assert len(mailbox) == 2
    take(mailbox)
    take(mailbox)
    assert len(mailbox) == 0
    assert mailbox


def test_it_drops_until_half_of_it_is_free():
    mailbox = Mailbox(4)
    put(mailbox, 1, 2, 3, 4, 5)
    take(mailbox)

    assert put(mailbox, 6) == 1
    take(mailbox)
    assert put(mailbox, 7) == 0

    assert taken(mailbox) == ["3", "4", "gap", "7"]


def test_all_that_is_dropped_in_one_place_is_one_gap():
    mailbox = Mailbox(1)
    put(mailbox, 1, 2, 3, complete_until=100.0, now=110.0)
    put(mailbox, 4, complete_until=120.0, now=130.0, channel="other")
    take(mailbox)

    gap = take(mailbox).gap()

    assert gap == Gap(Reason.QUEUE_OVERFLOW, utc(100.0), utc(130.0), ("jobs", "other"), 3)


def test_a_mark_that_was_taken_is_not_added_to():
    mailbox = Mailbox(1)
    put(mailbox, 1, 2)
    take(mailbox)
    first = take(mailbox)

    assert put(mailbox, 3, 4) == 1

    assert first.gap().dropped == 1
    assert taken(mailbox) == ["3", "gap"]


def test_a_mark_that_was_reached_is_not_added_to_and_nothing_behind_it_is_taken_before_it_is_passed():
    mailbox = Mailbox(1)
    put(mailbox, 1, 2)
    take(mailbox)
    mark = mailbox.overflow()

    assert put(mailbox, 3, 4) == 1

    assert (len(mailbox), mark.gap().dropped) == (1, 1)
    assert not mailbox.items
    assert mailbox.overflow() is mark


def test_a_mark_is_passed_once_and_nothing_else_with_it():
    mailbox = Mailbox(1)
    put(mailbox, 1, 2)
    take(mailbox)
    mark = mailbox.overflow()
    put(mailbox, 3, 4)

    mailbox.pass_by(mark)
    mailbox.pass_by(mark)

    assert len(mailbox) == 1
    assert taken(mailbox) == ["3", "gap"]
    mailbox.pass_by(mark)
    assert not mailbox


def test_a_mark_that_is_taken_makes_room():
    mailbox = Mailbox(1)
    put(mailbox, 1, 2)
    taken(mailbox)

    assert put(mailbox, 3) == 0


def lost(lost_at: float, *channels: str) -> Gap:
    """A gap of the connection of one second."""
    return Gap(Reason.CONNECTION_LOST, utc(lost_at), utc(lost_at + 1.0), channels or ("jobs",))


def test_gaps_of_the_connection_that_nothing_lies_between_are_one():
    mailbox = Mailbox(3)

    mailbox.put_gap(lost(100.0))
    mailbox.put_gap(lost(105.0))

    assert list(mailbox.items) == [Gap(Reason.CONNECTION_LOST, utc(100.0), utc(106.0), ("jobs",))]


def test_a_gap_of_the_connection_is_not_added_to_that_of_an_overflow_which_counts_what_it_dropped():
    mailbox = Mailbox(1)
    put(mailbox, 1, 2)
    mailbox.items.clear()
    mailbox.show_gap()

    mailbox.put_gap(lost(120.0))

    assert [(gap.reason, gap.dropped) for gap in mailbox.items] == [
        (Reason.QUEUE_OVERFLOW, 1),
        (Reason.CONNECTION_LOST, 0),
    ]


def test_cleared_it_is_as_new():
    mailbox = Mailbox(1)
    put(mailbox, 1, 2)

    mailbox.clear()

    assert not mailbox
    assert len(mailbox) == 0
    assert put(mailbox, 3) == 0


def test_a_size_that_is_set_when_there_is_more_already_drops_all_that_comes():
    mailbox = Mailbox()
    put(mailbox, 1, 2, 3, 4)
    mailbox.size = 2

    assert put(mailbox, 5, 6, 7) == 3
    assert taken(mailbox) == ["1", "2", "3", "4", "gap"]


@given(size=st.integers(1, 5), steps=st.lists(st.one_of(st.integers(1, 7), st.just("take")), max_size=40))
def test_each_is_taken_in_order_or_counted_by_the_gap_in_its_place(size, steps):
    mailbox, sent, seen = Mailbox(size), 0, []
    for step in [*steps, *["take"] * 50]:
        if step != "take":
            put(mailbox, *range(sent, sent + step))
            sent += step
        elif (item := take(mailbox)) is not None:
            seen.append(item)
        assert len(mailbox) <= size

    expected = 0
    for item in seen:
        if isinstance(item, Overflow):
            expected += item.gap().dropped
        else:
            assert item[1] == str(expected)
            expected += 1
    assert expected == sent


def test_a_stream_that_nobody_takes_from_stays_bounded_while_the_connection_flaps():
    mailbox = Mailbox(2)
    for seconds in range(0, 100, 10):
        put(mailbox, 1, 2, 3)
        mailbox.put_gap(lost(float(seconds)))

    taken = []
    while mailbox:
        mailbox.show_gap()
        taken.append(mailbox.items.popleft())

    *kept, dropped, gap = taken
    assert kept == plains(1, 2)
    assert (dropped.reason, dropped.dropped) == (Reason.QUEUE_OVERFLOW, 28)
    assert gap == Gap(Reason.CONNECTION_LOST, utc(0.0), utc(91.0), ("jobs",))
