"""How much is arriving, and whether a question now would be answered behind a backlog.

An answer comes behind everything that was sent before it, and nothing is delivered while the driver waits for it. On a
link that is saturated, a question would hold up notifications for as long as the backlog takes. A link does not tell
whether it is saturated. So a question waits for a calm moment, unless as much was arriving when one was answered at
once.
"""

from __future__ import annotations

import math

from pgnotify.notification import Plain

# The weight of what has arrived is halved after this time. A level of 16 kB is a steady 110 kB/s.
HALF_LIFE_SECONDS = 0.1
CALM_BYTES = 16_000.0
# If this much is arriving at the moment of a question that is answered at once, the link may carry more.
STEP = 2.0
PROMPT_SECONDS = 0.05
# The level never rises above this many times the calm one, so after the flow it is calm within two half-lives.
HIGHEST = 4.0
# The longest delay of a question. A flow that lasts longer is probably what the link has to carry every day.
LONGEST_DELAY_SECONDS = 60.0
_MARGIN_SECONDS = 0.001  # or rounding could leave it a little too early for ever
_BYTES_AROUND = 25  # a payload: the head of the message, the process ID, a short channel


class Flow:
    """The level of what is arriving, in bytes: the latest ones count in full, older ones less and less."""

    __slots__ = ("_at", "_calm", "_level")

    def __init__(self) -> None:
        self._level = self._at = 0.0
        self._calm = CALM_BYTES

    def arrived(self, count: int, latest: Plain, now: float) -> None:
        """Add this many notifications that were fetched at this moment, of the monotonic clock.

        The latest one stands for all: to look at each payload would cost more than the rest of the step.
        """
        size = count * (_BYTES_AROUND + len(latest[1]))
        self._level = min(self._level_at(now) + size, self._calm * HIGHEST)
        self._at = now

    def seconds_to_calm(self, now: float) -> float:
        """Return when it will be calm if nothing more arrives, in seconds from now; 0 if it is calm."""
        level = self._level_at(now)
        return 0.0 if level <= self._calm else HALF_LIFE_SECONDS * math.log2(level / self._calm) + _MARGIN_SECONDS

    def answered(self, asked_at: float, seconds: float) -> None:
        """Learn from a question that was asked at this moment, and answered after this many seconds."""
        prompt = seconds <= PROMPT_SECONDS
        self._calm = max(self._calm, STEP * self._level_at(asked_at)) if prompt else CALM_BYTES

    def _level_at(self, now: float) -> float:
        return self._level * math.pow(2.0, (self._at - now) / HALF_LIFE_SECONDS)
