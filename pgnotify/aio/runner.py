"""The asynchronous runner: performs the actions of a program on an asynchronous backend.

It is to `AsyncBackend` what `pgnotify.program.runner` is to `Backend`. It decides nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from inspect import isawaitable
from typing import Protocol, TypeVar

from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.async_protocol import AsyncBackend, health_of, listen_to_some, name_session, unlisten_some
from pgnotify.notification import Plain
from pgnotify.program import actions as p
from pgnotify.protocol import plain_fetch

T = TypeVar("T")

# How many notifications are delivered before other tasks of the loop have their turn. It takes them about 1 ms.
TURN = 500

_FOR_THE_FRONT = (p.Deliver, p.ReportTimeout, p.Tell)


class AsyncFront(Protocol):
    """Receives notifications and events, as `pgnotify.program.runner.Front`. A result that is awaitable is awaited."""

    def deliver(self, at_most: int) -> object:
        """Deliver up to ``at_most`` notifications from the head of the queue; return the outcome of `Deliver`."""

    def tell(self, action: p.ReportTimeout | p.Tell) -> object:
        """Report a time-out or an event; return the outcome of the action."""


class AsyncRunner:
    """Runs programs on one backend. One task at a time calls `run`.

    Args:
        wakeup: ends its waits.
        backend: the backend that programs run on.
    """

    backend: AsyncBackend

    def __init__(self, wakeup: LoopWakeup, backend: AsyncBackend | None = None) -> None:
        self.wakeup = wakeup
        self._delivered = 0
        """How many notifications were delivered since other tasks had their turn."""
        if backend is not None:
            self.use(backend)

    def use(self, backend: AsyncBackend) -> None:
        """Run on this backend from now on."""
        self.backend = backend
        fetch: Callable[[], Sequence[Plain]] = plain_fetch(backend)  # type: ignore[arg-type]
        into: Callable[[deque[Plain]], object] | None = getattr(backend, "fetch_into", None)
        self._fetch_into = into if into is not None else lambda queue: queue.extend(fetch())

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
        outcome: object = None
        failure: BaseException | None = None
        with closing(program):
            try:
                while True:
                    try:
                        if failure is None:
                            action = program.send(outcome)
                        else:
                            action = program.throw(failure)
                            failure = None
                    except StopIteration as end:
                        result: T = end.value
                        return result
                    if isinstance(action, _FOR_THE_FRONT):
                        outcome = await self._tell(front, action)
                        continue
                    try:
                        if isinstance(action, p.Fetch):
                            self._fetch_into(action.queue)
                            outcome = None
                        else:
                            self._delivered = 0
                            outcome = await self._call(action)
                    except BaseException as error:
                        if isinstance(error, asyncio.CancelledError) and getattr(self.backend, "busy", False):
                            raise
                        failure = error
            finally:
                failure = None  # otherwise it would keep this frame, and so the front, alive in a cycle

    async def _tell(self, front: AsyncFront, action: p.Deliver | p.ReportTimeout | p.Tell) -> object:
        if not isinstance(action, p.Deliver):
            outcome = front.tell(action)
            return await outcome if isawaitable(outcome) else outcome
        self._delivered += action.at_most
        outcome = front.deliver(action.at_most)
        if isawaitable(outcome):
            outcome = await outcome
        if self._delivered >= TURN:
            self._delivered = 0
            await asyncio.sleep(0)
        return outcome

    async def _call(self, action: p.Call) -> object:
        match action:
            case p.Wait(timeout):
                await self.backend.wait(timeout, self.wakeup)
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
            case p.AskHealth():
                return await health_of(self.backend)
            case p.NameSession(name):
                await name_session(self.backend, name)
            case p.Close():
                await self.backend.close()
        return None


class _Refusing:
    """Stands in for the backend in a forked child: whichever method is called raises an error."""

    def __init__(self, refusal: Callable[[], Exception]) -> None:
        self._refusal = refusal

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith("_") or name in ("busy", "settle", "fetch_into", "fetch_plain"):  # these are optional
            raise AttributeError(name)
        return self._refuse

    def _refuse(self, *_: object) -> object:
        raise self._refusal()
