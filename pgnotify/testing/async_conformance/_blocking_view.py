"""An asynchronous backend as one that blocks, so that the tests of those apply to it as they are."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from inspect import isawaitable
from typing import Any

from pgnotify.aio.loop import Loop
from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.async_protocol import AsyncBackend
from pgnotify.notification import Notification
from pgnotify.protocol import Backend
from pgnotify.testing.async_conformance._loop_thread import LoopThread
from pgnotify.testing.conformance._tools import holds, not_applicable

COROUTINES = (
    "listen_many",
    "unlisten_many",
    "notify_many",
    "query",
    "check",
    "name_session",
    "release",
    "end",
)
"""The capabilities that are coroutines; the others are in `PLAIN` and `PROPERTIES`."""
PLAIN = ("fetch_plain", "fetch_into", "fileno")
PROPERTIES = ("server_pid", "versions", "connection", "busy", "in_transaction", "DatabaseError")


def blocking_view(backend: AsyncBackend, loop: LoopThread) -> BlockingView:
    """Return a view that offers the same capabilities as a backend does."""
    offered = dir(backend)  # of the class, and of this object
    methods = {name: _awaiting(name) for name in COROUTINES if name in offered}
    methods |= {name: _plainly(name) for name in PLAIN if name in offered}
    properties = {name: property(_attribute(name)) for name in PROPERTIES if name in offered}
    if "pool" in offered:
        properties["pool"] = property(_pool)
    # A class for each set of capabilities: protocols are told from the class, not from its objects.
    cls: type[BlockingView] = type("BlockingView", (BlockingView,), {**methods, **properties})
    return cls(backend, loop)


class BlockingView(Backend):
    """Calls an asynchronous backend on its event loop, from other threads.

    Args:
        backend: the asynchronous one.
        loop: on which its connection was made.
    """

    def __init__(self, backend: AsyncBackend, loop: LoopThread) -> None:
        self.asynchronous = backend
        """The backend itself."""
        self.loop = loop
        self._pools: dict[int, _PoolView] = {}

    def listen(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.listen`."""
        self.awaited("listen", channel)

    def unlisten(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.unlisten`."""
        self.awaited("unlisten", channel)

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        """See `pgnotify.protocol.Backend.wait`."""
        ended: bool = self.loop.call(self.wait_on_the_loop, timeout, wakeup)
        return ended

    def fetch(self) -> list[Notification]:
        """See `pgnotify.protocol.Backend.fetch`."""
        fetched: list[Notification] = self.plain("fetch")
        return fetched

    def notify(self, channel: str, payload: str = "") -> None:
        """See `pgnotify.protocol.Backend.notify`."""
        self.awaited("notify", channel, payload)

    def close(self) -> None:
        """See `pgnotify.protocol.Backend.close`."""
        self.awaited("close")

    def awaited(self, name: str, *arguments: object, **named: Any) -> Any:
        """Call a coroutine of the backend, and wait for its end."""
        return self._offered(partial(coroutine_of, **named), name, arguments)

    def plain(self, name: str, *arguments: object) -> Any:
        """Call a method of the backend that is not a coroutine, in the loop's thread."""
        return self._offered(_called_plainly, name, arguments)

    def attribute(self, name: str) -> Any:
        """Return an attribute of the backend, as read in the loop's thread."""
        return self._offered(getattr, name, ())

    def _offered(self, call: Callable[..., Any], name: str, arguments: tuple[object, ...]) -> Any:
        try:
            return self.loop.call(call, self.asynchronous, name, *arguments)
        except NotImplementedError as error:  # raised by a backend around another one that cannot
            raise not_applicable(f"the backend does not offer {name}") from error

    async def wait_on_the_loop(self, timeout: float | None, descriptor: int | None) -> bool:
        """Do the same as `wait`, for the loop's thread."""
        loop = Loop()
        wakeup = ConfinedWakeup(loop)
        reader = None if descriptor is None else loop.watch(descriptor, wakeup.wake)
        try:
            if reader is not None:
                if reader.is_readable():
                    wakeup.wake()
                reader.resume()
            return await self.asynchronous.wait(timeout, wakeup)
        finally:
            if reader is not None:
                reader.close()
            wakeup.forget()
            wakeup.refuse_other_threads()


class ConfinedWakeup(LoopWakeup):
    """Notices calls of other threads, where a backend must use the loop's ``call_soon_threadsafe()``.

    Args:
        loop: the event loop.
    """

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self._was_called_elsewhere = False

    def wake(self) -> None:
        """See `pgnotify.async_protocol.AsyncWakeup.wake`."""
        if self._loop.is_running_here():
            super().wake()
        else:
            self._was_called_elsewhere = True
            self.wake_from_anywhere()  # the test is to end all the same

    def refuse_other_threads(self) -> None:
        """Fail if there was such a call."""
        holds(
            not self._was_called_elsewhere,
            "wakeup.wake() was called in another thread: that must have the loop call it, by call_soon_threadsafe()",
        )


class _PoolView:
    def __init__(self, pool: Any, loop: LoopThread) -> None:
        self._pool = pool
        self._loop = loop

    def putconn(self, connection: object) -> None:
        """See `pgnotify.protocol.Pool.putconn`."""
        self._loop.call(self._pool.putconn, connection)


def coroutine_of(backend: AsyncBackend, name: str, *arguments: object, **named: Any) -> Coroutine[Any, Any, Any]:
    """Call a method that must be a coroutine function, for the loop's thread; return what to await."""
    result = getattr(backend, name)(*arguments, **named)
    holds(isawaitable(result), f"{name}() returned {result!r}: it must be a coroutine function")
    coroutine: Coroutine[Any, Any, Any] = result
    return coroutine


def _called_plainly(backend: AsyncBackend, name: str, *arguments: object) -> Any:
    result = getattr(backend, name)(*arguments)
    if isawaitable(result):
        getattr(result, "close", lambda: None)()  # it will never be awaited
        raise AssertionError(f"{name}() returned an awaitable: it must be a plain method, which never waits")
    return result


def _awaiting(name: str) -> Callable[..., Any]:
    return lambda view, *arguments, **named: view.awaited(name, *arguments, **named)


def _plainly(name: str) -> Callable[..., Any]:
    return lambda view, *arguments: view.plain(name, *arguments)


def _attribute(name: str) -> Callable[[BlockingView], Any]:
    return lambda view: view.attribute(name)


def _pool(view: BlockingView) -> _PoolView | None:
    pool = view.attribute("pool")
    if pool is None:
        return None
    return view._pools.setdefault(id(pool), _PoolView(pool, view.loop))
