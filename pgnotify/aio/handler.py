"""The documented handler on an event loop: PyGreSQL's NotificationHandler, on any driver, for asyncio.

`pgnotify.handler.loop` decides the order of events, as for the blocking handler. This module makes sure that only one
task at a time touches the connection.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from inspect import GEN_CREATED, getgeneratorstate, isawaitable
from itertools import repeat, starmap
from types import CoroutineType, TracebackType
from typing import Any, TypeVar

from pgnotify.aio.backend import Unbound, unbound
from pgnotify.aio.loop import Loop
from pgnotify.aio.ownership import TaskAnswer, TaskOwnership
from pgnotify.aio.runner import AsyncRunner
from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.handler.face import HandlerFace, refusal_in_child
from pgnotify.handler.loop import Stray, handler_loop
from pgnotify.limits import check_payload
from pgnotify.program import actions as p
from pgnotify.program import verbs
from pgnotify.program.commands import answering
from pgnotify.program.forks import forget_after_fork
from pgnotify.program.state import State
from pgnotify.program.watch import Watch
from pgnotify.protocol import in_transaction
from pgnotify.sending import sent

T = TypeVar("T")

_WHAT = "this handler"


class AsyncNotificationHandler(HandlerFace):
    """Listens for one event on the event loop, and calls a callback for each notification.

    It does the same as `pgnotify.NotificationHandler`, which describes the arguments and the errors. The differences:

    - ``db`` is a connection of any driver, asynchronous or not. Calls that wait for the server never hold up the loop.
    - The callback is a function or a coroutine function. A coroutine is awaited before the next notification is
      delivered, because ``arg_dict`` is the same dict each time.
    - Calls are awaited: ``await handler()``, ``await handler.listen()`` and so on. Only `stop` is not. Each may be
      cancelled. After that the handler is still listening if it was, and the next call delivers what has arrived.
    - It belongs to the event loop that runs at its first call. One task at a time runs the handler. While it does,
      other tasks may call `listen`, `unlisten`, `notify` and `close`, and the loop does the work.
    """

    _may_be_async = True

    def __init__(
        self,
        db: Any,
        event: str,
        callback: Callable[[Any], object],
        arg_dict: dict[str, Any] | None = None,
        timeout: float | None = None,
        stop_event: str | None = None,
    ) -> None:
        super().__init__(db, event, callback, arg_dict, timeout, stop_event)
        self._loop: Loop | None = None
        self._runner: AsyncRunner | None = None  # set before anything may raise, for __del__
        self._unbound: Unbound = unbound(db)
        self._ownership = TaskOwnership()
        forget_after_fork(self)

    async def __call__(self) -> None:
        """Listen if necessary, and loop until a stop notification, `stop`, or the time-out.

        See `pgnotify.NotificationHandler.__call__` for the errors. It also raises a RuntimeError if another task runs
        the handler, or if it belongs to another event loop.
        """
        if self._db is None:
            return
        self._check_process()
        loop, runner = self._bound()
        nested = self._ownership.by_this_task()  # called by this task's own callback
        await self._ownership.take(loop, True, _WHAT)
        try:
            await runner.settle()
            await runner.run(handler_loop(self._watch, self, time.monotonic), _AsyncHandlerFront(self, self._watch))
            if self._db is not None:
                self._check_process()  # a callback may have forked, and this may be the child
        except Stray as stray:
            raise self._unexpected(stray.notification.channel, self._unbound.backend) from None
        finally:
            if nested:
                self._watch.interrupted = True  # the delivery that called it must check for changes
            self._ownership.release()
            self._forget_socket_if_idle()

    async def listen(self) -> None:
        """Listen to both channels; see `pgnotify.NotificationHandler.listen`."""
        if not self.listening:
            self._check_open()
            await self._do(lambda: verbs.listen(self._watch))

    async def unlisten(self) -> None:
        """Stop listening to both channels; see `pgnotify.NotificationHandler.unlisten`."""
        if self._watch.in_force:
            self._check_process()
            await self._do(lambda: verbs.unlisten(self._watch))

    async def notify(self, db: Any = None, stop: bool = False, payload: str | None = None) -> None:
        """Send a notification on the event, or on the stop event; see `pgnotify.NotificationHandler.notify`.

        ``db`` may be asynchronous or not, whichever the handler's own connection is.
        """
        channel = self._stop_event if stop else self._event
        text = check_payload("" if payload is None else payload)
        used = self._db if db is None else db
        other = None if db is None else unbound(db)
        if other is None or other.is_same(self._unbound):
            self._check_open()
            waits = await self._do(lambda: verbs.notify(self._watch, channel, text), repeatable=False)
            self._warn_if(waits, stop, on_own=True)
        else:
            backend = other.bound(Loop())
            await backend.notify(channel, text)
            self._warn_if(in_transaction(backend), stop, on_own=False)
        sent(used, ((channel, text),))

    def stop(self) -> None:
        """End the loop: it unlistens and returns, without another call of the callback.

        It is safe in any thread and in a signal handler, and does not wait. If the loop is not running, the next call
        of the handler ends at once.
        """
        self._watch.request_stop()
        self._wake()

    async def close(self) -> None:
        """Unlisten and close the connection; `db` becomes None. A second call does nothing.

        If the loop runs in another task, this waits until the loop has ended and has closed the connection. In a
        forked child it only forgets the connection.
        """
        if self._db is None:
            return
        if self._process != os.getpid():
            self._watch.closed()
            self._forget()
        else:
            await self._do(self._closing)

    async def __aenter__(self) -> AsyncNotificationHandler:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        """Send nothing, as no task can wait here; warn with a ResourceWarning if it is listening."""
        watch = getattr(self, "_watch", None)  # there is none if __init__ raised
        if watch is None or is_finalizing():
            return
        if watch.in_force:
            warnings.warn(f"{self!r} was deleted while listening", ResourceWarning, source=self, stacklevel=2)
        if self._runner is not None and self._process == os.getpid():
            self._runner.wakeup.forget_from_anywhere()  # the garbage collector runs in any thread

    # One task at a time.

    def _bound(self) -> tuple[Loop, AsyncRunner]:
        """Return the event loop that this belongs to, which is the one that runs now, and the runner on it."""
        if self._loop is None or self._runner is None:
            self._loop = Loop()
            self._runner = AsyncRunner(LoopWakeup(self._loop), self._unbound.bound(self._loop))
            if self._watch.interrupted:
                self._runner.wakeup.wake()
        else:
            self._loop.check_is_running(_WHAT)
        return self._loop, self._runner

    async def _do(self, make: Callable[[], p.Program[T]], repeatable: bool = True) -> T | None:
        """Run a program in this task if it may touch the connection; otherwise have the loop run it.

        Args:
            make: makes the program.
            repeatable: whether running it twice has the same effect as running it once.
        """
        loop, runner = self._bound()
        while not await self._ownership.take(loop, False, _WHAT):
            answer: TaskAnswer[T] = TaskAnswer(loop)
            command = answering(make(), answer)
            self._watch.request(command)
            runner.wakeup.wake()
            try:
                while not answer.future.done() and self._ownership.is_looping and command in self._watch.commands:
                    # Perhaps another loop has begun by the time that we know of the end of one.
                    await self._ownership.released_or_answered(loop, answer.future)
            except BaseException:
                answer.abandon()
                raise
            finally:
                has_begun = not _withdrawn(command, self._watch.commands)
            if answer.future.done():
                return answer.future.result()
            if has_begun and not repeatable:
                raise RuntimeError("the loop was cancelled during this call; it may have had its effect")
        try:
            self._watch.interrupt()  # a delivery that called us must check for changes
            await runner.settle()
            return await runner.run(make(), _AsyncHandlerFront(self, self._watch))
        finally:
            self._ownership.release()
            self._forget_socket_if_idle()

    def _wake(self) -> None:
        runner = self._runner
        if runner is not None:
            runner.wakeup.wake_from_anywhere()

    def _forget_socket_if_idle(self) -> None:
        """Release our duplicate of the descriptor, unless it is needed for the next wait."""
        if self._runner is not None and self._watch.state is not State.LISTENING:
            self._runner.wakeup.forget()

    def forget_in_child(self) -> None:
        """Forget the connection. Called in the child after a fork."""
        if self._forget_parents_connection(self._unbound) and self._runner is not None:
            self._runner.wakeup.forget_in_child()
            self._runner.refuse(partial(refusal_in_child, self._process))


def _withdrawn(command: p.Program[Any], commands: deque[p.Program[Any]]) -> bool:
    """Take back a request that the loop has not begun to carry out; return whether it was there."""
    if command not in commands or getgeneratorstate(command) != GEN_CREATED:
        return False
    commands.remove(command)
    return True


class _AsyncHandlerFront:
    """Calls the callback, with the keys of the documentation. Every notification passes through here.

    It is made for each run of a program, and not kept: a handler must be deleted as soon as its user drops it.
    """

    def __init__(self, handler: AsyncNotificationHandler, watch: Watch) -> None:
        self._handler = handler
        self._watch = watch

    def deliver(self, at_most: int) -> Awaitable[None] | None:
        """Call the callback for up to ``at_most`` notifications from the head of the queue.

        Returns:
            An awaitable that waits for a callback and then delivers the rest; None if no callback is to be awaited.
        """
        handler, watch = self._handler, self._watch
        queue = watch.queue
        end = len(queue) - at_most
        # Each is taken from the queue just before it is delivered, without executing a bytecode for that.
        for channel, payload, pid in starmap(queue.popleft, repeat((), at_most)):
            arg_dict = handler.arg_dict
            arg_dict["pid"] = pid
            arg_dict["event"] = channel
            arg_dict["extra"] = payload
            result = handler.callback(arg_dict)
            if result is not None and (result.__class__ is CoroutineType or isawaitable(result)):
                return self._deliver_rest(result, len(queue) - end)
            if watch.interrupted:  # also by the callback itself, which may have emptied the queue
                return None
        return None

    async def _deliver_rest(self, callback: Awaitable[object], at_most: int) -> None:
        """Await a callback, and then call it for up to ``at_most`` more notifications."""
        await callback
        handler, watch = self._handler, self._watch
        queue = watch.queue
        while at_most > 0 and queue and not watch.interrupted:
            at_most -= 1
            channel, payload, pid = queue.popleft()
            arg_dict = handler.arg_dict
            arg_dict["pid"] = pid
            arg_dict["event"] = channel
            arg_dict["extra"] = payload
            result: Any = handler.callback(arg_dict)
            if result is not None and (result.__class__ is CoroutineType or isawaitable(result)):
                await result

    def tell(self, action: object) -> object:
        """Call the callback with None: the only event of this loop is a time-out."""
        return self._handler.callback(None)
