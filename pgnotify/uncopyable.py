"""Objects of which there can be no copy: they use a connection, which two objects would close and read by turns."""

from __future__ import annotations

from typing import NoReturn


class Uncopyable:
    """Refuses to be copied and to be pickled, with a TypeError. A subclass may define a `__reduce__` of its own."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled: it belongs to one connection, in one process; "
            "make another one"
        )
