"""Reads the books, and says what is not accounted for.

The promise that it holds a listener to is that of `pgnotify.Gap`, and nothing weaker: what is missing was on its way
between `lost_at` and `restored_at` of a gap of its channel.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter
from typing import NamedTuple

from pgnotify.listener.gap import Gap, Reason
from tests.ledger.books import Announced, Delivered, Entry, Sent, Strike
from tests.ledger.clock import STEP

NONE = "-"
LOOK_BACK_SECONDS = 1.0
"""How long before a driver has dropped a notification that may have been sent."""


@dataclass(frozen=True)
class Verdict:
    """What came of the books of one listener."""

    sent: int = 0
    """How many were sent with certainty."""
    delivered: int = 0
    """How many of those were delivered."""
    in_gaps: int = 0
    """How many of those are missing and lie in a gap."""
    unsure: int = 0
    """How many may have been sent or not; they are delivered at most once, and never missing."""
    lost_in_driver: int = 0
    """How many of those were dropped by a driver, for an exception of a signal handler."""
    unaccounted: tuple[Sent, ...] = ()
    """Those that are missing, and lie in no gap."""
    wrong: tuple[str, ...] = ()
    """What else breaks the promise, in words."""
    gaps: Counter[str] = field(default_factory=Counter)
    """How many gaps were announced, by their reasons."""
    gap_seconds: float = 0.0
    """How long they were, in all, without the hours by which the clock was set."""
    doubled: int = 0
    """How many deliveries were of what had been delivered before, in the same life of a process."""
    again: int = 0
    """The same in a later life, of what was not acknowledged before."""
    dropped: int = 0
    """How many the gaps of full queues say that they dropped."""
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    """Seconds from a fault to the first delivery of what was sent after the gap, by the kinds of fault.

    Without those during which the next one struck.
    """

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return not self.unaccounted and not self.wrong

    def recoveries_from(self, kinds: Sequence[str]) -> list[float]:
        """Return the recovery times of some kinds of fault."""
        return [seconds for kind in kinds for seconds in self.recoveries.get(kind, ())]


class _Placed(NamedTuple):
    """A gap and where in the book it stands."""

    gap: Gap
    index: int
    lost_at: float
    restored_at: float
    at: float
    """When it was announced, by the machine's clock."""
    set_by: float

    @property
    def is_overflow(self) -> bool:
        """Whether it is one of a full queue."""
        return self.gap.reason is Reason.QUEUE_OVERFLOW

    @property
    def seconds(self) -> float:
        """How long it was, without the hours by which the clock was set during it."""
        return (self.restored_at - self.lost_at) % STEP


def judge(
    sent: Sequence[Sent],
    book: Sequence[Entry],
    strikes: Sequence[Strike] = (),
    ended_at: float = math.inf,
    lost_in_driver: Sequence[float] = (),
) -> Verdict:
    """Hold the book of one listener against what was sent.

    Args:
        sent: the sender's book.
        book: the listener's.
        strikes: in their order; for the times to recover only.
        ended_at: when the sender ended, which says nothing of these times.
        lost_in_driver: when a driver has dropped one for a signal handler that raised; each excuses one that was sent
            just before.
    """
    gaps = [
        _Placed(
            entry.gap,
            index,
            entry.gap.lost_at.timestamp(),
            entry.gap.restored_at.timestamp(),
            entry.at,
            entry.set_by,
        )
        for index, entry in enumerate(book)
        if isinstance(entry, Announced)
    ]
    wrong = list(wrongly_delivered(sent, book))
    covering: Counter[int] = Counter()
    reconnects = [placed.index for placed in gaps if not placed.is_overflow]
    accounts = {placed.index: _Account(placed) for placed in gaps if placed.is_overflow}
    channels = [_Channel(name, sent, book) for name in dict.fromkeys(each.channel for each in sent)]
    for channel in channels:
        for placed in gaps:
            if channel.name not in placed.gap.channels:
                continue
            missing = channel.missing_in(placed)
            if (account := accounts.get(placed.index)) is not None:
                missing = [each for each in missing if channel.is_in_place(each, placed.index, reconnects)]
                account.missing += missing
                account.before += channel.missing_just_before(placed, reconnects)
            elif channel.newer_was_delivered_before(placed):
                wrong.append(f"a gap of {channel.name!r} was announced behind what was sent after it: {placed.gap}")
            covering.update(each.number for each in missing)
    wrong += [text for account in accounts.values() if (text := account.complaint(covering))]
    missing_surely = [each for channel in channels for each in channel.missing if each.sure]
    uncovered = [each for each in missing_surely if not covering[each.number]]
    unaccounted = tuple(_not_excused(uncovered, lost_in_driver))
    sure = sum(each.sure for each in sent)
    return Verdict(
        sent=sure,
        delivered=sure - len(missing_surely),
        in_gaps=len(missing_surely) - len(uncovered),
        lost_in_driver=len(uncovered) - len(unaccounted),
        unsure=len(sent) - sure,
        unaccounted=unaccounted,
        wrong=tuple(wrong),
        doubled=doubled_in(book),
        gaps=Counter(str(placed.gap.reason) for placed in gaps),
        gap_seconds=sum(placed.seconds for placed in gaps),
        dropped=sum(placed.gap.dropped for placed in gaps),
        recoveries=_recoveries(sent, book, strikes, ended_at),
    )


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """Return one verdict on all books of one listener: each counts what it should have brought."""
    total = Verdict()
    for each in verdicts:
        recoveries = {kind: [*total.recoveries.get(kind, ()), *seconds] for kind, seconds in each.recoveries.items()}
        total = Verdict(
            sent=total.sent + each.sent,
            delivered=total.delivered + each.delivered,
            in_gaps=total.in_gaps + each.in_gaps,
            unsure=total.unsure + each.unsure,
            lost_in_driver=total.lost_in_driver + each.lost_in_driver,
            unaccounted=total.unaccounted + each.unaccounted,
            wrong=total.wrong + each.wrong,
            doubled=total.doubled + each.doubled,
            again=total.again + each.again,
            gaps=total.gaps + each.gaps,
            gap_seconds=total.gap_seconds + each.gap_seconds,
            dropped=total.dropped + each.dropped,
            recoveries={**total.recoveries, **recoveries},
        )
    return total


def doubled_in(book: Sequence[Entry]) -> int:
    """Return how many deliveries were not the first one of their number."""
    numbers = [entry.number for entry in book if isinstance(entry, Delivered)]
    return len(numbers) - len({*numbers})


def _not_excused(missing: Sequence[Sent], lost_in_driver: Sequence[float]) -> list[Sent]:
    left = list(missing)
    for moment in lost_in_driver:
        just_before = (each for each in left if 0 <= moment - each.at <= LOOK_BACK_SECONDS)
        if (latest := max(just_before, key=attrgetter("at"), default=None)) is not None:
            left.remove(latest)
    return left


def wrongly_delivered(sent: Sequence[Sent], book: Sequence[Entry]) -> Iterator[str]:
    """Say what was delivered twice, out of order, on another channel, or before it was sent."""
    by_number = {each.number: each for each in sent}
    seen: set[int] = set()
    latest: dict[str, int] = {}
    for entry in book:
        if not isinstance(entry, Delivered):
            continue
        original = by_number.get(entry.number)
        if original is None or original.channel != entry.channel:
            yield f"{entry.number} was never sent on {entry.channel!r}"
        elif entry.number in seen:
            yield f"{entry.number} was delivered twice on {entry.channel!r}"
        elif entry.number < latest.get(entry.channel, entry.number):
            yield f"{entry.number} was delivered behind {latest[entry.channel]} on {entry.channel!r}"
        elif entry.at < original.at:
            yield f"{entry.number} was delivered before it was sent: the clock was set"
        seen.add(entry.number)
        latest[entry.channel] = max(entry.number, latest.get(entry.channel, entry.number))


class _Channel:
    """What was sent on one channel, and what came of it."""

    def __init__(self, name: str, sent: Sequence[Sent], book: Sequence[Entry]) -> None:
        self.name = name
        self._places = [
            (index, entry.number)
            for index, entry in enumerate(book)
            if isinstance(entry, Delivered) and entry.channel == name
        ]
        self._highest = list(accumulate((number for _, number in self._places), max))
        numbers = {number for _, number in self._places}
        self._sent = {each.number: each for each in sent if each.channel == name}
        self.missing = [each for each in sent if each.channel == name and each.number not in numbers]

    def missing_in(self, placed: _Placed) -> list[Sent]:
        """Return what is missing of what was on its way between the ends of a gap.

        If the clock was set during the gap, that is an hour or more. So it counts as well where the gap stands in the
        book, and when it was announced: nothing newer than what is missing was delivered before, and nothing is missing
        that was sent later.
        """
        delivered = bisect_left(self._places, (placed.index, 0))
        newest = 0 if placed.is_overflow or not delivered else self._highest[delivered - 1]
        first = bisect_right(self.missing, newest, key=attrgetter("number"))
        last = bisect_right(self.missing, placed.at, key=attrgetter("at"))
        return [
            each
            for each in self.missing[first:last]
            if each.after >= placed.lost_at and each.before <= placed.restored_at
        ]

    def missing_just_before(self, placed: _Placed, reconnects: Sequence[int]) -> list[Sent]:
        """Return what is missing in the place of a gap, and was sent before that begins."""
        return [
            each
            for each in self.missing
            if each.after < placed.lost_at and self.is_in_place(each, placed.index, reconnects)
        ]

    def is_in_place(self, missing: Sent, index: int, reconnects: Sequence[int]) -> bool:
        """Whether a gap that stands there in the book stands where this one is missing.

        While there is no connection, the gap of a full queue waits for the next LISTEN as all gaps do, and stands
        behind the gap of that.

        Args:
            missing: the notification.
            index: where the gap stands.
            reconnects: where gaps stand that are none of a full queue.
        """
        here = bisect_left(self._places, (index, 0))
        if here < len(self._places) and self._places[here][1] < missing.number:
            return False
        newer = bisect_right(self._highest, missing.number)
        if newer >= here:
            return True
        return any(self._places[newer][0] < announced < index for announced in reconnects)

    def newer_was_delivered_before(self, placed: _Placed) -> bool:
        """Whether something that was sent after the gap stands before it in the book."""
        here = bisect_left(self._places, (placed.index, 0))
        latest = self._sent.get(self._places[here - 1][1]) if here else None
        # A time by another setting of the clock says nothing here.
        return latest is not None and latest.set_by == placed.set_by and latest.before > placed.restored_at


class _Account:
    """Whether a full queue has said the right number."""

    def __init__(self, placed: _Placed) -> None:
        self.placed = placed
        self.missing: list[Sent] = []
        """What is missing in its place."""
        self.before: list[Sent] = []
        """The same of what was sent before the gap. It may lie in the gap of a loss just before, and have arrived on
        the new connection all the same."""

    def complaint(self, covering: Counter[int]) -> str:
        """Return what is wrong with its count, or nothing. Exact, unless another gap touches this one.

        Args:
            covering: how many gaps each missing number lies in.
        """
        at_least = sum(each.sure and covering[each.number] == 1 for each in self.missing)
        dropped = self.placed.gap.dropped
        at_most = len(self.missing) + sum(covering[each.number] > 0 for each in self.before)
        if at_least <= dropped <= at_most:
            return ""
        return f"a full queue says {dropped} dropped where {at_least} to {at_most} are missing: {self.placed.gap}"


def _recoveries(
    sent: Sequence[Sent], book: Sequence[Entry], strikes: Sequence[Strike], ended_at: float
) -> dict[str, list[float]]:
    before = {each.number: each.before for each in sent}
    found: dict[str, list[float]] = defaultdict(list)
    for strike, disturbed_at in zip(strikes, [*(each.at for each in strikes[1:]), ended_at], strict=False):
        at = _delivering_again_at(strike, book, before)
        if at is not None and at < disturbed_at:
            found[strike.kind].append(max(0.0, at - strike.over))
    return dict(found)


def _delivering_again_at(strike: Strike, book: Sequence[Entry], before: dict[int, float]) -> float | None:
    restored_at: float | None = None
    for entry in book[bisect_left(book, strike.at, key=attrgetter("at")) :]:
        if isinstance(entry, Announced):
            if restored_at is None and entry.gap.reason is not Reason.QUEUE_OVERFLOW:
                restored_at = entry.gap.restored_at.timestamp()
        elif restored_at is not None and before.get(entry.number, 0.0) >= restored_at:
            return entry.at
    return None


def median_and_most(seconds: Sequence[float]) -> str:
    """Return both in milliseconds, for a table."""
    if not seconds:
        return NONE
    return f"{statistics.median(seconds) * 1000:.0f} / {max(seconds) * 1000:.0f}"
