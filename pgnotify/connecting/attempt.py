"""One attempt to connect, which can be abandoned before the driver has finished."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pgnotify.connecting.source import Source
from pgnotify.program.interruption import is_interruption
from pgnotify.protocol import Backend
from pgnotify.threads import background


class ConnectAttempt:
    """One attempt to connect, in a thread of its own, since no driver can abandon an attempt that is under way.

    Args:
        source: where the connection comes from.
        done: called in that thread when there is a result.
    """

    def __init__(self, source: Source, done: Callable[[], None]) -> None:
        self._source = source
        self._done = done
        self._lock = threading.Lock()
        self._backend: Backend | None = None
        self._error: BaseException | None = None
        self._abandoned = False
        self.started = time.monotonic()
        self.finished = False
        """Whether there is a result."""

    def start(self) -> None:
        """Begin, once.

        Raises:
            RuntimeError: there are no more threads.
        """
        background(self._run, "pgnotify connecting").start()

    def result(self) -> Backend:
        """Return the backend of the new connection, or raise the error of the attempt."""
        if self._error is not None:
            # Not kept: its traceback refers to this object, and the cycle would keep the driver's socket open.
            error, self._error = self._error, None
            raise error
        assert self._backend is not None, "there is no result yet"
        return self._backend

    def abandon(self) -> None:
        """Give up the attempt. A connection that it opens, or has opened, is closed."""
        with self._lock:
            self._abandoned = True
            backend = self._backend
        if backend is not None:
            _close(backend, self._source)
            self._backend = None  # last: a call that a signal handler has interrupted is made again

    def _run(self) -> None:
        try:
            backend = self._source.open()
        except BaseException as error:
            self._error = error
        else:
            with self._lock:
                abandoned = self._abandoned
                self._backend = None if abandoned else backend
            if abandoned:
                _close(backend, self._source)
        self.finished = True
        self._done()


def _close(backend: Backend, source: Source) -> None:
    if source.can_reconnect:
        try:
            source.discard(backend)
        except Exception as error:  # nobody has used it
            if is_interruption(error):
                raise
