"""Both fronts of the documented handler with one face, so that one suite holds for both.

`NotificationHandler` blocks. `AsyncNotificationHandler` runs here on an event loop in a thread of its own, and a caller
in any other thread waits for the result. The callbacks of the tests are plain functions that block and use the handler:

- on the front "plain", the loop itself calls them, and can do nothing else until they return;
- on the front "coroutine", a coroutine function calls them, and other tasks go on meanwhile.

A test that makes no sense on one of the fronts is marked: ``@pytest.mark.handler_fronts("blocking", why=DELETION)``.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import pgnotify
from pgnotify import AsyncNotificationHandler, NotificationHandler
from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.waiting import wait_readable
from tests import kinds
from tests.helpers.blocking_callbacks import CoroutineCallback, PlainCallback, here
from tests.helpers.waiting import PATIENCE, eventually
from tests.kinds import Kind

Before = Callable[["float | None"], "float | None"]
After = Callable[[bool], object]

FRONTS = ("blocking", "plain", "coroutine")

# Why a test is not for every front.
DELETION = "no task can wait in __del__: a deleted asynchronous handler sends nothing and warns, in any task and thread"
SIGNALS = "a signal handler runs between any two instructions; on a loop, add_signal_handler() runs it in between tasks"
THREADS = "it is about which thread uses the connection; on a loop, tasks take turns, and calls are made in any thread"
FORKS = "the loop's thread does not exist in the child: only what does not wait can be called there"
ONE_TASK = "a loop that is in a plain callback runs no other task, which could ask for something"
STOP_ITERATION = "a coroutine cannot raise StopIteration"
COUNTED = "it counts what the thread of the blocking loop does; the event loop has a test of its own, with other bounds"


def same(timeout: float | None) -> float | None:
    """Change nothing."""
    return timeout


def ignore(_: object) -> None:
    """Do nothing."""


def fronts_of(test: pytest.Function, kind: Kind | None = None) -> list[str]:
    """Return the fronts to run a test on.

    Without a server, on each. With one, on the one that blocks for each kind, and on one of asyncio's for the first
    kind of a driver: the other kinds have the same backend, and the wrappers one that calls it. The noxfile leaves
    asyncio out for the oldest releases, whose backends have been tested by then. With ``PGNOTIFY_TEST_FRONTS=all`` the
    tests run on asyncio on all kinds but Django's, whose connections are bound to their thread.
    """
    marker = test.get_closest_marker("handler_fronts")
    allowed: tuple[str, ...] = FRONTS if marker is None else marker.args
    on_asyncio = [name for name in allowed if name != "blocking"]
    if kind is not None:
        del on_asyncio[1:]
        if kind in kinds.NATIVE:
            return on_asyncio
        wanted = os.environ.get("PGNOTIFY_TEST_FRONTS")
        if wanted == "blocking" or kind.name == "django" or (wanted != "all" and kind not in kinds.FIRST.values()):
            on_asyncio = []
    return [*(name for name in allowed if name == "blocking"), *on_asyncio]


class BlockingFront:
    """The front that blocks, as it is."""

    name = "blocking"
    is_async = False
    wrap = staticmethod(pgnotify.wrap)
    handler_class = NotificationHandler
    connection_class = pgnotify.Connection

    def make(self, *args: Any, **kwargs: Any) -> NotificationHandler:
        """Make a handler."""
        return NotificationHandler(*args, **kwargs)

    def where(self, thread: threading.Thread) -> str:
        """Say, as error messages do, where a handler runs that a thread has called."""
        return f"thread {thread.ident}"

    def around_waits(self, monkeypatch: pytest.MonkeyPatch, before: Before = same, after: After = ignore) -> None:
        """Call functions around each wait of a backend, but for those that only look: with a time-out of 0.

        Args:
            monkeypatch: undoes it.
            before: gets the time-out, and returns the one to wait for.
            after: gets whether the socket is readable.
        """

        def wait(descriptor: int, timeout: float | None, wakeup: int | None = None) -> bool:
            if timeout == 0:
                return wait_readable(descriptor, timeout, wakeup)
            readable = wait_readable(descriptor, before(timeout), wakeup)
            after(readable)
            return readable

        monkeypatch.setattr("pgnotify.backends._driver.wait_readable", wait)


class AsyncFront:
    """The front on asyncio.

    Args:
        name: "plain" or "coroutine".
    """

    is_async = True
    handler_class = AsyncNotificationHandler
    connection_class = pgnotify.AsyncConnection

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = asyncio.new_event_loop()
        self.faults: list[dict[str, Any]] = []
        """What the loop was told of, such as an exception that was never retrieved."""
        self.connections: list[Any] = []
        """Those of asynchronous drivers; they are closed at the end."""
        self._made: list[AsyncNotificationHandler] = []
        self._process = os.getpid()
        self._ends = False
        self.loop.set_exception_handler(lambda _, fault: self.faults.append(fault))
        self._thread = threading.Thread(target=self._run, daemon=True, name="the loop")
        self._thread.start()

    def make(self, *args: Any, **kwargs: Any) -> Face:
        """Make a handler with the face of the one that blocks."""
        bound = inspect.signature(AsyncNotificationHandler).bind(*args, **kwargs)
        bound.arguments["callback"] = self.callback(bound.arguments["callback"])
        db = bound.arguments["db"]
        bound.arguments["db"] = getattr(db, "native", db)
        return self.face(AsyncNotificationHandler(*bound.args, **bound.kwargs), db)

    def face(self, handler: AsyncNotificationHandler, db: Any = None) -> Face:
        """Return the face of a handler, which is closed at the end.

        Args:
            handler: the handler.
            db: what the test has passed as its connection, if that is not the handler's.
        """
        self._made.append(handler)
        return Face(self, handler, db)

    def wrap(self, connection: Any) -> ConnectionFace:
        """Wrap a connection."""
        native = getattr(connection, "native", connection)
        return ConnectionFace(self, self.run(lambda: _soon(pgnotify.wrap_async, native)))

    def callback(self, function: Any) -> Any:
        """Return what the loop calls in place of a function that may block."""
        if not callable(function):
            return function
        return CoroutineCallback(function) if self.name == "coroutine" else PlainCallback(function)

    def where(self, thread: threading.Thread) -> str:
        """Say, as error messages do, where a handler runs that a thread has called."""
        return f"task {thread.name!r}"

    def around_waits(self, monkeypatch: pytest.MonkeyPatch, before: Before = same, after: After = ignore) -> None:
        """Do the same on the event loop, where a wait may go on after what has arrived was delivered."""
        limit, goes_on = LoopWakeup.limit, LoopWakeup._goes_on

        def ends(wakeup: LoopWakeup, waiter: asyncio.Future[bool]) -> bool:
            after(True)
            return goes_on(wakeup, waiter)

        monkeypatch.setattr(LoopWakeup, "limit", lambda wakeup, timeout: limit(wakeup, before(timeout)))
        monkeypatch.setattr(LoopWakeup, "_goes_on", ends)

    def run(self, make: Callable[[], Awaitable[Any]], face: Face | None = None) -> Any:
        """Run a coroutine in a task, and wait for its result. In a callback, it runs in the task that called that."""
        visit = getattr(here, "visit", None)
        if visit is not None:
            return visit.ask(make)
        if os.getpid() != self._process:
            return asyncio.run(_awaited(make))
        call = Call(make, threading.current_thread().name, face)
        _calls[threading.get_ident()] = call
        try:
            return asyncio.run_coroutine_threadsafe(call.run(), self.loop).result(PATIENCE)
        finally:
            _calls.pop(threading.get_ident(), None)

    def end(self) -> None:
        """Close the handlers, and the loop. Nothing may be left on it."""
        for handler in self._made:
            with suppress(Exception):  # lost, or inside a transaction that the test has left open
                self.run(handler.close)
        for connection in self.connections:
            with suppress(Exception):
                connection.close()
        try:
            eventually(lambda: len(asyncio.all_tasks(self.loop)) == 0, "no task is left", patience=1)
        finally:
            self._ends = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(PATIENCE)
        assert self.faults == []

    def _run(self) -> None:
        while not self._ends:
            # A KeyboardInterrupt of a task ends the loop; as asyncio.run() would, go on.
            with suppress(KeyboardInterrupt):
                self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class Face:
    """An `AsyncNotificationHandler` with the methods of a `NotificationHandler`, which wait."""

    def __init__(self, front: AsyncFront, handler: AsyncNotificationHandler, db: Any = None) -> None:
        self.__dict__.update(front=front, handler=handler, _db=db)

    @property
    def db(self) -> Any:
        return self.handler.db if self._db is None or self.handler.db is None else self._db

    def __call__(self) -> None:
        return self.front.run(self.handler, self)

    def listen(self) -> None:
        return self.front.run(self.handler.listen)

    def unlisten(self) -> None:
        return self.front.run(self.handler.unlisten)

    def notify(self, db: Any = None, *args: Any, **kwargs: Any) -> None:
        return self.front.run(lambda: self.handler.notify(getattr(db, "native", db), *args, **kwargs))

    def close(self) -> None:
        return self.front.run(self.handler.close)

    def _do(self, make: Callable[[], Any]) -> None:
        return self.front.run(lambda: self.handler._do(make))

    @property
    def callback(self) -> Any:
        return getattr(self.handler.callback, "function", self.handler.callback)

    @property
    def is_waiting(self) -> bool:
        """Whether its loop waits."""
        runner = self.handler._runner
        return runner is not None and runner.wakeup._waiter is not None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handler, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.handler, name, self.front.callback(value) if name == "callback" else value)

    def __enter__(self) -> Face:
        self.front.run(self.handler.__aenter__)
        return self

    def __exit__(self, *error: Any) -> None:
        self.front.run(lambda: self.handler.__aexit__(*error))

    def __repr__(self) -> str:
        return repr(self.handler)


class ConnectionFace:
    """An `AsyncConnection` that makes handlers with a face."""

    def __init__(self, front: AsyncFront, connection: pgnotify.AsyncConnection) -> None:
        self.front = front
        self.native = connection

    def notification_handler(self, event: str, callback: Any, *args: Any, **kwargs: Any) -> Face:
        """See `pgnotify.AsyncConnection.notification_handler`."""
        made = self.native.notification_handler(event, self.front.callback(callback), *args, **kwargs)
        return self.front.face(made)

    def connection_handler(self, event: str, callback: Any, *args: Any, **kwargs: Any) -> Face:
        """See `pgnotify.AsyncConnection.connection_handler`."""
        return self.front.face(self.native.connection_handler(event, self.front.callback(callback), *args, **kwargs))


@contextmanager
def opened(name: str) -> Iterator[BlockingFront | AsyncFront]:
    """Open a front."""
    if name == "blocking":
        yield BlockingFront()
        return
    front = AsyncFront(name)
    yield front
    front.end()


# The calls of threads.


class Call:
    """A coroutine that runs in a task of its own, for a thread that waits."""

    def __init__(self, make: Callable[[], Awaitable[Any]], task_name: str, face: Face | None) -> None:
        self.make = make
        self.task_name = task_name
        self.face = face
        self.has_begun = False

    async def run(self) -> Any:
        """Await it."""
        task = asyncio.current_task()
        assert task is not None
        task.set_name(self.task_name)
        self.has_begun = True
        return await self.make()


_calls: dict[int, Call] = {}
"""By the thread that waits."""


def call_of(thread: threading.Thread) -> Call | None:
    """Return the call on a loop that a thread waits for."""
    return _calls.get(thread.ident or 0)


async def _awaited(make: Callable[[], Awaitable[Any]]) -> Any:
    return await make()


async def _soon(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
