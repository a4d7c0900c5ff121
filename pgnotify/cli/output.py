"""Standard output, a line at a time, for commands that run until their reader has left."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable

from pgnotify.cli.command_line import CannotBegin
from pgnotify.threads import background


class Output:
    """Writes whole lines to standard output, or to standard error, and each of them at once.

    It does not use the stream's buffer: what was left there after Ctrl-C would be written at the end of the process,
    which waits for that as long as a pipe is full.

    Args:
        to_errors: whether to write to standard error.
        encoding: None takes the terminal's. Characters that it lacks are escaped.
    """

    def __init__(self, to_errors: bool = False, encoding: str | None = None) -> None:
        stream = sys.stderr if to_errors else sys.stdout
        if stream is None:  # its number is free, and may become that of the connection
            raise CannotBegin(f"standard {'error' if to_errors else 'output'} is closed")
        stream.flush()
        self._descriptor = stream.fileno()
        self._encoding = encoding or stream.encoding
        self._poll = _poll(self._descriptor, "POLLOUT")

    def write(self, line: str) -> None:
        """Write a line. If an exception of a signal handler comes in between, it was written whole, or not at all.

        (A line of more than 4,096 bytes, PIPE_BUF, may be cut by it, if the pipe is full.)

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        rest = memoryview(f"{line}\n".encode(self._encoding, "backslashreplace"))
        while rest:
            if self._poll is not None:
                self._poll.poll()
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody has made it non-blocking
                continue


def when_unread(call: Callable[[], object]) -> None:
    """Call something, in a thread, when standard output is a pipe and its reader has left.

    A command that writes rarely would otherwise notice that with its next line only. Windows does not tell.
    """
    mode = os.fstat(sys.stdout.fileno()).st_mode
    poll = _poll(sys.stdout.fileno(), None) if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None
    if poll is not None:
        background(lambda: (poll.poll(), call()), "watch of standard output").start()


def _poll(descriptor: int, event: str | None) -> select.poll | None:
    """Return an object that waits for an event, and for the end; None where the system has none."""
    if not hasattr(select, "poll"):  # Windows
        return None
    poll = select.poll()
    poll.register(descriptor, getattr(select, event) if event else 0)
    return poll
