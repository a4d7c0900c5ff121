"""AsyncListener with the methods of Listener, which block: so the tests of the Listener run on it, too.

An event loop runs in a thread of its own. Each call is made there, and is waited for here. A callback is called on the
loop, as a function; with workers, it is called in threads, by a coroutine function.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import wraps
from typing import Any

from pgnotify import AsyncListener
from tests.helpers.waiting import IN_MEMORY

GRACE_SECONDS = 0.5
"""How much longer than its timeout a stop may take."""

_END = object()


class _Callback(threading.local):
    """Whether this thread is in a callback."""

    is_here = False


_callback = _Callback()


class LoopThread:
    """An event loop in a thread of its own. It keeps its complaints, such as errors of tasks that nobody awaits."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.complaints: list[str] = []
        self.loop.set_exception_handler(lambda loop, context: self.complaints.append(str(context)))
        self._is_over = False
        self.thread = threading.Thread(target=self._run, name="event loop", daemon=True)
        self.thread.start()

    @property
    def is_here(self) -> bool:
        """Whether this is its thread."""
        return threading.current_thread() is self.thread

    def wait_for(self, coroutine: Coroutine[Any, Any, Any], patience: float | None = None) -> Any:
        """Await a coroutine on the loop; return what it returns. After this many seconds, raise TimeoutError."""
        if self.is_here:
            coroutine.close()
            raise RuntimeError("called on the event loop, which cannot wait for itself")
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(patience)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on the loop; return what it returns."""
        if self.is_here:
            return function(*arguments)

        async def call() -> Any:
            return function(*arguments)

        return self.wait_for(call())

    def close(self) -> list[str]:
        """End it; return what is wrong: its complaints, and tasks that still run."""
        self.loop.call_soon_threadsafe(self._end)
        self.thread.join(IN_MEMORY)
        if self.thread.is_alive():
            return ["the event loop is blocked"]
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=IN_MEMORY))
        self.loop.close()
        return [*self.complaints, *(f"still runs: {task}" for task in tasks)]

    def _end(self) -> None:
        self._is_over = True
        self.loop.stop()

    def _run(self) -> None:
        while not self._is_over:
            with suppress(BaseException):  # a task has raised SystemExit, and has it as its outcome
                self.loop.run_forever()


class AsyncFront:
    """An AsyncListener with the face of a Listener."""

    def __init__(self, thread: LoopThread, *arguments: Any, **options: Any) -> None:
        self._thread = thread
        self._has_workers = bool(options.get("workers"))
        self._listener = AsyncListener(*arguments, **options)

    # Reading.

    def run(self) -> None:
        self._wait_for(self._listener.run())

    def start(self) -> None:
        self._wait_for(self._listener.start())

    def stop(self, timeout: float | None = 5.0, drain: bool = False) -> bool:
        """Stop it; on the loop, where a callback calls this, only make the request."""
        stopping = self._listener.stop(timeout, drain)
        if self._thread.is_here or _callback.is_here:
            return self._listener._lifecycle.has_ended
        try:
            return bool(self._wait_for(_wait(stopping), None if timeout is None else timeout + GRACE_SECONDS))
        except (asyncio.TimeoutError, TimeoutError):  # the loop is in a function
            return self._listener._lifecycle.has_ended

    def __enter__(self) -> AsyncFront:
        self._wait_for(self._listener.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._wait_for(self._listener.__aexit__(*error))

    # Receiving.

    def __iter__(self) -> Iterator[Any]:
        return self.notifications()

    def notifications(self, timeout: float | None = None, stop_after: int | None = None) -> Iterator[Any]:
        if timeout == 0 and not self._thread.is_here:  # a thread that looks once would also listen to new channels
            self._wait_for(_settled(self._listener))
        return self._each(self._call(self._listener.notifications, timeout, stop_after))

    def batches(self, size: int = 500, timeout: float | None = None) -> Iterator[BatchFront]:
        batches = self._call(self._listener.batches, size, timeout)
        return (BatchFront(self._thread, batch) for batch in self._each(batches))

    def wait_or_poll(self, healthy: float = 30.0, deaf: float = 1.0) -> Any:
        return self._wait_for(self._listener.wait_or_poll(healthy, deaf))

    def subscribe(self, channel: str, callback: Any) -> SubscriptionFront:
        if self._has_workers and callable(callback):
            callback = _in_thread(callback)
        return SubscriptionFront(self._thread, self._call(self._listener.subscribe, channel, callback))

    def subscription(self, channel: str, queue_size: int | None = None) -> StreamFront:
        return StreamFront(self._thread, self._call(self._listener.subscription, channel, queue_size))

    # Its state.

    @property
    def delivering(self) -> bool:
        return self._listener.delivering

    def status(self) -> Any:
        return self._listener.status()

    def probe(self, timeout: float | None = None) -> Any:
        return self._wait_for(self._listener.probe(timeout))

    def __repr__(self) -> str:
        return repr(self._listener).replace("AsyncListener", "Listener")

    # What tests look at inside.

    @property
    def thread(self) -> threading.Thread:
        """The thread of its event loop."""
        return self._thread.thread

    @property
    def _delivery(self) -> Any:
        return self._listener._lifecycle._delivery.inner

    @property
    def _runner(self) -> Any:
        return self._listener._lifecycle.runner

    def wait_for_callbacks(self) -> None:
        """Wait until no coroutine function runs."""
        self._wait_for(_none_left(self._listener._lifecycle._delivery.tasks))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any], patience: float | None = None) -> Any:
        return self._thread.wait_for(coroutine, patience)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._thread.call(function, *arguments)

    def _each(self, iterator: Any) -> Iterator[Any]:
        while (item := self._wait_for(_next(iterator))) is not _END:
            yield item


class SubscriptionFront:
    """An AsyncSubscription with the face of a Subscription."""

    def __init__(self, thread: LoopThread, subscription: Any) -> None:
        self._thread = thread
        self._subscription = subscription

    def wait_listening(self, timeout: float | None = None) -> bool:
        return bool(self._thread.wait_for(self._subscription.wait_listening(timeout)))

    def cancel(self) -> None:
        self._thread.call(self._subscription.cancel)

    def __enter__(self) -> SubscriptionFront:
        return self

    def __exit__(self, *error: object) -> None:
        self.cancel()

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return other is self._subscription

    def __getattr__(self, name: str) -> Any:
        return getattr(self._subscription, name)

    def __repr__(self) -> str:
        return repr(self._subscription).replace("AsyncSubscription", "Subscription")


class BatchFront:
    """An AsyncBatch with the face of a Batch."""

    def __init__(self, thread: LoopThread, batch: Any) -> None:
        self._thread = thread
        self._batch = batch

    def acknowledge(self, connection: Any) -> None:
        self._thread.wait_for(self._batch.acknowledge(connection))

    def __len__(self) -> int:
        return len(self._batch)

    def __getitem__(self, index: int) -> Any:
        return self._batch[index]


class StreamFront:
    """An AsyncStream with the face of a Stream."""

    def __init__(self, thread: LoopThread, stream: Any) -> None:
        self._thread = thread
        self._stream = stream

    def __enter__(self) -> StreamFront:
        self._thread.wait_for(self._stream.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.wait_for(self._stream.__aexit__(*error))

    def __iter__(self) -> Iterator[Any]:
        return self.items()

    def items(self, timeout: float | None = None, stop_after: int | None = None) -> Iterator[Any]:
        """Yield items, as `Stream.items` does. A step whose time is over is cancelled, and loses nothing."""
        left = stop_after
        while left is None or left > 0:
            item = self._thread.wait_for(_next_in_time(self._stream, timeout))
            if item is _END:
                return
            yield item
            left = None if left is None else left - 1

    def close(self) -> None:
        self._thread.call(self._stream.close)

    def __repr__(self) -> str:
        return repr(self._stream).replace("AsyncStream", "Stream")


async def _wait(awaitable: Any) -> Any:
    return await awaitable


async def _settled(listener: AsyncListener) -> None:
    end = time.monotonic() + IN_MEMORY / 10
    while listener._routes.wanted.due and listener.status().state == "listening" and time.monotonic() < end:
        await asyncio.sleep(0.001)


async def _none_left(tasks: Any) -> None:
    while others := tasks.others():
        await asyncio.wait(others)


async def _next(iterator: Any) -> Any:
    return await anext(iterator, _END)


async def _next_in_time(iterator: Any, timeout: float | None) -> Any:
    try:
        return await asyncio.wait_for(_next(iterator), timeout if timeout is None else max(timeout, 0.001))
    except asyncio.TimeoutError:
        return _END


def _in_thread(callback: Callable[[Any], object]) -> Callable[[Any], Coroutine[Any, Any, object]]:
    """Return a coroutine function that calls a function in a thread."""

    def run(notification: Any) -> object:
        _callback.is_here = True
        try:
            return callback(notification)
        finally:
            _callback.is_here = False

    @wraps(callback)
    async def call(notification: Any) -> object:
        running = asyncio.get_running_loop().run_in_executor(None, run, notification)
        try:
            return await asyncio.shield(running)
        finally:
            await asyncio.wait((running,))  # a thread cannot be cancelled

    return call
