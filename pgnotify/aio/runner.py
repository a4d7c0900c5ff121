"""The asynchronous runner: performs the actions of a program on an asynchronous backend.

It is to `AsyncBackend` what `pgnotify.program.runner` is to `Backend`. It decides nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from contextvars import copy_context
from functools import partial
from inspect import isawaitable
from typing import Any, NamedTuple, Protocol, TypeVar

from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.async_protocol import AsyncBackend, health_of, listen_to_some, name_session, query, unlisten_some
from pgnotify.notification import Plain
from pgnotify.program import actions as p
from pgnotify.protocol import HasDescriptor, in_transaction, plain_fetch

T = TypeVar("T")

# How many notifications are delivered before other tasks of the loop have their turn. It takes them about 1 ms.
TURN = 500


class AsyncFront(Protocol):
    """Receives notifications and events, as `pgnotify.program.runner.Front`. A result that is awaitable is awaited."""

    def deliver(self, at_most: int) -> object:
        """Deliver up to ``at_most`` notifications from the head of the queue; return the outcome of `Deliver`."""

    def tell(self, action: p.ReportTimeout | p.Tell) -> object:
        """Report a time-out or an event; return the outcome of the action."""


class _Ended(NamedTuple):
    """The program has ended with a result."""

    result: Any


class _Raised(NamedTuple):
    """The program, or the front, has raised an error."""

    error: BaseException


class _Awaited(NamedTuple):
    """The front has returned something to await, whose result is the outcome of the program's action."""

    awaitable: Awaitable[object]


class _Turn(NamedTuple):
    """Much was delivered. The program goes on with this outcome after other tasks have had their turn."""

    outcome: object


_Step = p.Call | _Ended | _Raised | _Awaited | _Turn
"""Up to which point a program was run: an action to be awaited, or one of ours."""


class AsyncRunner:
    """Runs programs on one backend. One task at a time calls `run`.

    The program runs on as long as nothing must be awaited. While the task waits for the socket, it even runs where the
    loop reports that the socket is readable: to wake the task first would take another turn of the loop.

    Args:
        wakeup: ends its waits.
        backend: the backend that programs run on.
    """

    backend: AsyncBackend

    def __init__(self, wakeup: LoopWakeup, backend: AsyncBackend | None = None) -> None:
        self.wakeup = wakeup
        self._delivered = 0
        """How many notifications were delivered since other tasks had their turn."""
        self._advanced: _Step | None = None
        """Up to which point the program was run while the task waited."""
        if backend is not None:
            self.use(backend)

    def use(self, backend: AsyncBackend) -> None:
        """Run on this backend from now on."""
        self.backend = backend
        fetch: Callable[[], Sequence[Plain]] = plain_fetch(backend)  # type: ignore[arg-type]
        into: Callable[[deque[Plain]], object] | None = getattr(backend, "fetch_into", None)
        self._fetch_into = into if into is not None else lambda queue: queue.extend(fetch())
        self._has_news: Callable[[], bool] | None = getattr(backend, "has_news", None)

    def refuse(self, refusal: Callable[[], Exception]) -> None:
        """Have every further call raise an error, in a forked child, where the connection is the parent's."""
        self.use(_Refusing(refusal))  # type: ignore[arg-type]  # it has whichever method is called

    async def settle(self) -> None:
        """Wait until a call has ended that goes on although it was cancelled; see `ThreadedBackend.settle`."""
        if hasattr(self.backend, "settle"):
            await self.backend.settle()

    async def run(self, program: p.Program[T], front: AsyncFront) -> T:
        """Run a program to its end and return its result; see `pgnotify.program.runner.BlockingRunner.run`.

        A cancellation is raised in the program, like the errors of the backend. If the call to the server that it has
        interrupted goes on, the program ends there.
        """
        advance = partial(self._advance, program, front)
        failure: BaseException | None = None
        step: _Step | None
        with closing(program):
            try:
                step = self._run_on(program, front)
                while True:
                    outcome: object = None
                    failure = None
                    if isinstance(step, _Ended):
                        result: T = step.result
                        return result
                    if isinstance(step, _Raised):
                        raise step.error
                    self._delivered = 0
                    if isinstance(step, _Awaited):
                        outcome = await step.awaitable
                    elif isinstance(step, _Turn):
                        await asyncio.sleep(0)
                        outcome = step.outcome
                    else:
                        try:
                            if isinstance(step, p.Wait):
                                await self._wait(step, advance)
                                advanced, self._advanced = self._advanced, None
                                if advanced is not None:
                                    step = advanced
                                    continue
                            else:
                                outcome = await self._call(step)
                        except BaseException as error:
                            if not await self._goes_on_after(error):
                                raise
                            failure = error
                    step = self._run_on(program, front, outcome, failure)
            finally:
                # Otherwise an error in them would keep this frame, and so the front, alive in a cycle.
                failure = step = advanced = None

    async def _goes_on_after(self, error: BaseException) -> bool:
        """Return whether to raise the error of an action in the program; a cancellation may come too late for that."""
        advanced, self._advanced = self._advanced, None
        if not isinstance(error, asyncio.CancelledError):
            return True
        if isinstance(advanced, _Awaited):
            await _begun_and_cancelled(advanced.awaitable)  # a callback was called by then
        return not getattr(self.backend, "busy", False) and not isinstance(advanced, (_Awaited, _Ended, _Raised, _Turn))

    def _run_on(
        self,
        program: p.Program[Any],
        front: AsyncFront,
        outcome: object = None,
        failure: BaseException | None = None,
    ) -> _Step:
        """Run a program as long as nothing must be awaited.

        Args:
            program: the program.
            front: its front, whose errors are raised here.
            outcome: that of the program's latest action.
            failure: the error of that action; None if there is none.
        """
        try:
            while True:
                try:
                    action = program.send(outcome) if failure is None else program.throw(failure)
                except StopIteration as end:
                    return _Ended(end.value)
                outcome = failure = None
                if isinstance(action, p.Fetch):
                    try:
                        self._fetch_into(action.queue)
                    except BaseException as error:
                        failure = error
                elif isinstance(action, p.Deliver):
                    self._delivered += action.at_most
                    outcome = front.deliver(action.at_most)
                    if outcome.__class__ not in _NOT_AWAITED and isawaitable(outcome):
                        return _Awaited(outcome)
                    if outcome or self._delivered >= TURN:  # a task may now have what it waits for
                        return _Turn(outcome)
                elif isinstance(action, (p.Tell, p.ReportTimeout)):
                    outcome = front.tell(action)
                    if isawaitable(outcome):
                        return _Awaited(outcome)
                else:
                    return action
        finally:
            failure = None

    def _advance(self, program: p.Program[Any], front: AsyncFront) -> bool:
        """Run the program while the task waits; return whether the task goes on waiting."""
        self._delivered = 0
        try:
            step = self._run_on(program, front)
            if isinstance(step, p.Wait) and self._may_go_on_waiting():
                self.wakeup.limit(step.timeout)
                return True
        except BaseException as error:  # the task raises it
            step = _Raised(error)
        self._advanced = step
        return False

    def _may_go_on_waiting(self) -> bool:
        try:
            if self._has_news is None or self._has_news():
                return False
            return not isinstance(self.backend, HasDescriptor) or self.wakeup.watches(self.backend.fileno())
        except Exception:  # the wait raises it again
            return False

    async def _wait(self, action: p.Wait, advance: Callable[[], bool]) -> None:
        self.wakeup.advance = partial(copy_context().run, advance)  # not in that of the task that waited first
        try:
            await self.backend.wait(action.timeout, self.wakeup)
        finally:
            self.wakeup.advance = None

    async def _call(self, action: p.Call) -> object:
        match action:
            case p.Listen(channel):
                await self.backend.listen(channel)
            case p.ListenMany(channels):
                return await listen_to_some(self.backend, channels)
            case p.Unlisten(channel):
                await self.backend.unlisten(channel)
            case p.UnlistenMany(channels):
                return await unlisten_some(self.backend, channels)
            case p.Notify(channel, payload):
                await self.backend.notify(channel, payload)
                return in_transaction(self.backend)
            case p.AskHealth():
                return await health_of(self.backend)
            case p.NameSession(name):
                await name_session(self.backend, name)
            case p.Query(sql, parameters, prepare):
                return await query(self.backend, sql, parameters, prepare)
            case p.Close():
                await self.backend.close()
        return None


# The usual outcomes of a delivery.
_NOT_AWAITED = (type(None), bool)


_OPTIONAL = ("busy", "settle", "has_news", "fetch_into", "fetch_plain", "in_transaction")


async def _begun_and_cancelled(awaitable: Awaitable[object]) -> None:
    """Run what a callback has returned up to its first wait, and cancel it there; wait for its end."""
    task = asyncio.ensure_future(awaitable)
    try:
        await asyncio.sleep(0)
    finally:
        task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.result()


class _Refusing:
    """Stands in for the backend in a forked child: whichever method is called raises an error."""

    def __init__(self, refusal: Callable[[], Exception]) -> None:
        self._refusal = refusal

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith("_") or name in _OPTIONAL:
            raise AttributeError(name)
        return self._refuse

    def _refuse(self, *_: object) -> object:
        raise self._refusal()
