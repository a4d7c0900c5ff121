"""Reads the books of listeners with an outbox.

The promise that it holds them to is that of an outbox: what was committed is delivered, and once in one life of a
process. A transaction's messages come in order, and none comes before what its sender had committed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tests.ledger.books import Announced, Book, Delivered, Entry, Sent, Strike
from tests.ledger.judge import Verdict


def judge_stored(
    sent: Sequence[Sent],
    session_of: Mapping[int, int],
    book: Book,
    strikes: Sequence[Strike] = (),
    in_one_order: bool = True,
) -> Verdict:
    """Hold a book against what was stored.

    Args:
        sent: the senders' book, without what was rolled back.
        session_of: which session has sent each number.
        book: the listener's.
        strikes: in their order; for the times to recover only.
        in_one_order: whether the channels share an order, too.
    """
    by_number = {each.number: each for each in sent}
    lives = list(_lives(book))
    delivered = [[entry for entry in life if isinstance(entry, Delivered)] for life in lives]
    gaps = [entry.gap for life in lives for entry in life if isinstance(entry, Announced)]
    wrong = [f"a gap was announced: {gap}" for gap in gaps]
    doubled = 0
    for life in delivered:
        wrong += _wrongly_delivered(life, by_number, session_of, in_one_order)
        doubled += len(life) - len({each.number for each in life})
    found = {each.number for life in delivered for each in life}
    missing = tuple(each for each in sent if each.sure and each.number not in found)
    sure = sum(each.sure for each in sent)
    return Verdict(
        sent=sure,
        delivered=sure - len(missing),
        unsure=len(sent) - sure,
        unaccounted=missing,
        wrong=tuple(wrong),
        doubled=doubled,
        again=sum(map(len, delivered)) - len(found) - doubled,
        gaps=Counter(str(gap.reason) for gap in gaps),
        recoveries=_recoveries(by_number, book, strikes),
    )


def _lives(book: Book) -> Iterator[list[Entry]]:
    for begin, end in pairwise((0, *book.lives, len(book.entries))):
        yield book.entries[begin:end]


def _wrongly_delivered(
    life: Sequence[Delivered], by_number: Mapping[int, Sent], session_of: Mapping[int, int], in_one_order: bool
) -> Iterator[str]:
    seen: set[int] = set()
    latest: dict[tuple[int, str], int] = {}
    for number, channel, _ in life:
        original = by_number.get(number)
        if original is None or original.channel != channel:
            yield f"{number} was never committed on {channel!r}"
            continue
        if number in seen:
            yield f"{number} was delivered twice on {channel!r}"
        seen.add(number)
        if not original.sure:  # the server may have committed it later than what its sender sent next
            continue
        order = (session_of[number], "" if in_one_order else channel)
        if number < latest.get(order, 0):
            yield f"{number} was delivered behind {latest[order]} on {channel!r}"
        latest[order] = max(number, latest.get(order, 0))


def _recoveries(by_number: Mapping[int, Sent], book: Book, strikes: Sequence[Strike]) -> dict[str, list[float]]:
    """Return seconds from each fault to the first delivery of what was sent after it, unless another struck before."""
    found: dict[str, list[float]] = {}
    entries = [
        (entry.at, by_number[entry.number].before)
        for entry in book.entries
        if isinstance(entry, Delivered) and entry.number in by_number
    ]
    place = 0
    for strike, next_at in zip(strikes, [*(each.at for each in strikes[1:]), math.inf], strict=False):
        while place < len(entries) and (entries[place][0] < strike.at or entries[place][1] < strike.over):
            place += 1
        if place < len(entries) and entries[place][0] < next_at:
            found.setdefault(strike.kind, []).append(max(0.0, entries[place][0] - strike.over))
    return found
