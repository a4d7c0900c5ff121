"""A server, a driver and a backend in one, in memory: what the runner and the handler are tested on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pgnotify.errors import ConnectionLost
from pgnotify.notification import Notification
from pgnotify.protocol import Backend
from pgnotify.waiting import Wakeup, wait_readable
from tests.helpers.waiting import IN_MEMORY


class CannedError(Exception):
    """The DatabaseError of the canned driver."""


class Canned(Backend):
    """Listens, notifies, and does in the midst of its calls what a test says.

    What no driver could bear (two calls at once, a wait that nothing ends) is remembered as a
    violation, since an error here may be caught above; the fixture ``backend`` looks at it.
    """

    def __init__(self, patience: float = IN_MEMORY) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.callers: list[int] = []
        """The threads of `calls`."""
        self.listened: set[str] = set()
        self.arrived: deque[Notification] = deque()
        self.batch_size = 300
        self.sent: list[tuple[str, str]] = []
        self.waits: list[bool] = []
        """What each wait has returned."""
        self.closed = False
        self.busy = False
        self.DatabaseError = CannedError
        self.waiting = threading.Event()
        """Set while a wait is about to block."""
        self.violations: list[str] = []
        self._during: dict[str, deque[Callable[[], object] | None]] = {}
        self._interrupted_after: dict[str, int] = {}
        self._patience = patience
        self._inside: str | None = None
        self._bell = Wakeup()

    # What a test does.

    def during(self, verb: str, happens: Callable[[], object] | BaseException, nth: int = 1) -> None:
        """In the midst of the nth call of a verb from now, call a function or raise an error."""

        def fail() -> None:
            raise happens  # type: ignore[misc]

        queue = self._during.setdefault(verb, deque())
        queue.extend([None] * (nth - 1 - len(queue)))
        queue.append(fail if isinstance(happens, BaseException) else happens)

    def interrupt_after(self, verb: str, nth: int = 1) -> None:
        """Raise KeyboardInterrupt from the nth call of a verb from now, when its work is done."""
        self._interrupted_after[verb] = nth

    def arrive(self, *notifications: Notification) -> None:
        """Have notifications come in, whoever listens; from any thread."""
        self.arrived.extend(notifications)
        self._bell.wake()

    def verbs(self) -> list[str]:
        """Return what was called, without arguments."""
        return [call[0] for call in self.calls]

    def release(self) -> None:
        """Close the descriptors of the test's own."""
        self._bell.close()

    # What a backend does.

    def listen(self, channel: str) -> None:
        with self._calling("listen", channel):
            self.listened.add(channel)

    def unlisten(self, channel: str) -> None:
        with self._calling("unlisten", channel):
            self.listened.discard(channel)

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        with self._calling("wait", timeout):
            if self.arrived:
                return True
            self.waiting.set()
            limit = self._patience if timeout is None else min(timeout, self._patience)
            ended = wait_readable(self._bell.fileno(), limit, wakeup)
            self.waiting.clear()
            self._bell.clear()
            if not ended and limit == self._patience:
                self._object(f"wait({timeout}) was ended by nothing")
            self.waits.append(ended)
            return ended

    def fetch(self) -> list[Notification]:
        with self._calling("fetch"):
            self._bell.clear()
            return [self.arrived.popleft() for _ in range(min(self.batch_size, len(self.arrived)))]

    def notify(self, channel: str, payload: str = "") -> None:
        with self._calling("notify", channel, payload):
            self.sent.append((channel, payload))
            if channel in self.listened:
                self.arrived.append(Notification(channel, payload, 7))

    def close(self) -> None:
        if not self.closed:
            with self._calling("close"):
                self.closed = True
                self.listened.clear()

    @contextmanager
    def _calling(self, verb: str, *arguments: object) -> Iterator[None]:
        self.calls.append((verb, *arguments))
        self.callers.append(threading.get_ident())
        if self._inside is not None:
            self._object(f"{verb} was called in the midst of {self._inside}")
        if self.closed:
            raise ConnectionLost("the connection is closed")
        self._inside = verb
        try:
            happens = self._during[verb].popleft() if self._during.get(verb) else None
            if happens is not None:
                happens()
            yield
        finally:
            self._inside = None
        self._interrupted_after[verb] = self._interrupted_after.get(verb, 0) - 1
        if self._interrupted_after[verb] == 0:
            raise KeyboardInterrupt

    def _object(self, violation: str) -> None:
        self.violations.append(violation)
        raise AssertionError(violation)
