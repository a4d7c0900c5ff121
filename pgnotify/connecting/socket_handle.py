"""Access to a connection's socket from outside the driver, to end calls that the driver itself cannot end.

A driver that waits for the server holds its lock, and some drivers notice no signal until the server has answered. But
any thread may shut down the socket below. The call then ends at once, as if the server were gone.
"""

from __future__ import annotations

import _socket
import errno
import functools
import math
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from types import TracebackType
from typing import Any

from pgnotify.connecting.silence import until_silent
from pgnotify.connecting.watchdog import Patience, Watch, until, watchdog
from pgnotify.errors import ConnectionLost, Unanswered
from pgnotify.protocol import HasDescriptor
from pgnotify.threads import original

# Linux's own limits: for idle and interval (MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL of its tcp.h), and for count.
_MOST_SECONDS = 32767
_MOST_PROBES = 127

# A descriptor that was closed, and one that is not a socket's. Any other error means that the system lacks something.
_NO_SOCKET = (errno.EBADF, errno.ENOTSOCK)


class SocketHandle:
    """A duplicate of a connection's descriptor, through which any thread can shut the connection down.

    Its number stays ours until `close`, whatever the driver does with its own. If the driver closes its descriptor
    without a goodbye to the server, the system keeps the socket open until `close`.

    Args:
        descriptor: the descriptor of the connection's socket. It remains the driver's.

    Raises:
        OSError: the descriptor is closed, or is not a socket's.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pid = os.getpid()
        # Reentrant, and shut_down() never waits for it: a signal handler may call that at any moment. It is the
        # system's, because the thread of the watchdog takes it, which is not a green one.
        self._lock = original("_thread", "RLock")()
        self._was_shut_down = False
        self._socket = _duplicate(descriptor)
        watchdog.stay_for(self)

    @property
    def was_shut_down(self) -> bool:
        """Whether the connection was shut down through this handle, by any thread."""
        return self._was_shut_down

    @property
    def peer(self) -> str:
        """Where the connection leads to: host:port, or the path of a Unix socket; empty if the system does not say."""
        try:
            name = self._socket.getpeername()
        except OSError:  # it has ended
            return ""
        if not isinstance(name, tuple):
            return str(name)
        host, port = name[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def shut_down(self) -> None:
        """End the connection: every call that waits for the server fails, in every thread, now and later.

        May be called from any thread and from signal handlers: it never blocks and raises no OSError. It does nothing
        the second time, after `close`, or in a forked child, since the connection is the parent's.
        """
        self._shut_down_first()

    def _shut_down_first(self) -> bool:
        """Shut down the connection, and return whether this call was the first to do so."""
        # Without the lock, the number could be closed and reused between the check and the shutdown.
        acquired: list[bool] = []
        try:
            acquired.extend(
                map(self._lock.acquire, (False,))
            )  # in C, so that a signal handler that raises leaves it free
            if acquired == [False]:
                return False  # another thread is shutting it down, or closing it, and then no call waits on it any more
            if self._was_shut_down or self._socket.fileno() < 0 or os.getpid() != self._pid:
                return False
            self._was_shut_down = True  # set first: the thread that the shutdown wakes reads it
            with suppress(OSError):  # the connection has already ended
                self._socket.shutdown(socket.SHUT_RDWR)
            return True
        finally:
            if acquired == [True]:
                self._lock.release()

    def deadline(self, seconds: float | None) -> AbstractContextManager[None]:
        """Shut down the connection if the body takes longer than this; None sets no limit.

        KeyboardInterrupt and its like pass unchanged. So does every error of a body that was in time, or whose
        connection was shut down by somebody else.

        Raises:
            Unanswered: the body took longer. Either it failed because of that, and the driver's own error is the
                __cause__, or it returned at the last moment.
        """
        return nullcontext() if seconds is None else self._limited(seconds, until(seconds))

    def silence(self, seconds: float) -> AbstractContextManager[None]:
        """Shut down the connection if the peer is silent for this long during the body, which waits for its answer.

        What arrives before the answer is a sign of life, as long as it is not too little, or far too much; see
        `pgnotify.connecting.silence`. In all else it is like `deadline`.
        """
        return self._limited(seconds, until_silent(self._socket, seconds))

    @contextmanager
    def _limited(self, seconds: float, patience: Patience) -> Iterator[None]:
        watch = Watch(patience, self._shut_down_first)
        try:
            watchdog.watch(watch)
            yield
        except Exception as error:
            if watchdog.has_bitten(watch):
                raise _unanswered(seconds) from _of_the_driver(error)
            raise
        finally:
            try:
                late = watchdog.has_bitten(watch)
            except BaseException:  # of a signal handler: the watch must not outlive the call
                watchdog.has_bitten(watch)
                raise
        if late:
            raise _unanswered(seconds)

    def keep_alive(self, idle: float, interval: float, count: int, user_timeout: float) -> None:
        """Have the system detect a peer that has vanished silently; on a Unix socket, do nothing.

        Options that the user or the driver has set are kept: an option is set only if it has the value of a new
        socket. `keepalives=0` in a connection string is the value of a new socket, so it is overridden. Options that
        the system does not have are left out. Times are rounded up to whole seconds, at least one.

        Args:
            idle: seconds of silence after which the first probe is sent.
            interval: seconds between two probes.
            count: how many probes may stay unanswered.
            user_timeout: seconds for which sent data may stay unacknowledged.
        """
        if self._socket.family not in (socket.AF_INET, socket.AF_INET6):
            return
        wanted = (
            (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
            (socket.IPPROTO_TCP, "TCP_KEEPIDLE", _whole(idle)),
            (socket.IPPROTO_TCP, "TCP_KEEPINTVL", _whole(interval)),
            (socket.IPPROTO_TCP, "TCP_KEEPCNT", max(1, min(count, _MOST_PROBES))),
            (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _whole(user_timeout) * 1000),  # in milliseconds, see tcp(7)
        )
        for level, name, value in wanted:
            if hasattr(socket, name):
                self._set_if_untouched(level, getattr(socket, name), value)

    def _set_if_untouched(self, level: int, option: int, value: int) -> None:
        default = _of_a_new(self._socket.family, self._socket.type, level, option)
        with suppress(OSError):  # a connection that has ended accepts no options; the next call on it reports that
            if self._socket.getsockopt(level, option) == default:
                self._socket.setsockopt(level, option, value)

    def forget_in_child(self) -> None:
        """Detach a forked child from the parent's connection, so that nothing in the child can reach it.

        libpq says goodbye to the server when its connection is closed or deleted. Some drivers do not check whether
        the connection belongs to the process, so a child that merely exits would end the parent's session. This puts
        /dev/null in place of the driver's socket, and every socket call on that fails.
        """
        if self._socket.fileno() < 0:
            return
        is_open = _is_same(self._descriptor, self._socket.fileno())
        self.release_in_child()  # first: a child without any descriptor to spare has this one then
        if is_open:
            null = os.open(os.devnull, os.O_RDWR)
            try:
                os.dup2(null, self._descriptor, inheritable=False)
            finally:
                os.close(null)

    def release_in_child(self) -> None:
        """Release the socket in a forked child, and leave the driver's as it is. May be called twice."""
        # The old one may be held by a thread that exists only in the parent.
        self._lock = original("_thread", "RLock")()
        self._socket.close()  # nobody else knows this number, so nothing has to take its place

    def close(self) -> None:
        """Release the socket. The connection itself stays as it is. May be called twice."""
        with self._lock:
            self._socket.close()
        watchdog.leave(self)

    def __enter__(self) -> SocketHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def handle_of(backend: Any) -> SocketHandle | None:
    """Return a handle of the socket of a backend's connection; None if it has none.

    Raises:
        OSError: there are no more descriptors. Without a handle, nothing would end a call that nobody answers.
    """
    if not isinstance(backend, HasDescriptor):
        return None
    try:
        return SocketHandle(backend.fileno())
    except (ConnectionLost, NotImplementedError):  # the next call to the server finds out why
        return None
    except OSError as error:
        if error.errno in _NO_SOCKET:
            return None
        raise


def _duplicate(descriptor: int) -> _socket.socket:
    numbers: list[int] = []
    try:
        numbers.extend(map(os.dup, (descriptor,)))  # in C, so that no signal handler that raises loses the number
        blocking = os.get_blocking(numbers[0])
        # gevent and eventlet do not replace this one, and any thread of the system may use it.
        duplicate = _socket.socket(fileno=numbers[0])
    except BaseException:
        for number in numbers:
            with suppress(OSError):  # a socket object that a signal handler has interrupted has closed it
                os.close(number)
        raise
    try:
        # With socket.setdefaulttimeout(), creating a socket object changes the mode, for the driver's descriptor too.
        os.set_blocking(numbers[0], blocking)
    except BaseException:
        duplicate.close()  # it owns the number
        raise
    return duplicate


def _is_same(one: int, other: int) -> bool:
    try:
        return os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:  # the driver has closed it
        return False


def _unanswered(seconds: float) -> Unanswered:
    return Unanswered(f"no answer within {seconds:g} s")


def _of_the_driver(error: Exception) -> BaseException:
    """Return the driver's own error, which a backend may already have wrapped."""
    return error.__cause__ if isinstance(error, ConnectionLost) and error.__cause__ else error


@functools.cache  # a signal handler that raises between the first two calls below leaves a socket open: at most once
def _of_a_new(family: int, kind: int, level: int, option: int) -> int:
    """Return an option of a new socket."""
    with closing(_socket.socket(family, kind)) as fresh:
        return fresh.getsockopt(level, option)


def _whole(seconds: float) -> int:
    return max(1, math.ceil(min(seconds, _MOST_SECONDS)))
