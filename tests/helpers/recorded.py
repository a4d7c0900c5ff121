"""A Listener that runs, and all that it has told: tests on real servers wait for that, never for time."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from pgnotify import Backoff, Gap, Listening, Notification, Status
from tests.helpers import notifications
from tests.helpers.listener_fronts import Listener
from tests.helpers.listeners import asks
from tests.helpers.threads import functions_of
from tests.helpers.waiting import PATIENCE, eventually

_log = logging.getLogger("pgnotify.listener")
_numbers = itertools.count(1)


class Pauses(Backoff):
    """Each pause is as long as said, and remembered."""

    def __init__(self, seconds: float = 0.02) -> None:
        super().__init__(seconds, seconds)
        object.__setattr__(self, "attempts", [])  # what `delay` was asked for, in order

    def delay(self, attempt: int, random: Callable[[], float] = lambda: 1.0) -> float:
        """Return the seconds to wait after that many failed attempts."""
        self.attempts.append(attempt)
        return self.initial


class Recorded(logging.Handler):
    """A Listener with a subscription for each channel, which runs in a thread of its own from `start` on.

    A context manager, which fails at the end if the listener cannot be stopped.
    """

    def __init__(self, source: Any, *channels: str, pause: float = 0.02, **options: Any) -> None:
        super().__init__(logging.INFO)
        self.log: list[str] = []
        """Its lines, without its name."""
        self.heard: list[Notification] = []
        self.events: list[Listening] = []
        self.errors: list[Exception] = []
        self.states: list[str] = []
        self.checks = 0
        """How many heartbeats were answered."""
        self.pauses = Pauses(pause)
        self.name_of_it = f"recorded {os.getpid()} {next(_numbers)}"
        recorded: dict[str, Any] = {
            "on_listening": self.events.append,
            "on_error": lambda error, _: self.errors.append(error),
            "observer": self,
            "backoff": self.pauses,
            "name": self.name_of_it,
        }
        self.listener = Listener(source, **recorded | options)
        for channel in channels:
            self.listener.subscribe(channel, self.heard.append)

    # What it has told.

    @property
    def status(self) -> Status:
        """How the listener stands."""
        return self.listener.status()

    @property
    def gaps(self) -> list[Gap]:
        """Those that were announced."""
        return [event.gap for event in list(self.events) if event.gap is not None]

    @property
    def payloads(self) -> list[str]:
        """Of what was heard."""
        return notifications.payloads(list(self.heard))

    def lines(self, word: str) -> list[str]:
        """Return the lines of the log that have a word in them."""
        return [line for line in list(self.log) if word in line]

    # Waiting for it.

    def start(self) -> Recorded:
        """Start the listener; return when it listens, or has failed to."""
        self.listener.start()
        return self

    def until(self, condition: Callable[[], object]) -> None:
        """Return as soon as something is true; fail with all that was told if that takes too long."""
        __tracebackhide__ = True
        try:
            eventually(condition)
        except AssertionError:
            raise AssertionError(f"it did not become true; {self._told()}") from None

    def until_back(self, times: int = 1) -> Gap:
        """Return the latest gap when so many were announced."""
        __tracebackhide__ = True
        self.until(lambda: len(self.gaps) >= times)
        return self.gaps[-1]

    def until_heard(self, *payloads: str) -> None:
        """Return when these have arrived, in this order, and nothing else since the start."""
        __tracebackhide__ = True
        self.until(lambda: len(self.heard) >= len(payloads))
        assert self.payloads == list(payloads), self._told()

    def until_in(self, function: str) -> None:
        """Return when the thread that reads is in a function of that name."""
        __tracebackhide__ = True
        self.until(lambda: asks(self.listener, function))

    def is_on(self, session: Any) -> bool:
        """Whether the server of a session has the listener's connection."""
        sql = f"SELECT 1 FROM pg_stat_activity WHERE pid = {self.status.server_pid} AND query LIKE '%LISTEN%'"
        return bool(session.sql(sql))

    # What the listener calls.

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line of the log, if it is this listener's."""
        name, _, line = record.getMessage().partition(": ")
        if name == self.name_of_it:
            self.log.append(line)

    def state_changed(self, name: str, state: str) -> None:
        """Keep it."""
        self.states.append(state)

    def received(self, name: str, notifications: int, size: int) -> None:
        """Do nothing."""

    def gap_announced(self, name: str, gap: Gap) -> None:
        """Do nothing: the event has it."""

    def checked(self, name: str, round_trip: float, queue_usage: float | None) -> None:
        """Count it."""
        self.checks += 1

    def __enter__(self) -> Recorded:
        self._level = _log.level
        _log.setLevel(logging.INFO)
        _log.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            assert self.listener.stop(PATIENCE), self._told()
        finally:
            _log.removeHandler(self)
            _log.setLevel(self._level)

    def _told(self) -> str:
        parts = (("log", self.log), ("gaps", self.gaps), ("heard", self.payloads[-20:]), ("errors", self.errors))
        told = "\n".join(f"{name}: {part}" for name, part in parts)
        return f"{self.status}\n{told}\nstack of the thread that reads: {self._stack()}"

    def _stack(self) -> list[str]:
        named = (thread for thread in threading.enumerate() if thread.name == f"{self.name_of_it} listener")
        return next(map(functions_of, named), [])
