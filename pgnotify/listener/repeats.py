"""How often the log repeats itself: of lines of one kind, a minute has ten at most, and the others are counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Hashable

from pgnotify.program.ownership import is_held_here

log = logging.getLogger("pgnotify.listener")

# A reader recognises a flood by ten lines. Whatever makes it, a thousand notifications a second or a server that hangs
# up, the log has no more than that of each kind.
LINES = 10
PERIOD_SECONDS = 60.0


class _Kind:
    """The lines of one kind in the current period, which begins with the first of them."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.count = 0
        self.latest = ""
        self.level = logging.NOTSET


class Repeats:
    """Writes lines of one listener to the log, unless there were many of their kind. Any thread may call it.

    Args:
        name: the listener's, with which each line begins.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.RLock()  # for signal handlers
        self._kinds: dict[Hashable, _Kind] = {}
        """In the order in which they began."""

    def log(
        self, level: int, kind: Hashable, message: str, *arguments: object, exc_info: BaseException | None = None
    ) -> None:
        """Write a line, or count it.

        Args:
            level: as in `logging`.
            kind: what it has in common with the lines that it repeats.
            message: as in `logging`, without the listener's name.
            arguments: those of the message.
            exc_info: the error whose traceback follows, if there is one.
        """
        now = time.monotonic()
        with self._lock:
            self._end_periods(now - PERIOD_SECONDS)
            lines = self._kinds.setdefault(kind, _Kind(now))
            lines.count += 1
            count = lines.count
            if count > LINES:
                lines.latest, lines.level = message % arguments, level
                return
        if count == LINES:
            message += f" (others like it are only counted for {PERIOD_SECONDS:.0f} s)"
        log.log(level, f"%s: {message}", self._name, *arguments, exc_info=exc_info)

    def close(self) -> None:
        """Say how many lines were left out since the last time."""
        with self._lock:
            self._end_periods(time.monotonic())

    def lock_is_held_here(self) -> bool:
        """Return whether this thread holds the lock. If so, it is in a signal handler."""
        return is_held_here(self._lock)

    def forget_in_child(self) -> None:
        """Take another lock in a forked child, where the old one may be held by a thread that does not exist there."""
        self._lock = threading.RLock()
        self._kinds = {}

    def _end_periods(self, began_before: float) -> None:
        while self._kinds:
            kind, lines = next(iter(self._kinds.items()))
            if lines.began > began_before:
                return
            del self._kinds[kind]
            if lines.count > LINES:
                log.log(lines.level, "%s: %d more lines like this: %s", self._name, lines.count - LINES, lines.latest)
