"""Judges a user that takes hints, and looks for its work itself: it looks again after each notification.

The promise is that of `pgnotify.Listener.wait_or_poll`: a hint, or a gap, follows each notification. One hint stands
for all that were sent before the notification that it brings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.ledger.books import Announced, Delivered, Entry, Sent
from tests.ledger.clock import STEP
from tests.ledger.judge import Verdict, doubled_in, wrongly_delivered

LATE_SECONDS = 10.0
"""After which a hint is as good as lost."""


def judge_hints(sent: Sequence[Sent], book: Sequence[Entry]) -> Verdict:
    """Hold the book of a listener that gives hints against what was sent."""
    wrong = list(wrongly_delivered(sent, book))
    delivered, in_gaps, unaccounted = 0, 0, []
    place = 0
    for each in sent:
        while place < len(book) and not _finds(book[place], each):
            place += 1
        if not each.sure:
            continue
        if place == len(book):
            unaccounted.append(each)
        elif book[place].at > each.after - each.set_by + LATE_SECONDS:
            wrong.append(f"the hint for {each.number} came after {book[place].at - each.at:.1f} s")
        elif isinstance(book[place], Delivered):
            delivered += 1
        else:
            in_gaps += 1
    gaps = [entry.gap for entry in book if isinstance(entry, Announced)]
    sure = sum(each.sure for each in sent)
    return Verdict(
        sent=sure,
        delivered=delivered,
        in_gaps=in_gaps,
        unsure=len(sent) - sure,
        unaccounted=tuple(unaccounted),
        wrong=tuple(wrong),
        doubled=doubled_in(book),
        gaps=Counter(str(gap.reason) for gap in gaps),
        gap_seconds=sum((gap.restored_at - gap.lost_at).total_seconds() % STEP for gap in gaps),
        dropped=sum(gap.dropped for gap in gaps),
    )


def _finds(entry: Entry, sent: Sent) -> bool:
    """Whether a user that looks for its work after this finds what was sent."""
    if isinstance(entry, Delivered):
        return entry.number >= sent.number
    return entry.at >= sent.after - sent.set_by
