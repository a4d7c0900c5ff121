"""A listener on an event loop under test, in one of the ways to use one."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import pgnotify
from pgnotify import AsyncListener
from pgnotify.aio.stream import AsyncStream
from pgnotify.errors import ConnectionLost
from pgnotify.listener.gap import Gap, Listening, Reason, utc
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.status import Status
from pgnotify.notification import Notification
from tests.ledger.books import Book
from tests.ledger.loops import run
from tests.ledger.participant import (
    BACKOFF,
    DEADLINE,
    HEARTBEAT,
    LONGEST_PAUSE,
    PATIENCE_SECONDS,
    POISON,
    QUEUE_SIZE,
    Participant,
    Setting,
)

T = TypeVar("T")

CTRL_C_ENDS_A_LOOP = sys.version_info >= (3, 11)
"""Whether asyncio.run() cancels its main task at Ctrl-C; before, KeyboardInterrupt is raised anywhere."""

UNDISTURBED = 0.5
"""How many steps of an iteration are not cancelled at a random moment."""
LONGEST_STEP = 0.02
"""Seconds until such a moment, at most."""
LONGEST_VISIT = 60
"""How many steps of a stream that comes and goes, at most."""
FOR_EVER = 10_000.0
_LOOK_SECONDS = 0.005
_RUN = ("async run", "async coroutine")

_making = threading.Lock()  # the clock that listeners read is set for one of them at a time


class AsyncParticipant(Participant):
    """An `AsyncListener`, and then another one on a new event loop whenever the loop is ended; see `Participant`."""

    MODES = ("async iterate", "async run", "async coroutine", "async streams", "async pull", "async visits")
    """async for; run() with functions; run() with coroutine functions; streams; wait_or_poll(); streams that come and
    go, so that channels are listened to and not.

    Steps of iterations and of streams, and calls of wait_or_poll(), are cancelled at random moments.
    """
    OWN = ("async iterate", "async pull")
    QUEUED = ("async iterate", "async coroutine", "async streams", "async pull")
    STREAMS = "async streams"
    HINTS = "async pull"
    VISITS = "async visits"

    def __init__(self, mode: str, setting: Setting, in_main: bool = False) -> None:
        super().__init__(mode, setting, in_main)
        self.listener = self._made()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[Any] | None = None
        self._is_stopping = False
        self._has_ended = threading.Event()
        self._reconnects = 0
        """Those of the listeners before this one."""
        self._lost_at: float | None = None
        """When the loop was ended, by the trial's clock, until the next listener listens."""

    def _made(self) -> AsyncListener:
        setting = self.setting
        own = setting.channels if self.has_own_channels else ()
        with _making, setting.clock.read_by_listeners(self._has_read):
            listener = AsyncListener(
                setting.source,
                *own,
                driver=setting.driver,
                name=f"ledger {self.mode}",
                on_listening=self._on_listening,
                on_error=self._report,
                queue_size=QUEUE_SIZE,
                heartbeat=HEARTBEAT,
                answer_timeout=DEADLINE,
                backoff=BACKOFF,
                **self._more_options,
            )
        for channel in setting.channels if self.way == "async run" else ():
            listener.subscribe(channel, self._receive)
        for channel in setting.channels if self.way == "async coroutine" else ():
            listener.subscribe(channel, self._receive_slowly)
        return listener

    def stop(self) -> bool:
        """End it, in another thread than its own; return whether it has ended. A second call does nothing."""
        self.may_go_on.set()
        self._is_stopping = True
        self.listener.stop(timeout=PATIENCE_SECONDS)
        has_ended = self._loop is None or self._has_ended.wait(PATIENCE_SECONDS)
        if not has_ended:
            self.errors.append(AssertionError(f"stop() has not ended it within {PATIENCE_SECONDS:.0f} s"))
        return has_ended

    def status(self) -> Status:
        """Return that of the present listener."""
        return self.listener.status()

    @property
    def reconnects(self) -> int:
        """How many times all of its listeners have come back."""
        return self._reconnects + self.status().reconnects

    @property
    def _queues(self) -> tuple[Sequence[object], list[Mailbox]]:
        listener = self.listener
        mailboxes = [listener._mailbox, *(each.mailbox for each in listener._routes.subscriptions())]
        return listener._watch.queue, mailboxes

    def lose_subscriptions(self, channels: tuple[str, ...]) -> Callable[[], object]:
        """Have the listener's own session UNLISTEN these behind its back; return what clears up afterwards."""
        self._to_take_away = channels
        listener = self.listener
        poison = self._on_the_loop(lambda: listener.subscribe(POISON, lambda _: None))
        return lambda: self._on_the_loop(poison.cancel)

    def hold_up(self, seconds: float) -> None:
        """Have a function that blocks hold up the event loop."""
        assert self._loop is not None, "it runs"
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def end_loop(self) -> None:
        """End the event loop, as Ctrl-C does in the main thread; a new listener on a new loop follows."""
        assert self._loop is not None, "it runs"
        assert self._main is not None, "it runs"
        self._loop.call_soon_threadsafe(self._main.cancel)

    @property
    def may_lose_its_loop(self) -> bool:
        """True."""
        return True

    def _on_the_loop(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        assert self._loop is not None, "it runs"
        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE_SECONDS)

    # One loop after another.

    def use(self) -> None:
        """Use it in this thread until it is stopped, with a new event loop after the end of each."""
        try:
            while not self._is_stopping:
                self._run_a_loop()
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._has_ended.set()

    def _run_a_loop(self) -> None:
        try:
            run(self._use(), self.setting.loop)
        except KeyboardInterrupt:
            self.struck += 1
        except asyncio.CancelledError:  # by end_loop()
            pass
        if not self._is_stopping:
            self._reconnects += self.listener.status().reconnects
            self.listener = self._made()

    async def _use(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        try:
            async with AsyncExitStack() as stack:
                users = [asyncio.ensure_future(each) for each in await self._users(stack)]
                if self.way not in _RUN:
                    self._tell_of_end()
                self.may_be_struck = self.in_main
                await self._until_ended(users)
        except asyncio.CancelledError:
            self._lost_at = self._lost_at or self._now()
            raise

    async def _until_ended(self, users: list[asyncio.Task[None]]) -> None:
        """Wait for all users. If that is cancelled, have the listener give them everything that has arrived."""
        try:
            await asyncio.wait(users, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            self.may_be_struck = False
            self._lost_at = self._lost_at or self._now()
            if not await self.listener.stop(timeout=PATIENCE_SECONDS, drain=True):
                self.errors.append(AssertionError(f"it was not drained within {PATIENCE_SECONDS:.0f} s"))
            _, left = await asyncio.wait(users, timeout=PATIENCE_SECONDS)
            if left:
                self.errors.append(AssertionError(f"{len(left)} users wait on although it has ended"))
            raise
        finally:
            self.errors += [error for each in users if each.done() and (error := each.exception()) is not None]

    async def _users(self, stack: AsyncExitStack) -> list[Coroutine[Any, Any, None]]:
        """Return what uses the listener, which listens by then, unless it is run()."""
        listener = self.listener
        if self.way in _RUN:
            return [listener.run()]
        await stack.enter_async_context(listener)
        if self.way == "async streams":
            opened = [
                await stack.enter_async_context(listener.subscription(book.channels[0], self._queue_size(book)))
                for book in self.books
            ]
            users = [self._iterate(stream.__anext__, book) for stream, book in zip(opened, self.books, strict=True)]
        elif self.way == "async visits":
            users = [self._visit(channel) for channel in self.setting.channels]
        elif self.way == "async pull":
            users = [self._pull()]
        else:
            users = [self._iterate(listener.notifications().__anext__, self.books[0])]
        return users

    def _tell_of_end(self) -> None:
        """Write down what no listener can tell of: that nobody has listened from the end of the loop before to now."""
        self.listens = True
        lost_at, self._lost_at = self._lost_at, None
        if lost_at is not None:
            for book in self.books:
                gap = Gap(Reason.CONNECTION_LOST, utc(lost_at), utc(self._now()), book.channels)
                self._announce(gap, book)

    def _now(self) -> float:
        return time.time() + self.setting.clock.set_by

    # The users.

    async def _iterate(self, step: Callable[[], Coroutine[Any, Any, Notification | Gap]], book: Book) -> None:
        while True:
            try:
                item = await self._perhaps_cancelled(step)
            except StopAsyncIteration:
                return
            if item is not None:
                self._write(item, book)
                await self._pause(self._is_lazy(book))

    async def _visit(self, channel: str) -> None:
        """Open a stream, take some of its items, and leave it, again and again."""
        while True:
            try:
                stream = self.listener.subscription(channel, QUEUE_SIZE)
                if await self._perhaps_cancelled(stream.__aenter__) is None:
                    continue
            except pgnotify.ListenerClosed:
                return
            book = Book((channel,), since=time.time())
            self.visits.append(book)
            try:
                await self._take(stream, book, self._rng.randint(1, LONGEST_VISIT))
            except StopAsyncIteration:
                return
            finally:
                stream.close()

    async def _take(self, stream: AsyncStream, book: Book, count: int) -> None:
        for _ in range(count):
            item = await self._perhaps_cancelled(stream.__anext__)
            if item is not None:
                self._write(item, book)
                await self._pause()

    async def _pull(self) -> None:
        while True:
            try:
                hint = await self._perhaps_cancelled(lambda: self.listener.wait_or_poll(healthy=FOR_EVER))
            except pgnotify.ListenerClosed:
                return
            if hint is not None:
                self._write(hint, self.books[0])
                await self._pause()

    async def _perhaps_cancelled(self, step: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Return the result of a step, or None if it was cancelled, as may happen at a random moment."""
        if self._rng.random() < UNDISTURBED:
            return await step()
        seconds = self._rng.uniform(0, LONGEST_STEP)
        if self._rng.random() < 0.5:
            return await _within(seconds, step())
        task = asyncio.ensure_future(step())
        await asyncio.wait((task,), timeout=seconds)
        task.cancel()
        await asyncio.wait((task,))
        return None if task.cancelled() else task.result()

    async def _pause(self, is_lazy: bool = False) -> None:
        if is_lazy:
            await asyncio.sleep(self._rng.uniform(0, LONGEST_PAUSE))
        while not self.may_go_on.is_set():
            await asyncio.sleep(_LOOK_SECONDS)

    def _receive(self, notification: Notification) -> None:
        self._write(notification, self.books[0])
        self.may_go_on.wait()  # this holds up the event loop

    async def _receive_slowly(self, notification: Notification) -> None:
        self._write(notification, self.books[0])
        await self._pause(self._rng.random() * QUEUE_SIZE < 1)

    async def _on_listening(self, event: Listening) -> None:
        if event.gap is not None and self.way not in (self.STREAMS, self.HINTS):
            self._announce(event.gap, self.books[0])
        if self.way in _RUN:
            self._tell_of_end()
        if POISON in event.channels:
            await self._take_away(event.connection)

    async def _take_away(self, connection: Any) -> None:
        channels, self._to_take_away = self._to_take_away, ()
        try:
            for channel in channels:
                await pgnotify.wrap_async(connection).unlisten(channel)
        except ConnectionLost:  # another fault was quicker
            return


async def _within(seconds: float, step: Awaitable[T]) -> T | None:
    """Return the result of a step of this task, or None if it takes longer than that."""
    if not hasattr(asyncio, "timeout"):  # Python 3.10
        return await step
    try:
        async with asyncio.timeout(seconds):
            return await step
    except TimeoutError:
        return None
