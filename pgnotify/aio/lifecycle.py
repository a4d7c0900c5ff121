"""The life of an AsyncListener: the task that reads, from the first connection to the end, and the tasks that wait."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from pgnotify.aio.changes import Changes
from pgnotify.aio.delivery import AsyncDelivery
from pgnotify.aio.loop import Loop, as_failure
from pgnotify.aio.reconnecting import AsyncReconnectingRunner
from pgnotify.aio.rest import LOOK_EACH_SECONDS, Rest
from pgnotify.aio.source import AsyncSource
from pgnotify.errors import ListenerClosed
from pgnotify.listener.channels import unlisten
from pgnotify.listener.loop import listener_loop
from pgnotify.listener.options import Options
from pgnotify.listener.policy import Policy
from pgnotify.program.forks import forget_after_fork
from pgnotify.program.state import ListenerState, State

# How long the end of the event loop, or an error in the body of `async with`, waits for the goodbye to the server.
PATIENCE_SECONDS = 5.0

# How much of its time a stop leaves for storing how far the consumers are, if coroutine functions do not return.
SECONDS_TO_STORE = 0.5

# The event loop finds the socket readable, then wakes the task, and then that delivers.
TURNS_TO_LOOK = 3

_WHAT = "this listener"


class AsyncLifecycle:
    """Runs the loop in a task of its own, until it is stopped or fails.

    Args:
        options: the listener's.
        policy: the loop's.
        source: where the connections come from.
        delivery: receives notifications and events, and knows the watch and the reporter.
        changes: notified after each change.
    """

    def __init__(
        self, options: Options, policy: Policy, source: AsyncSource, delivery: AsyncDelivery, changes: Changes
    ) -> None:
        self._options = options
        self._policy = policy
        self._source = source
        self._delivery = delivery
        self._watch = delivery.watch
        self._reporter = delivery.reporter
        self.changes = changes
        self._process = os.getpid()
        self._loop: Loop | None = None
        self.runner: AsyncReconnectingRunner | None = None
        """Performs the loop's actions; None until it is first used on an event loop."""
        self._task: asyncio.Task[Exception | None] | None = None
        """The task that reads, or has read. Its result is an error of the first attempt, or None."""
        self.failure: BaseException | None = None
        """The error that has ended the listener, if one has."""
        self._drain = False
        self._rest = Rest(policy, delivery)
        self._is_ending = False
        delivery.fail = self._fail_and_stop
        delivery.wake = self.wake
        delivery.inner.asked = self._wake_reader
        forget_after_fork(self)

    # Reading.

    def begin(self) -> asyncio.Task[Exception | None]:
        """Begin to read, in a task of its own, on the event loop that runs now, unless that was done. Return the task.

        Raises:
            ListenerClosed: it was stopped before, or it belongs to another process.
            RuntimeError: it belongs to another event loop, or none runs here.
        """
        self.check_open()
        if self._loop is None or self.runner is None:
            self._loop = Loop()
            self.runner = AsyncReconnectingRunner(self._loop, self._source, self._options)
        self.check_loop()
        if self._task is None or self._task.done():
            self._task = self._delivery.tasks.start(self._read(self.runner), f"{self._options.title} listener")
            self._task.add_done_callback(lambda _: self.notify_all())
            self._delivery.tasks.reading = self._task
        return self._task

    async def start(self) -> None:
        """Begin to read; return when it listens, or when the first attempt to connect has failed."""
        reading = self.begin()
        try:
            await self.changes.wait(lambda: self._is_attempted or self.is_over or reading.done())
        except BaseException:
            await self.end_soon()
            raise
        _raise_first_failure(reading)
        self.raise_failure()

    async def enter(self) -> None:
        """Connect and listen, however many attempts that takes; see `AsyncListener.__aenter__`."""
        try:
            reading = self.begin()
            await self.changes.wait(lambda: self._watch.is_settled or self.is_over or reading.done())
            _raise_first_failure(reading)
            self.raise_failure()
        except BaseException:
            await self.end_soon()
            raise

    async def run(self) -> None:
        """Read until the listener has ended, and its coroutine functions have; see `AsyncListener.run`."""
        has_begun = self._task is None or self._task.done()
        reading = self.begin()
        if self._delivery.tasks.include(asyncio.current_task()):
            raise RuntimeError("called in a callback of the listener, for whose end it would wait")
        try:
            await asyncio.wait((reading,))
        except asyncio.CancelledError:
            if has_begun:
                await self.end_soon()
            raise
        _raise_first_failure(reading)
        self.raise_failure()

    async def wait_first(self, predicate: Callable[[], object], deadline: float | None) -> bool:
        """Wait until a predicate is true, or the listener has ended. It begins to read if it does not.

        Returns:
            False if the deadline passed first, or the listener was stopped.

        It raises the error that has ended the listener, unless the predicate is true.
        """
        if not self.is_over:
            self.check_loop()
        if predicate():
            return True
        if not self.is_over:
            reading = self.begin()
            if not await self.changes.wait(lambda: predicate() or self.is_over or reading.done(), deadline):
                await self._look()
            if not predicate():
                _raise_first_failure(reading)
        if not predicate():
            self.raise_failure()
            return False
        return True

    async def _look(self) -> None:
        """Let the task that reads take what has arrived at the socket, although there is no more time to wait."""
        for _ in range(TURNS_TO_LOOK):
            await asyncio.sleep(0)

    @property
    def _is_attempted(self) -> bool:
        return self._watch.is_settled or self._reporter.has_failed

    async def _read(self, runner: AsyncReconnectingRunner) -> Exception | None:
        try:
            return await self._read_to_the_end(runner)
        except asyncio.CancelledError:  # by the end of the event loop, or by a stop that has waited long enough
            if self._is_ending:
                runner.abandon()
            else:
                self._rest.deadline = time.monotonic() + PATIENCE_SECONDS
                await self._end(runner)
            raise
        except BaseException as error:  # it ends the event loop, too: no task can wait any more
            self.failure = self.failure or error
            runner.abandon()
            if not self.has_ended:
                self._be_closed()
            raise

    async def _read_to_the_end(self, runner: AsyncReconnectingRunner) -> Exception | None:
        try:
            await runner.run(listener_loop(self._watch, self._policy), self._delivery)
        except Exception as error:
            if not self._watch.ever_listened and not self._reporter.has_failed:
                await self._return_to_idle(runner)
                return error
            await self._fail(runner, error)
        except asyncio.CancelledError as error:
            await self._fail(runner, as_failure(error, "a callback"))
        else:
            await self._end(runner)
        return None

    async def _return_to_idle(self, runner: AsyncReconnectingRunner) -> None:
        """Be as before the start, after an error of the first attempt."""
        await runner.close()
        self._watch.connecting = False
        self._reporter.enter(ListenerState.IDLE)

    async def _fail(self, runner: AsyncReconnectingRunner, error: Exception) -> None:
        """End with an error of the loop."""
        self._be_over(error)
        self._reporter.ended_by(error)
        if error is not self._reporter.raised:  # everything that had arrived is still delivered
            self._rest.deadline = None
            await self._rest.wait_for_callbacks(ends=lambda: self._watch.stop_requested)
        await self._end(runner)

    def _be_over(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self.notify_all()

    def _fail_and_stop(self, error: BaseException) -> None:
        """End with an error that a coroutine function has raised."""
        if isinstance(error, asyncio.CancelledError):
            return
        self.failure = self.failure or error
        self._reporter.ended_by(error)
        self.request_stop()
        self.notify_all()

    # The end.

    @property
    def has_ended(self) -> bool:
        """Whether the listener has ended, for good."""
        return self._watch.state is State.CLOSED

    @property
    def is_over(self) -> bool:
        """Whether the listener was stopped, or has ended with an error."""
        return self.failure is not None or self._watch.state is State.CLOSED

    def raise_failure(self) -> None:
        """Raise the error that has ended the listener, if one has; in a forked child, that it belongs to the parent."""
        self.check_process()
        if self.failure is not None:
            raise self.failure

    def stop(self, timeout: float | None, drain: bool) -> Stopping:
        """Ask it to end; see `AsyncListener.stop`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._process == os.getpid() and not self.has_ended:
            self._drain = self._drain or drain
            self._rest.deadline = deadline
            self._delivery.is_over = not self._drain
            self.request_stop()
            if self._loop is None or self._loop.is_closed():
                self._be_closed()
            else:
                self._loop.call_from_anywhere(self._ending, timeout)
        return Stopping(partial(self._wait_ended, deadline))

    def _close_unread(self) -> None:
        """Be closed if no task reads, which would do that."""
        if (self._task is None or self._task.done()) and not self.has_ended:
            self._be_closed()

    def _ending(self, timeout: float | None) -> None:
        """Be closed if no task reads. Otherwise give that task some time, whether anybody waits for the end or not.

        Args:
            timeout: how many seconds it has; None for any number.
        """
        self._close_unread()
        if self._task is not None and self._loop is not None and timeout is not None and timeout < math.inf:
            timer = self._loop.call_later(timeout, self._cut_off, self._task)
            self._task.add_done_callback(lambda _: timer.cancel())

    def request_stop(self) -> None:
        """End the loop. Safe in any thread and in a signal handler."""
        self._watch.request_stop()
        if self.runner is not None:
            self.runner.wakeup.wake_from_anywhere()

    async def end_soon(self) -> None:
        """Stop it, and wait for that; for the end of a call that has begun to read."""
        await self.stop(PATIENCE_SECONDS, False)

    async def _wait_ended(self, deadline: float | None) -> bool:
        if self._process != os.getpid() or self._task is None:
            return True
        if self._delivery.tasks.include(asyncio.current_task()):
            return False  # it waits for this task
        while tasks := self._delivery.tasks.others():
            left = LOOK_EACH_SECONDS if deadline is None else min(LOOK_EACH_SECONDS, deadline - time.monotonic())
            await asyncio.wait(tasks, timeout=max(0.0, left))
            if self.runner is not None and not (self._drain or self._keeps_position or self._task.done()):
                self.runner.abort_call()
            if deadline is not None and time.monotonic() >= deadline:
                return await self._end_by_force(self._task)
        self._close_unread()
        return self.has_ended

    async def _end_by_force(self, reading: asyncio.Task[Any]) -> bool:
        """Cut off what still runs, and return whether it has ended soon."""
        tasks = self._cut_off(reading)
        if tasks:
            await asyncio.wait(tasks, timeout=LOOK_EACH_SECONDS)
        return self.has_ended and not self._delivery.tasks.others()

    def _cut_off(self, reading: asyncio.Task[Any]) -> set[asyncio.Task[Any]]:
        """Cut off a call to the server, and cancel all tasks; return them."""
        if self.runner is not None:
            self.runner.abort_call(even_the_users=True)
        tasks = self._delivery.tasks.others()
        self._delivery.tasks.cancel(tasks - {reading} if self._is_ending else tasks)
        return tasks

    async def _end(self, runner: AsyncReconnectingRunner) -> None:
        """Deliver everything that has arrived, if requested; release the connection, and be closed."""
        if self._is_ending or self.has_ended:
            return
        self._is_ending = True
        self._watch.interrupted = False
        try:
            if self._drain:
                await self._rest.deliver(runner)
            if self._keeps_position:
                await self._store_position(runner)
            listened = tuple({**self._watch.in_force, **dict.fromkeys(self._watch.wanted.taken_up)})
            if not self._policy.can_reconnect and listened:
                await runner.run(unlisten(self._watch, listened), self._delivery)
        except Exception as error:
            self.failure = self.failure or error
        finally:
            self._delivery.is_over = True
            try:
                await runner.close()
            finally:
                self._be_closed()
        await self._rest.wait_for_callbacks()
        await self._rest.cancel_callbacks()

    @property
    def _keeps_position(self) -> bool:
        """Whether the end has to store how far the consumers are."""
        stored = self._watch.stored
        return stored is not None and stored.keeps_position and self._watch.state is State.LISTENING

    async def _store_position(self, runner: AsyncReconnectingRunner) -> None:
        """Store how far the consumers are, after the calls of coroutine functions that are under way."""
        self._delivery.is_over = True
        await self._rest.wait_for_callbacks(spare=SECONDS_TO_STORE)
        await self._rest.cancel_callbacks()
        assert self._watch.stored is not None, "the caller has looked"
        await runner.run(self._watch.stored.leave(self._watch), self._delivery)

    def _be_closed(self) -> None:
        self._delivery.is_over = True
        self._watch.queue.clear()
        if not self._drain and self.failure is None:
            self._delivery.inner.drop_waiting()
        self._reporter.enter(ListenerState.CLOSED)
        if not self.has_ended:
            self._watch.closed()
        self.notify_all()

    def _wake_reader(self) -> None:
        """Have the reading task look whether there is room for more."""
        if self.runner is not None:
            self.runner.wakeup.wake()

    def wake(self) -> None:
        """Have the reading task and all waiting tasks check for changes. For the loop's thread."""
        self._watch.interrupt()
        if self.runner is not None:
            self.runner.wakeup.wake()
        self.changes.notify()

    def notify_all(self) -> None:
        """Have all waiting tasks check again, the consumers of streams included."""
        self.changes.notify()
        self._delivery.inner.notify_streams()

    def check_open(self) -> None:
        """Raise an error if the listener has ended.

        Raises:
            ListenerClosed: it was stopped; or this is a forked child; or it has ended with an error, which is the
                __cause__.
        """
        self.check_process()
        title = self._options.title
        if self.failure is not None:
            what = f"{type(self.failure).__name__}: {self.failure}"
            raise ListenerClosed(f"the listener {title!r} has ended: {what}") from self.failure
        if self.has_ended:
            raise ListenerClosed(f"the listener {title!r} was stopped")

    def check_loop(self) -> None:
        """Raise a RuntimeError if the listener has begun to read on another event loop."""
        if self._loop is not None:
            self._loop.check_is_running(_WHAT)

    def check_process(self) -> None:
        """Raise an error in a forked child; see `check_open`."""
        if self._process != os.getpid():
            raise _refusal_in_child(self._process)

    def abandon(self) -> None:
        """Have the connection released after the listener was deleted, in any thread."""
        self.stop(PATIENCE_SECONDS, False)
        if self.runner is not None and self._loop is not None and self._loop.is_closed():
            self.runner.abandon()

    def is_abandoned(self) -> bool:
        """Return whether it still holds a connection, in this process."""
        return self._process == os.getpid() and self._watch.ever_listened and not self.has_ended

    def forget_in_child(self) -> None:
        """Forget the connection and all tasks. Called in the child after a fork, where the event loop does not run."""
        counters = self._reporter.counters
        if self.runner is not None:
            self.runner.forget_in_child(partial(_refusal_in_child, self._process))
        self._delivery.inner.forget_in_child()
        self._reporter.log.forget_in_child()
        self._watch.forget_in_child()
        if counters.state not in (ListenerState.IDLE, ListenerState.LOST, ListenerState.CLOSED):
            counters.inherit(ListenerState.LOST)
            counters.failed(str(_refusal_in_child(self._process)))


class Stopping:
    """The end of a listener, which was asked for. Await it to wait for it: it returns whether the listener has ended.

    Args:
        wait: waits for the end.
    """

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, bool]:
        """Wait for the end."""
        ended: Generator[Any, None, bool] = self._wait().__await__()
        return ended


def _raise_first_failure(reading: asyncio.Task[Exception | None]) -> None:
    """Raise the error of the first attempt to connect, if that has ended the task that reads."""
    if reading.done() and not reading.cancelled() and reading.exception() is None:
        error = reading.result()
        if error is not None:
            raise error


def _refusal_in_child(parent: int) -> ListenerClosed:
    return ListenerClosed(
        f"this listener belongs to process {parent}, from which {os.getpid()} was forked; make a new one in the child"
    )
