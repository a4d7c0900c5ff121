"""Requests of other threads, which a loop carries out in its own thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pgnotify.errors import ConnectionLost
from pgnotify.program.actions import Program
from pgnotify.program.interruption import is_interruption
from pgnotify.program.watch import Watch

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


def carry_out(watch: Watch) -> Program[bool]:
    """Run the requests of other threads; return whether the loop is to end. Then reset `Watch.stop_requested`.

    A request is removed when it has ended, so that an exception of a signal handler leaves none of them behind.
    """
    watch.interrupted = False
    try:
        while watch.commands:
            try:
                yield from watch.commands[0]  # has no effect if it has ended already
            finally:
                watch.commands.popleft()
    except BaseException:
        watch.interrupted = True  # the remaining requests must still be carried out
        raise
    watch.interrupted = watch.interrupted or watch.stop_requested  # until the loop has ended
    return watch.stop_requested


def answering(program: Program[T], future: Future[T]) -> Program[None]:
    """Run a program on behalf of another thread, which waits for the future.

    An error that also ends the loop, such as a lost connection, is raised in both threads. If an exception of a
    signal handler comes between two actions, or while the future is set, it may remain without an answer.
    """
    try:
        result = yield from program
    except GeneratorExit:  # the loop has ended at this step
        raise
    except BaseException as error:
        future.set_exception(error)
        if isinstance(error, ConnectionLost) or is_interruption(error):
            raise
    else:
        future.set_result(result)
