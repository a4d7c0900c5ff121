"""The methods that a subclass of the asynchronous conformance class fills in, and the tools of its tests.

The tests themselves are in the modules beside this one, and in `pgnotify.testing.conformance`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from contextlib import suppress
from inspect import isawaitable
from typing import Any
from unittest import SkipTest

from pgnotify.async_protocol import AsyncBackend
from pgnotify.errors import UnknownBackend
from pgnotify.protocol import Backend
from pgnotify.registry import async_backend_for
from pgnotify.testing.async_conformance._blocking_view import BlockingView, blocking_view, coroutine_of
from pgnotify.testing.async_conformance._loop_thread import LoopThread, Running
from pgnotify.testing.async_conformance._statements import run_statement
from pgnotify.testing.conformance.kit import Kit

HOOKS = (
    "connect",
    "make_backend",
    "execute",
    "begin",
    "commit",
    "rollback",
    "close",
    "fail",
    "leave_autocommit",
    "pid_of",
    "terminate",
)
"""The methods of `Kit` that run on the event loop, and may be coroutine functions."""

_ASKING: dict[str, tuple[object, ...]] = {
    "listen": ("x",),
    "unlisten": ("x",),
    "listen_many": (["x", "y"],),
    "unlisten_many": (["x", "y"],),
    "notify": ("x", "of a call"),
    "notify_many": ([("x", "of a call"), ("y", "of a call")],),
    "query": ("SELECT $1::pg_catalog.text", ("of a call",)),
    "check": (),
}


def _on_the_loop(method: Callable[..., Any]) -> Callable[..., Any]:
    """Have a method run on the event loop of its test. A caller that runs there itself awaits the result."""

    @functools.wraps(method)
    def call(kit: AsyncKit, *arguments: object) -> Any:
        if kit.loop.is_here():
            return method(kit, *arguments)
        return kit.loop.call(method, kit, *arguments)

    call.runs_on_the_loop = True  # type: ignore[attr-defined]
    return call


class AsyncKit(Kit):
    """The methods to fill in, and the tools of the tests; see `AsyncBackendConformance`.

    Those in `HOOKS` are called on an event loop of the test. They are coroutine functions, or plain ones.
    """

    protocol = "pgnotify.async_protocol"
    promised_in = "AsyncBackend"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in HOOKS:
            method = getattr(cls, name)
            # What Kit itself defines calls others of these methods, as the tests do.
            if method is not getattr(Kit, name) and not hasattr(method, "runs_on_the_loop"):
                setattr(cls, name, _on_the_loop(method))

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Return a new event loop of the kind that the tests run on; by default, asyncio's."""
        return asyncio.new_event_loop()

    @_on_the_loop
    def make_backend(self, connection: Any) -> AsyncBackend:
        """Return the backend for a connection; by default, the one that pgnotify finds for it."""
        backend = async_backend_for(connection)
        if backend is None:
            cls = type(connection)
            raise UnknownBackend(
                f"no asynchronous backend fits a {cls.__module__}.{cls.__qualname__}: register one with "
                "pgnotify.register_async(), or define make_backend(). For a driver that blocks, use BackendConformance"
            )
        return backend

    @_on_the_loop
    async def execute(self, connection: Any, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as a user of the driver does, and return its rows."""
        return await run_statement(connection, statement)

    @_on_the_loop
    async def commit(self, connection: Any) -> None:
        """Commit the transaction."""
        if self.implicit_transactions:
            await _result_of(connection.commit())
        else:
            await _result_of(self.execute(connection, "COMMIT"))

    @_on_the_loop
    async def rollback(self, connection: Any) -> None:
        """Roll back the transaction; it may have failed."""
        if self.implicit_transactions:
            await _result_of(connection.rollback())
        else:
            await _result_of(self.execute(connection, "ROLLBACK"))

    @_on_the_loop
    async def close(self, connection: Any) -> None:
        """Close the connection, as a user of the driver does."""
        await _result_of(connection.close())

    @_on_the_loop
    async def leave_autocommit(self, connection: Any) -> None:
        """Make statements open a transaction by themselves from now on; define this if the driver can do it."""
        if hasattr(connection, "set_autocommit"):
            await _result_of(connection.set_autocommit(False))
        else:
            super().leave_autocommit(connection)

    # Called by pytest, or by `pgnotify.check`.

    def setup_method(self) -> None:
        """Prepare a test, and its event loop."""
        super().setup_method()
        self.loop = LoopThread(self.new_event_loop())
        self._at_end.callback(self.loop.close)

    def hangs(self) -> bool:
        """Return whether a call that the test has made goes on, or holds up the event loop."""
        return super().hangs() or not self.loop.takes_turns(self.patience)

    # Tools of the tests.

    def settle(self) -> None:
        """Let the loop take a few turns."""
        self.loop.takes_turns(self.patience)

    def blocking_backend(self, connection: Any) -> Backend:
        """Return a backend for a connection, as the tests of one that blocks call it."""
        return blocking_view(self.make_backend(connection), self.loop)

    def call(self, backend: Backend, name: str, *arguments: object) -> Callable[[], Any]:
        """Return a function that calls a coroutine function of a backend, for the loop's thread."""
        return functools.partial(coroutine_of, view_of(backend).asynchronous, name, *arguments)

    def waiting_on(self, backend: Backend) -> Callable[[], Any]:
        """Return a function that waits without end, for the loop's thread."""
        return functools.partial(view_of(backend).wait_on_the_loop, None, None)

    def asking(self, backend: Backend) -> dict[str, Callable[[], Any]]:
        """Return a call of each coroutine function that asks the server, by name. Each call has been made once."""
        calls = {}
        for name, arguments in _ASKING.items():
            if hasattr(type(backend), name):
                with suppress(SkipTest):  # the backend is around another one, which cannot
                    getattr(backend, name)(*arguments)
                    calls[f"{name}()"] = self.call(backend, name, *arguments)
        return calls

    def start(self, call: Callable[[], Any], cancelled_after: int | None = None) -> Running:
        """Start a call on the loop; see `LoopThread.start`."""
        running = self.loop.start(call, cancelled_after=cancelled_after)
        self._under_way.append(running)
        return running


def view_of(backend: Backend) -> BlockingView:
    """Return a backend that `AsyncKit.backend_of` has made, as what it is."""
    assert isinstance(backend, BlockingView)
    return backend


async def _result_of(result: Any) -> Any:
    return await result if isawaitable(result) else result
