"""A hold on a connection's socket from outside the driver, to end what the driver cannot be asked to end.

A driver that waits for the server holds its lock, and some see no signal before the server has answered. But any
thread may shut down the socket below: the call then ends at once, as if the server had gone.
"""

from __future__ import annotations

import math
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from pgnotify.errors import ConnectionLost, Unanswered

# Linux takes no more for the first two (MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL of its tcp.h), and for the third.
_MOST_SECONDS = 32767
_MOST_PROBES = 127


class SocketHandle:
    """A duplicate of a connection's descriptor, through which the connection can be cut from any thread.

    Its number is ours until `close`, whatever the driver does with its own. Until then, too, the system keeps the
    socket open behind a driver that closes it without a goodbye.

    Args:
        descriptor: of the connection's socket; stays the driver's.

    Raises:
        OSError: it is closed, or none of a socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pid = os.getpid()
        # Reentrant and only ever tried for in shut_down(): a signal handler may call that at any moment.
        self._lock = threading.RLock()
        self._was_shut_down = False
        self._socket = _duplicate(descriptor)

    @property
    def was_shut_down(self) -> bool:
        """Whether the connection was cut here, by anybody."""
        return self._was_shut_down

    def shut_down(self) -> None:
        """End the connection: whatever waits for the server fails, in every thread, now and later.

        For any thread and for signal handlers: waits for nothing and raises no OSError. Does nothing a second time,
        after `close`, and in a forked child, whose parent has the connection.
        """
        self._shut_down_first()

    def _shut_down_first(self) -> bool:
        """Cut, and return whether nobody else had done so."""
        # Else the number could be closed, and be another's, between the look at it and its use.
        if not self._lock.acquire(blocking=False):
            return False  # somebody is cutting it, or closing it, in which case nothing waits there any more
        try:
            if self._was_shut_down or self._socket.fileno() < 0 or os.getpid() != self._pid:
                return False
            self._was_shut_down = True  # first: who is woken looks at it
            with suppress(OSError):  # it had ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)
            return True
        finally:
            self._lock.release()

    @contextmanager
    def deadline(self, seconds: float | None) -> Iterator[None]:
        """Cut the connection if the body takes longer than this; None gives it all the time.

        Raises:
            Unanswered: it took longer, whether it failed therefore (the driver's own error is the __cause__) or
                returned at the last moment. KeyboardInterrupt and the like pass unchanged, and so does every error
                of a body that was in time, or whose connection somebody else has cut.
        """
        if seconds is None:
            yield
            return
        expired: list[bool] = []
        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), lambda: expired.append(self._shut_down_first()))
        timer.name, timer.daemon = "pgnotify-deadline", True
        try:
            timer.start()
            yield
        except Exception as error:
            if _ended_by(timer, expired):
                raise _unanswered(seconds) from _of_the_driver(error)
            raise
        finally:
            late = _ended_by(timer, expired)
        if late:
            raise _unanswered(seconds)

    def keep_alive(self, idle: float, interval: float, count: int, user_timeout: float) -> None:
        """Have the system notice a peer that is gone without a word; does nothing on a Unix socket.

        What the user or the driver has set stays: an option is set only if it has the value of a new socket. So
        `keepalives=0` of a connection string, which is the value of a new socket, is overridden. Options that the
        system has not are left out. Times are rounded up to whole seconds, at least one.

        Args:
            idle: seconds of silence after which the peer is asked whether it is there.
            interval: seconds between two questions.
            count: how many questions may stay unanswered.
            user_timeout: seconds for which what was sent may stay unacknowledged.
        """
        if self._socket.family not in (socket.AF_INET, socket.AF_INET6):
            return
        wanted = (
            (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
            (socket.IPPROTO_TCP, "TCP_KEEPIDLE", _whole(idle)),
            (socket.IPPROTO_TCP, "TCP_KEEPINTVL", _whole(interval)),
            (socket.IPPROTO_TCP, "TCP_KEEPCNT", max(1, min(count, _MOST_PROBES))),
            (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _whole(user_timeout) * 1000),  # milliseconds, says tcp(7)
        )
        with socket.socket(self._socket.family, self._socket.type) as fresh:
            for level, name, value in wanted:
                if hasattr(socket, name):
                    self._set_if_untouched(fresh, level, getattr(socket, name), value)

    def _set_if_untouched(self, fresh: socket.socket, level: int, option: int, value: int) -> None:
        with suppress(OSError):  # a connection that has ended takes no options; the next call on it says so
            if self._socket.getsockopt(level, option) == fresh.getsockopt(level, option):
                self._socket.setsockopt(level, option, value)

    def forget_in_child(self) -> None:
        """After a fork, in the child: let go of the parent's connection, so that nothing here can reach it.

        libpq says goodbye to the server when its connection is closed or deleted, and some drivers do not ask whose
        connection it is: a child that merely ends would end the parent's session. So the driver finds /dev/null
        where its socket was, on which every call of a socket's fails.
        """
        if self._socket.fileno() < 0:
            return
        self._lock = threading.RLock()  # a thread of the parent's may have held the old one, and is not here
        if _is_same(self._descriptor, self._socket.fileno()):
            null = os.open(os.devnull, os.O_RDWR)
            try:
                os.dup2(null, self._descriptor, inheritable=False)
            finally:
                os.close(null)
        self._socket.close()  # a number that only we know of needs nobody in its place

    def close(self) -> None:
        """Let go of the socket; the connection itself is left as it is. May be called twice."""
        with self._lock:
            self._socket.close()

    def __enter__(self) -> SocketHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _duplicate(descriptor: int) -> socket.socket:
    number = os.dup(descriptor)
    try:
        blocking = os.get_blocking(number)
        duplicate = socket.socket(fileno=number)
        # socket.setdefaulttimeout() has each socket object switch this, for the driver too.
        os.set_blocking(number, blocking)
    except BaseException:
        os.close(number)
        raise
    return duplicate


def _is_same(one: int, other: int) -> bool:
    try:
        return os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:  # the driver has closed it
        return False


def _ended_by(timer: threading.Timer, expired: list[bool]) -> bool:
    """End the timer and its thread; return whether it was the one that cut."""
    timer.cancel()
    with suppress(RuntimeError):  # it was not started: interrupted just then, or no more threads
        timer.join()
    return any(expired)


def _unanswered(seconds: float) -> Unanswered:
    return Unanswered(f"no answer within {seconds:g} s")


def _of_the_driver(error: Exception) -> BaseException:
    """Return the driver's own error, which a backend may have wrapped already."""
    return error.__cause__ if isinstance(error, ConnectionLost) and error.__cause__ else error


def _whole(seconds: float) -> int:
    return max(1, math.ceil(min(seconds, _MOST_SECONDS)))
