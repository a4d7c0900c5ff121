"""The runner of a Listener: it also connects, pauses, and puts a deadline on each answer of the server."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

from pgnotify.connecting.attempt import ConnectAttempt
from pgnotify.connecting.socket_handle import SocketHandle, handle_of
from pgnotify.connecting.source import AnySource, Source
from pgnotify.errors import ConnectionLost, PgNotifyError, TransactionError, Unanswered
from pgnotify.listener.options import Options
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.program.forks import Parents, keep_for_ever
from pgnotify.program.interruption import is_interruption
from pgnotify.program.runner import BlockingRunner
from pgnotify.protocol import Backend, LimitsRest, release, server_pid_of
from pgnotify.waiting import Wakeup, wait_readable

# A connect function of the user's may have no time-out. A driver may ignore the connect_timeout of a connection string,
# as psycopg2 does if it has a wait callback, which eventlet and psycogreen set.
LONGEST_CONNECT_SECONDS = 60.0
IDLE_SECONDS = 30.0  # before TCP keepalive asks, if there is no heartbeat
UNANSWERED_PROBES = 3  # of TCP keepalive, before the system gives a connection up


class NoConnection(Backend):
    """The backend between two connections: it waits, and refuses everything else."""

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        """Block until the time has passed, or ``wakeup`` becomes readable."""
        assert wakeup is not None, "the runner always has one"
        return wait_readable(wakeup, timeout)

    def listen(self, channel: str) -> None:
        """Refuse."""
        raise _not_connected()

    def unlisten(self, channel: str) -> None:
        """Refuse."""
        raise _not_connected()

    def fetch(self) -> list[Notification]:
        """Refuse."""
        raise _not_connected()

    def notify(self, channel: str, payload: str = "") -> None:
        """Refuse."""
        raise _not_connected()

    def close(self) -> None:
        """Do nothing."""


def prepared_handle(
    backend: object, source: AnySource, heartbeat: float | None, answer_timeout: float
) -> SocketHandle | None:
    """Return a handle of the socket of a listener's connection, with TCP keepalive; None if it has none.

    Raises:
        OSError: there are no more descriptors.
    """
    socket_handle = handle_of(backend)
    if socket_handle is None or not source.keeps_alive:
        return socket_handle
    # A safety net below the heartbeat, which cannot be sent while a callback runs in the reading thread.
    idle = IDLE_SECONDS if heartbeat is None else heartbeat
    try:
        socket_handle.keep_alive(idle, answer_timeout, UNANSWERED_PROBES, UNANSWERED_PROBES * answer_timeout)
    except BaseException:
        socket_handle.close()
        raise
    return socket_handle


def seconds_left(source: AnySource, started: float) -> float | None:
    """Return how many seconds an attempt to connect may still take; None for any number.

    Args:
        source: where the connection comes from.
        started: when the attempt began, of the monotonic clock.

    Raises:
        Unanswered: it has taken too long.
    """
    longest = LONGEST_CONNECT_SECONDS + source.connect_seconds
    if math.isinf(longest):
        return None
    left = started + longest - time.monotonic()
    if left <= 0:
        what = "attempt to connect has not ended" if source.from_dsn else "connect function has not returned"
        raise Unanswered(f"the {what} for {longest:.0f} s")
    return left


def _not_connected() -> ConnectionLost:
    return ConnectionLost("there is no connection at the moment")


class ReconnectingRunner(BlockingRunner):
    """Runs programs on one connection after another. One thread at a time may call `run`.

    Args:
        source: where the connections come from.
        options: the listener's: seconds between heartbeats, and seconds for each answer of the server.
    """

    def __init__(self, source: Source, options: Options) -> None:
        super().__init__(NoConnection())
        self._source = source
        self._heartbeat = options.heartbeat
        self._answer_timeout = options.answer_timeout
        self._attempt: ConnectAttempt | None = None
        self._socket_handle: SocketHandle | None = None
        self.peer = ""
        """Where the latest connection leads to: see `SocketHandle.peer`. Empty before the first."""
        self._connected = False
        self._prepared = False
        """Whether the connection has its handle and its limits."""
        self._calling = False
        self._cut_short = False
        """Whether a signal handler has interrupted the latest statement. The driver may still expect its answer."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, which may be lost."""
        return self._connected

    def prepare_to_wait(self) -> None:
        """Make the wake-up, because a pause between two attempts to connect cannot do without it.

        Raises:
            OSError: there are no more descriptors.
        """
        if self._wakeup is None:
            self._wakeup = Wakeup()

    def abort_call(self, even_the_users: bool = False) -> None:
        """End a call that waits for the server, from another thread, if the listener opened the connection.

        Args:
            even_the_users: end also a call that on_listening makes.
        """
        socket_handle = self._socket_handle
        if (self._calling or even_the_users) and socket_handle is not None and self._source.can_reconnect:
            socket_handle.shut_down()

    def forget_in_child(self, refusal: Callable[[], PgNotifyError]) -> None:
        """Make sure that nothing here can reach the parent's socket. Called in the child after a fork.

        Args:
            refusal: returns the error of everything that is called from now on.
        """
        socket_handle, self._socket_handle = self._socket_handle, None
        # It is not closed: a lock of the driver may be held by a thread of the parent, which does not exist here. It is
        # not deleted either: some drivers warn of that, and some say goodbye.
        keep_for_ever(self.backend)
        if socket_handle is not None:
            # Of a connection of the user's, only our own duplicate is ours to give up.
            socket_handle.forget_in_child() if self._source.can_reconnect else socket_handle.release_in_child()
        self._attempt, self._connected, self._prepared = None, False, False
        self.use(Parents(refusal))
        super().close()

    def close(self) -> None:
        """Release all descriptors. A second call does nothing."""
        self._disconnect()
        super().close()

    def abandon(self) -> None:
        """Release all descriptors, but send nothing on a connection of the user's: another thread may be using it."""
        self._connected = self._connected and self._source.can_reconnect
        self.close()

    def _call(self, action: p.Call) -> object:
        try:
            match action:
                case p.Wait():
                    return super()._call(action)
                case p.Connect(timeout, seeks_primary):
                    self._source.seeks_primary = seeks_primary
                    return self._connect(timeout)
                case p.Disconnect():
                    self._disconnect()
                    return None
            self._calling = True
            try:
                if isinstance(action, p.Fetch):
                    return super()._call(action)  # only waits for the rest of a message that has begun to arrive
                return self._ask(action)
            finally:
                self._calling = False
        except TransactionError as error:
            if self._cut_short and self._source.can_reconnect:
                raise ConnectionLost("a signal handler has interrupted a statement on the connection") from error
            raise

    def _ask(self, action: p.Call) -> object:
        """Run a statement."""
        try:
            with self._answered():
                outcome = super()._call(action)
        except BaseException as error:
            self._cut_short = self._cut_short or is_interruption(error)
            raise
        self._cut_short = False
        return outcome

    def _answered(self) -> AbstractContextManager[None]:
        """Give up the connection if the server is silent for too long before it answers."""
        return nullcontext() if self._socket_handle is None else self._socket_handle.silence(self._answer_timeout)

    def _closed_in_time(self) -> AbstractContextManager[None]:
        return nullcontext() if self._socket_handle is None else self._socket_handle.deadline(self._answer_timeout)

    def _connect(self, timeout: float | None) -> p.Opened | None:
        if self._cut_short and self._source.can_reconnect:
            self._disconnect()
        if not self._connected:
            backend = self._attempted(timeout) if self._source.can_reconnect else self._source.open()
            if backend is None:
                return None
            self.use(backend)
            self._connected = True  # first: if anything fails below, it must be closed
            self._attempt = None
        if not self._prepared:
            if isinstance(self.backend, LimitsRest):
                self.backend.limit_rest(self._answer_timeout)
            self._socket_handle = prepared_handle(self.backend, self._source, self._heartbeat, self._answer_timeout)
            if self._socket_handle is not None:
                self.peer = self._socket_handle.peer
            self._prepared = True
        return p.Opened(self.backend, server_pid_of(self.backend))

    def _attempted(self, timeout: float | None) -> Backend | None:
        attempt = self._attempt or self._begin_attempt()
        if not attempt.finished:
            try:
                left = seconds_left(self._source, attempt.started)
            except Unanswered:
                self._disconnect()
                raise
            self._wait(min((each for each in (left, timeout) if each is not None), default=None))
        if self._attempt is None or not attempt.finished:  # None in a child that was forked meanwhile
            return None
        try:
            return attempt.result()
        except BaseException:  # its own error, or of a signal handler
            attempt.abandon()
            self._attempt = None
            raise

    def _begin_attempt(self) -> ConnectAttempt:
        attempt = ConnectAttempt(self._source, self.wake)
        try:
            attempt.start()
            self._attempt = attempt
        except BaseException:  # of a signal handler, perhaps, and the thread runs
            attempt.abandon()
            raise
        return attempt

    def _disconnect(self) -> None:
        if self._attempt is not None:
            self._attempt.abandon()
            self._attempt = None
        if self._connected and self._source.can_reconnect:
            self._close_backend()
        elif self._connected:
            self._release_the_users()
        self.use(NoConnection())
        self._connected = self._prepared = self._cut_short = False
        if self._socket_handle is not None:
            self._socket_handle.close()
            self._socket_handle = None

    def _close_backend(self) -> None:
        try:
            with suppress(RuntimeError), self._closed_in_time():
                self._source.discard(self.backend)
                return
            # There is no thread for the deadline. So there is no goodbye either, for which it might wait.
            if self._socket_handle is not None:
                self._socket_handle.shut_down()
            self._source.discard(self.backend)
        except Exception as error:  # the connection is lost, or the server forgets it
            if is_interruption(error):
                raise

    def _release_the_users(self) -> None:
        try:
            with self._closed_in_time():
                release(self.backend)
        except Exception as error:  # it is lost, or inside a transaction of the user's
            if is_interruption(error):
                raise
