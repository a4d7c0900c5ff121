"""Requests of other threads, which a loop carries out in its own thread."""

from __future__ import annotations

from typing import Protocol, TypeVar

from pgnotify.errors import ConnectionLost
from pgnotify.program.actions import Program
from pgnotify.program.interruption import is_interruption
from pgnotify.program.watch import Watch

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Answered(Protocol[T_contra]):
    """The place of an answer, such as `pgnotify.program.ownership.Answer`."""

    def set_result(self, result: T_contra, /) -> object:
        """Answer with a result."""

    def set_exception(self, error: BaseException, /) -> object:
        """Answer with an error."""


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


def answering(program: Program[T], answer: Answered[T]) -> Program[None]:
    """Run a program on behalf of another thread, which waits for the answer.

    An error that also ends the loop, such as a lost connection, is raised in both threads. If an exception of a
    signal handler comes between two actions, or while it is set, it may remain without an answer.
    """
    try:
        result = yield from program
    except GeneratorExit:  # the loop has ended at this step
        raise
    except BaseException as error:
        answer.set_exception(error)
        if isinstance(error, ConnectionLost) or is_interruption(error):
            raise
    else:
        answer.set_result(result)
