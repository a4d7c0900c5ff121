"""One thing for each connection, however often that is wrapped."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pgnotify.atomic import remove_with

T = TypeVar("T")


class PerConnection(Generic[T]):
    """Things by connection.

    They are kept by id(), because an object of a subclass of the user's may be equal to others, or not hashable. A
    thing is removed while its connection is deleted, before another object can have that id.

    Args:
        make: makes the thing of a connection. It must not refer to the connection.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._things: dict[int, tuple[weakref.ref[Any], T]] = {}

    def of(self, connection: Any) -> T:
        """Return the thing of a connection."""
        key = id(connection)
        if key not in self._things:
            return self._things.setdefault(key, (remove_with(connection, self._things, key), self._make(connection)))[1]
        return self._things[key][1]
