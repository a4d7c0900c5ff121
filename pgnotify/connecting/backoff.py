"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from pgnotify.limits import check_seconds


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: a pause is random, up to a limit that doubles with each attempt.

    Listeners that lost the same server reconnect spread over the whole pause, not all at once. Marc Brooker compared
    such strategies in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). This one meant the least work
    for clients and server: ``random_between(0, min(cap, base * 2 ** attempt))``.

    Raises:
        ValueError: a value is negative, infinite or not a number, or `maximum` is less than `initial`.
        TypeError: a value is not a number.
    """

    initial: float = 0.25
    """The longest pause before the first attempt, in seconds.

    It is short because a session that was merely terminated can reconnect at once.
    """
    maximum: float = 30.0
    """The longest pause before any attempt, in seconds: how long it may take to notice that a server is back."""
    healthy_after: float = 60.0
    """How long a connection must last, in seconds, for the next attempt to count as a first one again.

    The default is twice the longest pause. A server that accepts connections and soon ends them is then not asked
    more often than a server that refuses them.
    """

    def __post_init__(self) -> None:
        for name in ("initial", "maximum", "healthy_after"):
            object.__setattr__(self, name, check_seconds(name, getattr(self, name), may_be_zero=True))
        if self.maximum < self.initial:
            raise ValueError(f"maximum must be at least initial, which is {self.initial!r}, not {self.maximum!r}")

    def delay(self, attempt: int, random: Callable[[], float] = random.random) -> float:
        """Return how long to wait before an attempt, in seconds.

        Args:
            attempt: the number of the attempt since the connection was lost, counted from 1, without a limit.
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
