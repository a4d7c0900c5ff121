"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from pgnotify.limits import check_seconds


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow twofold up to a maximum, each a random part of that: "full jitter".

    Many listeners that lost the same server so come back spread over the whole pause, not all at once. That is the
    strategy with the least work for clients and server among those compared by Marc Brooker in "Exponential Backoff
    And Jitter", AWS Architecture Blog, 2015: ``random_between(0, min(cap, base * 2 ** attempt))``.

    Raises:
        ValueError: a value is negative, infinite or not a number, or `maximum` is less than `initial`.
        TypeError: a value is no number.
    """

    initial: float = 0.25
    """The longest pause before the first attempt, in seconds: a session that was only terminated is back at once."""
    maximum: float = 30.0
    """The longest pause at all, in seconds: how long a server may be back before it is noticed."""
    healthy_after: float = 60.0
    """The seconds for which a connection must have lasted for the next attempt to count as a first one again.

    Twice the longest pause by default, so that a server which accepts connections and ends them soon is not asked
    more often than one that refuses them.
    """

    def __post_init__(self) -> None:
        for name in ("initial", "maximum", "healthy_after"):
            check_seconds(name, getattr(self, name), may_be_zero=True)
        if self.maximum < self.initial:
            raise ValueError(f"maximum must be at least initial, which is {self.initial!r}, not {self.maximum!r}")

    def delay(self, attempt: int, random: Callable[[], float] = random.random) -> float:
        """Return how long to wait before an attempt, in seconds.

        Args:
            attempt: which one it is since the connection was lost, from 1 on; any size.
            random: returns a number from 0 to 1.

        Raises:
            ValueError: the attempt is less than 1.
        """
        if attempt < 1:
            raise ValueError(f"attempt must be 1 or more, not {attempt!r}")
        return random() * min(self.maximum, _doubled(self.initial, attempt - 1))


def _doubled(seconds: float, times: int) -> float:
    try:
        return math.ldexp(seconds, times)
    except OverflowError:
        return math.inf
