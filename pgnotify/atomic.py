"""Steps that no exception of a signal handler can come between.

CPython runs signal handlers between two instructions of Python code. If a handler raises, as Ctrl-C does, our code
ends at that place. A loop in C is never interrupted, unless it calls Python code. So where one step must not be taken
without the next, iterators make both steps, and a function in C consumes the iterators.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, compress, repeat, starmap
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")


Call: TypeAlias = tuple[Callable[..., object], tuple[object, ...]]
"""A function that is written in C, such as a method of a built-in class, and its arguments."""


def at_once(*calls: Call) -> None:
    """Make calls in C, one after the other: if the first one is made, then so are all of them."""
    steps = [starmap(function, (arguments,)) for function, arguments in calls]
    deque(chain.from_iterable(steps), maxlen=0)


def then(items: Iterable[T], function: Callable[..., object], *arguments: object) -> Iterator[T]:
    """Yield the items, and after the last one call a function in C, whose result is ignored.

    Consumed in C, this moves items: ``taker.extend(then(list(items), items.clear))``.
    """
    return chain(items, compress(starmap(function, (arguments,)), _NOTHING))  # type: ignore[arg-type]


def pops(queue: deque[T]) -> Iterator[T]:
    """Yield items from the head of a queue for ever, each removed in the moment in which it is consumed.

    It raises IndexError at the end of the queue, and continues with items that are added after that.
    """
    return starmap(queue.popleft, _WITHOUT_ARGUMENTS)


_NOTHING = repeat(False)  # a repeat() without a count is never used up, so all share it
_WITHOUT_ARGUMENTS: Iterator[Any] = repeat(())
