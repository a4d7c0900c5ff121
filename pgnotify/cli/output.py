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

    It does not use the stream's buffer: the rest that is there after Ctrl-C would be written at the end of the
    process, which waits for that as long as a pipe is full.

    Args:
        to_errors: whether to write to standard error.
        encoding: None takes the terminal's. Characters that it lacks are escaped.
    """

    def __init__(self, to_errors: bool = False, encoding: str | None = None) -> None:
        stream = sys.stderr if to_errors else sys.stdout
        if stream is None:
            raise CannotBegin(f"standard {'error' if to_errors else 'output'} is closed")
        stream.flush()
        self._descriptor = stream.fileno()
        self._encoding = encoding or stream.encoding
        self.is_terminal = stream.isatty()

    def write(self, line: str) -> None:
        """Write a line. If an exception of a signal handler comes in between, it was written whole, or not at all.

        This is so for lines of at most 4,096 bytes, PIPE_BUF. The exception may cut a longer one, if a pipe is full.

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        rest = memoryview(f"{line}\n".encode(self._encoding, "backslashreplace"))
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # another process, with which it is shared, has made it non-blocking
                wait_writable(self._descriptor)


def when_unread(call: Callable[[], object]) -> None:
    """Call something, in a thread, when standard output is a pipe and its reader has left.

    A command that writes rarely would otherwise notice that with its next line only. Windows does not tell.
    """
    if sys.stdout is None:
        return
    mode = os.fstat(sys.stdout.fileno()).st_mode
    if hasattr(select, "poll") and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # POLLERR and POLLHUP are always reported
        background(lambda: (poll.poll(), call()), "watch of standard output").start()


def wait_writable(descriptor: int) -> None:
    """Wait until something can be written, or nobody reads it any more."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()
