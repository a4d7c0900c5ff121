"""Steps that no exception of a signal handler can come between.

CPython runs signal handlers between two instructions of Python code. If a handler raises, as Ctrl-C does, our code
ends at that place. A loop in C is never interrupted, unless it calls Python code. So where one step must not be taken
without the next, iterators make both steps, and a function in C consumes the iterators.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, compress, repeat, starmap
from typing import Any, Generic, TypeAlias, TypeVar

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


def remove_with(thing: T, table: dict[int, Any], key: int) -> weakref.ref[T]:
    """Have a table lose a key when a thing is deleted; return a reference to the thing, which the table must keep.

    The removal is in C. If Python code made it, as that of a WeakValueDictionary does, Python would print what a signal
    handler raises during it, and go on: a Ctrl-C would be lost.
    """
    return weakref.ref(thing, partial(table.pop, key))


class WeakSet(Generic[T]):
    """Things by identity, each until it is deleted; see `remove_with`. They need not be hashable."""

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[T]] = {}

    def add(self, thing: T) -> None:
        """Add a thing, unless it is here."""
        self._references[id(thing)] = remove_with(thing, self._references, id(thing))

    def discard(self, thing: T) -> None:
        """Remove a thing, if it is here."""
        self._references.pop(id(thing), None)

    def clear(self) -> None:
        """Remove all things."""
        self._references.clear()

    def __contains__(self, thing: T) -> bool:
        """Return whether a thing is here."""
        return id(thing) in self._references

    def __iter__(self) -> Iterator[T]:
        """Iterate over the things that are here now."""
        things = [reference() for reference in list(self._references.values())]
        return (thing for thing in things if thing is not None)


_NOTHING = repeat(False)  # a repeat() without a count is never used up, so all share it
_WITHOUT_ARGUMENTS: Iterator[Any] = repeat(())
