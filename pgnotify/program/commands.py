"""Requests of other threads, which a loop carries out in its own thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pgnotify.errors import ConnectionLost
from pgnotify.program.actions import Program
from pgnotify.program.watch import Watch

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


def carry_out(watch: Watch) -> Program[bool]:
    """Run the requests of other threads; return whether the loop is to end."""
    watch.interrupted = False
    while watch.commands:
        try:
            yield from watch.commands.popleft()
        except BaseException:
            watch.interrupt()  # the remaining requests must still be carried out
            raise
    stop, watch.stop_requested = watch.stop_requested, False
    return stop


def answering(program: Program[T], future: Future[T]) -> Program[None]:
    """Run a program on behalf of another thread, which waits for the future.

    An error that also ends the loop, such as a lost connection, is raised in both threads.
    """
    try:
        result = yield from program
    except BaseException as error:
        future.set_exception(error)
        if isinstance(error, ConnectionLost) or not isinstance(error, Exception):
            raise
    else:
        future.set_result(result)
