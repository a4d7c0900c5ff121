"""One task at a time uses a connection. The others wait for it, or ask it to act for them."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeVar

from pgnotify.aio.loop import Future, Loop

T = TypeVar("T")


class TaskOwnership:
    """Which task uses a connection. It is to tasks what `pgnotify.program.ownership.Ownership` is to threads."""

    def __init__(self) -> None:
        self._owner: asyncio.Task[Any] | None = None
        self._depth = 0
        self._is_looping = False
        self._released: Future[None] | None = None

    def by_this_task(self) -> bool:
        """Return whether this task is the owner. If so, it is in a callback."""
        return self._owner is not None and self._owner is asyncio.current_task()

    @property
    def is_looping(self) -> bool:
        """Whether the owner runs a loop, and not only a call that ends by itself."""
        return self._is_looping

    async def take(self, loop: Loop, for_a_loop: bool, what: str) -> bool:
        """Make this task the owner. Calls of other tasks that end by themselves are waited for.

        Args:
            loop: the event loop.
            for_a_loop: whether this task will run a loop.
            what: names the object with the loop, in the error message.

        Returns:
            False if another task runs a loop, and this one will not.

        Raises:
            RuntimeError: another task runs a loop, and this one will, too.
        """
        while self._owner is not None and not self.by_this_task():
            if self._is_looping:
                if for_a_loop:
                    raise RuntimeError(f"{what} is already running, in task {self._owner.get_name()!r}")
                return False
            await self.released(loop)
        self._owner = asyncio.current_task()
        self._depth += 1
        self._is_looping = self._is_looping or for_a_loop
        return True

    def release(self) -> None:
        """Undo one `take` of this task; after the last one, other tasks may become the owner."""
        self._depth -= 1
        if self._depth:
            return
        self._owner, self._is_looping = None, False
        released, self._released = self._released, None
        if released is not None and not released.done():
            released.set_result(None)

    async def released(self, loop: Loop) -> None:
        """Wait until the owner has released it."""
        if self._owner is None:
            return
        if self._released is None:
            self._released = loop.create_future()
        await asyncio.wait((self._released,))

    def released_or_answered(self, loop: Loop, answer: Future[Any]) -> Any:
        """Wait until the owner has released it, or has answered."""
        if self._released is None:
            self._released = loop.create_future()
        return asyncio.wait((self._released, answer), return_when=asyncio.FIRST_COMPLETED)


class TaskAnswer(Generic[T]):
    """The answer to the request of a task, which waits for it.

    Args:
        loop: the event loop.
    """

    def __init__(self, loop: Loop) -> None:
        self.future: Future[T] = loop.create_future()

    def abandon(self) -> None:
        """Expect no answer any more: the task was cancelled. An error has nobody to be raised to."""
        if not self.future.cancel() and not self.future.cancelled():
            self.future.exception()

    def set_result(self, result: T) -> None:
        """Answer with a result."""
        if not self.future.done():
            self.future.set_result(result)

    def set_exception(self, error: BaseException) -> None:
        """Answer with an error. The cancellation of the loop is no answer: the request was interrupted."""
        if not self.future.done() and not isinstance(error, asyncio.CancelledError):
            self.future.set_exception(error)
