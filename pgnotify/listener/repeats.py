"""How a line of the log is written, and how often: a minute has ten of one kind, and the others are counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Hashable
from typing import Any

from pgnotify.listener.gap import Gap
from pgnotify.program.ownership import is_held_here

log = logging.getLogger("pgnotify.listener")

# A reader recognises a flood by ten lines. Whatever makes it, a thousand notifications a second or a server that hangs
# up, the log has no more than that of each kind.
LINES = 10
PERIOD_SECONDS = 60.0


def write(
    level: int,
    name: str,
    message: str,
    *arguments: object,
    exc_info: BaseException | None = None,
    channel: str | None = None,
    attempt: int | None = None,
    gap: Gap | None = None,
) -> None:
    """Write a line to the log; `pgnotify.listener.log` has its fields.

    Args:
        level: as in `logging`.
        name: the listener's, with which the line begins.
        message: as in `logging`, without that name.
        arguments: those of the message.
        exc_info: the error whose traceback follows, if there is one.
        channel: the channel that it is about, if it is about one.
        attempt: how many attempts to connect have failed in a row, if it is about one of them.
        gap: the gap that it is about.
    """
    fields = {"listener": name, "channel": channel, "attempt": attempt, "gap": gap}
    log.log(level, f"%s: {message}", name, *arguments, exc_info=exc_info, extra=fields)


class _Kind:
    """The lines of one kind in the current period, which begins with the first of them."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.count = 0
        self.latest = ""
        self.level = logging.NOTSET
        self.about: dict[str, Any] = {}
        """The fields of the latest line."""


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
        self,
        level: int,
        kind: Hashable,
        message: str,
        *arguments: object,
        exc_info: BaseException | None = None,
        **about: Any,
    ) -> None:
        """Write a line, or count it; see `write` for the other arguments.

        Args:
            level: as in `logging`.
            kind: what it has in common with the lines that it repeats.
            message: as in `logging`, without the listener's name.
            arguments: those of the message.
            exc_info: the error whose traceback follows, if there is one.
            about: the fields of the line.
        """
        now = time.monotonic()
        with self._lock:
            self._end_periods(now - PERIOD_SECONDS)
            lines = self._kinds.setdefault(kind, _Kind(now))
            lines.count += 1
            count = lines.count
            if count > LINES:
                lines.latest, lines.level, lines.about = message % arguments, level, about
                return
        if count == LINES:
            message += f" (others like it are only counted for {PERIOD_SECONDS:.0f} s)"
        write(level, self._name, message, *arguments, exc_info=exc_info, **about)

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
                left_out = lines.count - LINES
                write(lines.level, self._name, "%d more lines like this: %s", left_out, lines.latest, **lines.about)
