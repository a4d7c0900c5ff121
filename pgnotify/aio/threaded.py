"""An asynchronous backend over one that blocks: it waits on the event loop, and asks the server in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from pgnotify.aio.loop import Future, Loop
from pgnotify.async_protocol import AsyncBackend, AsyncWakeup
from pgnotify.atomic import then
from pgnotify.connecting.socket_handle import SocketHandle, handle_of
from pgnotify.errors import ConnectionLost, PgNotifyError
from pgnotify.notification import Notification, Plain, new
from pgnotify.protocol import (
    Backend,
    HasDescriptor,
    Health,
    LimitsRest,
    NamesPool,
    Pool,
    connection_of,
    health_of,
    in_transaction,
    name_session,
    plain_fetch,
    release,
)
from pgnotify.waiting import Wakeup

T = TypeVar("T")

# How long a call that is cancelled is waited for. A server nearly always answers sooner, and then everything is known.
GRACE_SECONDS = 0.1


class _Slot:
    """The call that is under way on one connection, which may have several backends, and several loops in its life.

    It also knows the waits that begin during the call, or go on beside it.
    """

    def __init__(self) -> None:
        self.call: Future[Any] | None = None
        self._ended = threading.Event()
        self.waiting: list[AsyncWakeup] = []
        self.handle: SocketHandle | None = None
        """Cuts off the call, if the task that awaited it was cancelled."""
        self.waits_in_thread = False
        """Whether the call is a wait, which ends when it is woken."""

    def begin(self, loop: Loop, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function in a thread, which keeps the slot alive: a cancelled call may outlive all backends."""
        ended = threading.Event()
        call = loop.in_thread(self._run, ended, function, *arguments)
        self.call, self._ended = call, ended
        call.add_done_callback(self.end)
        return call

    def end(self, call: Future[Any]) -> None:
        """Record that a call has ended. Its answer may have brought notifications, which the driver has by now."""
        if self.call is call:
            self.call = None
            if self.handle is not None:
                self.handle.close()
                self.handle = None
            self.wake()

    async def settle(self, loop: Loop) -> None:
        """Wait until no call is under way."""
        while (call := self.call) is not None:
            # The loop of a call may be closed by now, as after a Ctrl-C. Then nothing settles its future.
            here = call.get_loop() is asyncio.get_running_loop()
            await asyncio.wait((call if here else loop.in_thread(self._ended.wait),))
            self.end(call)

    def abandon(self, call: Future[Any], backend: Backend) -> None:
        """Leave a call alone until it has ended, or is cut off."""
        call.add_done_callback(Future.exception)  # nobody else will look at it
        if call.done():
            self.end(call)
        elif self.handle is None:
            with suppress(Exception):  # there are no more descriptors: it cannot be cut off
                self.handle = handle_of(backend)

    def cut_off(self) -> None:
        """End a call that was abandoned."""
        if self.handle is not None:
            self.handle.shut_down()

    @contextmanager
    def woken(self, wakeup: AsyncWakeup) -> Iterator[None]:
        """Wake a wait that begins here, too."""
        self.waiting.append(wakeup)
        try:
            yield
        finally:
            self.waiting.remove(wakeup)

    def wake(self) -> None:
        """Wake all waits on the connection."""
        for wakeup in self.waiting:
            wakeup.wake()

    def _run(self, ended: threading.Event, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return function(*arguments)
        finally:
            ended.set()


_slots: WeakValueDictionary[int, _Slot] = WeakValueDictionary()
"""By the id() of the connection, which a backend keeps alive."""


def _slot_of(backend: Backend) -> _Slot:
    try:
        key = id(connection_of(backend))
    except ConnectionLost:  # it holds a connection, and no longer has one
        key = id(backend)
    return _slots.setdefault(key, _Slot())


class ThreadedBackend(AsyncBackend):
    """LISTEN and NOTIFY on a connection of a driver that blocks.

    A call that waits for the server runs in a thread. If the task that awaits it is cancelled, and the server has not
    answered after `GRACE_SECONDS`, it runs on. Until it has ended, the connection is busy: other calls on it wait, and
    nothing is fetched. So tasks may share a connection, too.

    Args:
        backend: of the connection.
        loop: the event loop.
    """

    def __init__(self, backend: Backend, loop: Loop) -> None:
        self.blocking = backend
        """The backend that blocks."""
        self._loop = loop
        self._slot = _slot_of(backend)
        self._fetch = plain_fetch(backend)
        self._fetch_into: Callable[[deque[Plain]], object] | None = getattr(backend, "fetch_into", None)
        self._fetch_whole: Callable[[deque[Plain]], bool] | None = getattr(backend, "fetch_whole", None)
        self._rest_is_due = False
        """Whether a message has begun to arrive, whose rest a thread is to wait for."""
        self._early: deque[Plain] = deque()
        """Notifications that were fetched in a thread."""
        self._has_descriptor = isinstance(backend, HasDescriptor)

    # The verbs.

    async def listen(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.listen`."""
        await self._in_thread(self.blocking.listen, channel)

    async def listen_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.ListensMany.listen_many`."""
        await self._in_thread(_offered(self.blocking, "listen_many"), channels)

    async def unlisten(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.unlisten`."""
        await self._in_thread(self.blocking.unlisten, channel)

    async def unlisten_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.UnlistensMany.unlisten_many`."""
        await self._in_thread(_offered(self.blocking, "unlisten_many"), channels)

    async def wait(self, timeout: float | None, wakeup: AsyncWakeup) -> bool:
        """See `pgnotify.async_protocol.AsyncBackend.wait`."""
        if self._slot.call is not None:
            await self.settle()
            return True
        if self._rest_is_due:
            self._rest_is_due = False
            await self._in_thread(self._fetch_rest)
            return True
        if self.has_news():
            await asyncio.sleep(0)  # if this goes on and on, other tasks still have their turn
            return True
        if not self._has_descriptor:
            looks_only = timeout is not None and timeout <= 0
            return await wakeup.wait(0) if looks_only else await self._wait_in_thread(timeout, wakeup)
        with self._slot.woken(wakeup):
            return await wakeup.wait_readable(self.fileno(), timeout)

    def has_news(self) -> bool:
        """See `pgnotify.async_protocol.HasNews.has_news`."""
        return self._slot.call is not None or self._rest_is_due or bool(self._early) or self.blocking.wait(0)

    def fetch(self) -> list[Notification]:
        """See `pgnotify.protocol.Backend.fetch`."""
        return [new(Notification, plain) for plain in self.fetch_plain()]

    def fetch_plain(self) -> Sequence[Plain]:
        """See `pgnotify.protocol.FetchesPlain.fetch_plain`."""
        queue: deque[Plain] = deque()
        self.fetch_into(queue)
        return list(queue)

    def fetch_into(self, queue: deque[Plain]) -> None:
        """See `pgnotify.protocol.FetchesInto.fetch_into`; a message that has not arrived in full is left to `wait`."""
        if self._slot.call is not None:
            return  # and wait() waits for its end
        if self._early:
            queue.extend(then(list(self._early), self._early.clear))
        elif self._fetch_whole is not None:
            self._rest_is_due = self._fetch_whole(queue)
        elif self._fetch_into is not None:
            self._fetch_into(queue)
        else:
            queue.extend(self._fetch())

    async def notify(self, channel: str, payload: str = "") -> None:
        """See `pgnotify.protocol.Backend.notify`."""
        await self._in_thread(self.blocking.notify, channel, payload)

    async def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """See `pgnotify.protocol.NotifiesMany.notify_many`."""
        await self._in_thread(_offered(self.blocking, "notify_many"), list(notifications))

    async def close(self) -> None:
        """See `pgnotify.protocol.Backend.close`. A call that was cancelled is cut off."""
        self._slot.cut_off()
        await self._in_thread(self.blocking.close)

    # The capabilities. Those that the backend does not offer raise NotImplementedError, and callers do without.

    async def check(self) -> Health | None:
        """Ask for the server's state; see `pgnotify.protocol.health_of`."""
        return await self._in_thread(health_of, self.blocking)

    async def query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> list[tuple[str | None, ...]]:
        """See `pgnotify.protocol.Queries.query`."""
        return await self._in_thread(_offered(self.blocking, "query"), sql, parameters, prepare, joins)

    async def name_session(self, name: str) -> None:
        """See `pgnotify.protocol.name_session`."""
        await self._in_thread(name_session, self.blocking, name)

    async def release(self) -> None:
        """See `pgnotify.protocol.release`."""
        await self._in_thread(release, self.blocking)

    async def end(self) -> None:
        """See `pgnotify.protocol.Ends.end`. A call that was cancelled is cut off."""
        self._slot.cut_off()
        await self._in_thread(_offered(self.blocking, "end"))

    def limit_rest(self, seconds: float) -> None:
        """See `pgnotify.protocol.LimitsRest.limit_rest`."""
        if isinstance(self.blocking, LimitsRest):
            self.blocking.limit_rest(seconds)

    def fileno(self) -> int:
        """See `pgnotify.protocol.HasDescriptor.fileno`."""
        if not self._has_descriptor:
            raise NotImplementedError(f"{type(self.blocking).__qualname__} does not offer fileno")
        descriptor: int = self.blocking.fileno()  # type: ignore[attr-defined]
        return descriptor

    @property
    def server_pid(self) -> int:
        """See `pgnotify.protocol.NamesServerPid.server_pid`."""
        pid: int = _offered(self.blocking, "server_pid")
        return pid

    @property
    def connection(self) -> object:
        """See `pgnotify.protocol.connection_of`."""
        return connection_of(self.blocking)

    @property
    def pool(self) -> Pool | None:
        """See `pgnotify.protocol.NamesPool.pool`."""
        return self.blocking.pool if isinstance(self.blocking, NamesPool) else None

    @property
    def DatabaseError(self) -> type[Exception]:
        """See `pgnotify.protocol.NamesDatabaseError`."""
        error: type[Exception] = getattr(self.blocking, "DatabaseError", PgNotifyError)
        return error

    # One call at a time.

    @property
    def busy(self) -> bool:
        """Whether a call of the connection's is under way."""
        return self._slot.call is not None

    @property
    def in_transaction(self) -> bool:
        """See `pgnotify.protocol.KnowsTransaction.in_transaction`."""
        return in_transaction(self.blocking)

    async def settle(self) -> None:
        """Wait until a call that was cancelled, and is still under way, has ended. Its outcome does not matter."""
        await self._slot.settle(self._loop)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._slot.waits_in_thread:
            self._slot.wake()  # it would wait for the end of that wait
        await self.settle()
        call = self._slot.begin(self._loop, function, *arguments)
        try:
            await asyncio.wait((call,))
        except asyncio.CancelledError:
            with suppress(asyncio.CancelledError):
                await asyncio.wait((call,), timeout=GRACE_SECONDS)
            self._slot.abandon(call, self.blocking)
            raise
        self._slot.end(call)
        result: T = call.result()
        return result

    def _fetch_rest(self) -> None:
        if self._fetch_into is not None:
            self._fetch_into(self._early)
        else:
            self._early.extend(self._fetch())

    async def _wait_in_thread(self, timeout: float | None, wakeup: AsyncWakeup) -> bool:
        """Wait for a connection without a descriptor, in a thread that waits for the wake-up as well."""
        in_thread = Wakeup()
        waiting = self._slot.begin(self._loop, self.blocking.wait, timeout, in_thread.fileno())

        def end_wait(_: object) -> None:
            wakeup.wake()

        waiting.add_done_callback(end_wait)
        waiting.add_done_callback(lambda _: in_thread.close())  # not before: the thread waits for it
        waiting.add_done_callback(Future.exception)  # if this is cancelled, nobody else will look at it
        self._slot.waits_in_thread = True
        try:
            with self._slot.woken(wakeup):
                await wakeup.wait(None)
        finally:
            waiting.remove_done_callback(end_wait)  # it would end the next wait
            self._slot.waits_in_thread = False
            in_thread.wake()
            await self.settle()
        has_come: bool = waiting.result()
        return has_come


def _offered(backend: Backend, name: str) -> Any:
    """Return a method or an attribute that a backend may offer.

    Raises:
        NotImplementedError: it does not.
    """
    offered = getattr(backend, name, None)
    if offered is None:
        raise NotImplementedError(f"{type(backend).__qualname__} does not offer {name}")
    return offered
