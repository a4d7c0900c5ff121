"""The doctor's connections: opened as a Listener opens its own, and each call on them has a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Any, TypeVar

from pgnotify.cli.errors import line_of
from pgnotify.connecting.attempt import ConnectAttempt
from pgnotify.connecting.source import Source
from pgnotify.errors import Unanswered
from pgnotify.listener.options import Options
from pgnotify.listener.runner import prepared_handle
from pgnotify.protocol import Backend, query

T = TypeVar("T")

ANSWER_SECONDS = Options.answer_timeout
"""How long the server may take for each answer: as long as for a Listener, by default."""


class Deadline:
    """The end of the whole examination.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return how many seconds are left.

        Raises:
            Unanswered: none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise Unanswered(f"the {self.seconds:g} s were over: give more with --timeout")
        return left


class Link:
    """A connection from a source, opened and guarded as a Listener's is. A context manager.

    Args:
        source: where it comes from.
        deadline: of the examination.
        dsn: the connection string. Errors may quote its secrets.

    Raises:
        Unanswered: the attempt took too long. It is abandoned.

    Errors of the driver pass through.
    """

    def __init__(self, source: Source, deadline: Deadline, dsn: str) -> None:
        self._source = source
        self._dsn = dsn
        self.deadline = deadline
        started = time.monotonic()
        self.backend = _connected(source, deadline)
        self.seconds = time.monotonic() - started
        """How long it took to connect."""
        try:
            self._handle = prepared_handle(self.backend, source, None, ANSWER_SECONDS)
        except BaseException:
            source.discard(self.backend)
            raise

    def call(self, function: Callable[[Backend], T]) -> T:
        """Call a function with the backend; end it when its time is over.

        Raises:
            Unanswered: it was, and the connection is lost.
        """
        seconds = min(self.deadline.left(), ANSWER_SECONDS)
        with nullcontext() if self._handle is None else self._handle.deadline(seconds):
            return function(self.backend)

    def another(self) -> Link:
        """Return a second session from the same source. It raises the same errors as the first."""
        return Link(self._source, self.deadline, self._dsn)

    def reason_of(self, error: Exception) -> str:
        """Return the message of an error as a clause, without secrets."""
        return line_of(error, [self._dsn]).rstrip(".")

    def rows(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, all texts or None."""
        return self.call(lambda backend: query(backend, sql, parameters))

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(Exception):  # it is lost, and was examined
            self._source.discard(self.backend)
        if self._handle is not None:
            self._handle.close()


def _connected(source: Source, deadline: Deadline) -> Backend:
    seconds = deadline.left()
    done = threading.Event()
    attempt = ConnectAttempt(source, done.set)
    attempt.start()
    if not done.wait(min(seconds, threading.TIMEOUT_MAX)):
        attempt.abandon()
        raise Unanswered(f"no answer within {deadline.seconds:g} s")
    return attempt.result()
