"""What has arrived waits in order, and never without a limit."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from pgnotify.cli.listen.arrivals import BYTES_BESIDE_PAYLOAD, Arrivals
from pgnotify.listener.gap import Listening, Reason
from pgnotify.notification import Notification

KNOWN_GOOD = datetime(2026, 1, 1, tzinfo=timezone.utc)


def arrivals_for(count):
    """Return a queue for this many notifications without a payload."""
    arrivals = Arrivals(count * BYTES_BESIDE_PAYLOAD)
    arrivals.known_good_at = lambda: KNOWN_GOOD
    return arrivals


def fill(arrivals, *channels):
    for channel in channels:
        arrivals.receive(Notification(channel, "", 1))


def channels_of(arrivals):
    found = []
    while (item := arrivals.next(0)) is not None:
        found.append(item.notification.channel if hasattr(item, "notification") else item.event.gap)
    return found


def test_items_come_in_order():
    arrivals = arrivals_for(5)
    arrivals.listening(event := Listening(("a",), None, None))
    fill(arrivals, "a", "b")

    assert arrivals.next(0).event is event
    assert channels_of(arrivals) == ["a", "b"]


@pytest.mark.parametrize("later", [["e"], []], ids=["and more arrive", "and no more arrive"])
def test_what_does_not_fit_becomes_a_gap_in_its_place(later):
    arrivals = arrivals_for(2)
    fill(arrivals, "a", "b", "c", "d", "c")
    first = arrivals.next(0)
    fill(arrivals, *later)

    second, gap, *rest = channels_of(arrivals)

    assert [first.notification.channel, second, *rest] == ["a", "b", *later]
    assert (gap.reason, gap.channels, gap.dropped) == (Reason.QUEUE_OVERFLOW, ("c", "d"), 3)
    assert gap.lost_at == KNOWN_GOOD < gap.restored_at
    assert channels_of(arrivals) == []


def test_what_was_taken_leaves_room():
    arrivals = arrivals_for(2)
    for _ in range(5):
        fill(arrivals, "a", "b")
        assert channels_of(arrivals) == ["a", "b"]


def test_the_end_comes_after_everything():
    arrivals = arrivals_for(5)
    fill(arrivals, "a")
    arrivals.end(BrokenPipeError("nobody reads"))

    assert arrivals.next(0).notification.channel == "a"
    with pytest.raises(BrokenPipeError):
        arrivals.next(None)
