"""The asynchronous runner of a listener: it also connects, pauses, and puts a deadline on each answer of the server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

from pgnotify.aio.loop import Loop
from pgnotify.aio.runner import AsyncRunner
from pgnotify.aio.source import AsyncAttempt, AsyncSource
from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.async_protocol import release
from pgnotify.connecting.socket_handle import SocketHandle
from pgnotify.errors import ConnectionLost, PgNotifyError, Unanswered
from pgnotify.listener.options import Options
from pgnotify.listener.runner import prepared_handle, seconds_left
from pgnotify.program import actions as p
from pgnotify.program.forks import keep_for_ever
from pgnotify.protocol import LimitsRest, server_pid_of


class AsyncReconnectingRunner(AsyncRunner):
    """Runs programs on one connection after another; see `pgnotify.listener.runner.ReconnectingRunner`.

    Args:
        loop: the event loop.
        source: where the connections come from.
        options: the listener's: seconds between heartbeats, and seconds for each answer of the server.
    """

    def __init__(self, loop: Loop, source: AsyncSource, options: Options) -> None:
        super().__init__(LoopWakeup(loop))
        self._source = source
        self._heartbeat = options.heartbeat
        self._answer_timeout = options.answer_timeout
        self._attempt: AsyncAttempt | None = None
        self._socket_handle: SocketHandle | None = None
        self.peer = ""
        """Where the latest connection leads to: see `SocketHandle.peer`. Empty before the first."""
        self.is_connected = False
        """Whether there is a connection, which may be lost."""
        self._is_prepared = False
        self._calling = False
        source.use(loop)
        self.refuse(_not_connected)

    def abort_call(self, even_the_users: bool = False) -> None:
        """End a call that waits for the server, if the listener opened the connection.

        Args:
            even_the_users: end also a call that on_listening makes.
        """
        is_calling = self._calling or getattr(self.backend, "busy", False)
        if (is_calling or even_the_users) and self._socket_handle is not None and self._source.can_reconnect:
            self._socket_handle.shut_down()

    async def close(self) -> None:
        """Release the connection. A second call does nothing."""
        await self._disconnect()

    def abandon(self) -> None:
        """Release all descriptors without a goodbye, where no task can wait any more."""
        self.wakeup.forget()
        if self._socket_handle is not None:
            if self._source.can_reconnect:
                self._socket_handle.shut_down()
            self._socket_handle.close()

    def forget_in_child(self, refusal: Callable[[], PgNotifyError]) -> None:
        """Make sure that nothing here can reach the parent's socket. Called in the child after a fork.

        Args:
            refusal: returns the error of everything that is called from now on.
        """
        socket_handle, self._socket_handle = self._socket_handle, None
        keep_for_ever(self.backend, self._attempt)
        if socket_handle is not None:
            # Of a connection of the user's, only our own duplicate is ours to give up.
            socket_handle.forget_in_child() if self._source.can_reconnect else socket_handle.release_in_child()
        self._attempt, self.is_connected, self._is_prepared = None, False, False
        self.wakeup.forget_in_child()
        self.refuse(refusal)

    async def _wait(self, action: p.Wait, advance: Callable[[], bool]) -> None:
        if self.is_connected:
            await super()._wait(action, advance)
        else:
            await self.wakeup.wait(action.timeout)

    async def _call(self, action: p.Call) -> object:
        match action:
            case p.Connect(timeout, seeks_primary):
                self._source.seeks_primary = seeks_primary
                return await self._connect(timeout)
            case p.Disconnect():
                await self._disconnect()
                return None
        self._calling = True
        try:
            handle = self._socket_handle
            with nullcontext() if handle is None else handle.silence(self._answer_timeout):
                return await super()._call(action)
        finally:
            self._calling = False

    async def _connect(self, timeout: float | None) -> p.Opened | None:
        if not self.is_connected:
            backend = await self._attempted(timeout) if self._source.can_reconnect else await self._source.open()
            if backend is None:
                return None
            self.use(backend)
            self.is_connected = True  # first: if anything fails below, it must be closed
            self._attempt = None
        if not self._is_prepared:
            self._prepare(self.backend)
            self._is_prepared = True
        return p.Opened(self.backend, server_pid_of(self.backend))  # type: ignore[arg-type]

    def _prepare(self, backend: Any) -> None:
        if isinstance(backend, LimitsRest):
            backend.limit_rest(self._answer_timeout)
        self._socket_handle = prepared_handle(backend, self._source, self._heartbeat, self._answer_timeout)
        if self._socket_handle is not None:
            self.peer = self._socket_handle.peer

    async def _attempted(self, timeout: float | None) -> Any:
        attempt = self._attempt = self._attempt or AsyncAttempt(self._source, self.wakeup.wake)
        if not attempt.finished:
            try:
                left = seconds_left(self._source, attempt.started)
            except Unanswered:
                await self._disconnect()
                raise
            await self.wakeup.wait(min((each for each in (left, timeout) if each is not None), default=None))
        if self._attempt is None or not attempt.finished:
            return None
        self._attempt = None
        return attempt.result()

    async def _disconnect(self) -> None:
        attempt, self._attempt = self._attempt, None
        self.wakeup.forget()
        try:
            if attempt is not None:
                await attempt.abandon()
            if self.is_connected:
                await self._release_backend()
        finally:
            self.refuse(_not_connected)
            self.is_connected = self._is_prepared = False
            handle, self._socket_handle = self._socket_handle, None
            if handle is not None:
                handle.close()

    async def _release_backend(self) -> None:
        """Close the connection, or leave the user's own one to its next user, in time."""
        handle = self._socket_handle
        # After an error it is lost, or the server forgets it, or it is inside a transaction of the user's.
        with suppress(Exception), nullcontext() if handle is None else handle.deadline(self._answer_timeout):
            if self._source.can_reconnect:
                await self._source.discard(self.backend)
            else:
                await release(self.backend)


def _not_connected() -> ConnectionLost:
    return ConnectionLost("there is no connection at the moment")
