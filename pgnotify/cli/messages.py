"""Messages on standard error, which are the listener's log."""

from __future__ import annotations

import logging
import os
import sys

from pgnotify.cli.errors import line_of, without_secrets
from pgnotify.cli.lines import printable


class Messages(logging.Handler):
    """Prints the log of a listener, one line for each record, on standard error.

    Until `begin` it only collects: the error of the first attempt to connect ends a command, and is printed as such.

    Args:
        level: that of `logging` from which on records are printed.
    """

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._held: list[str] | None = []
        self._log = logging.getLogger("pgnotify.listener")

    def __enter__(self) -> Messages:
        self._log.addHandler(self)
        self._log.setLevel(self.level)
        return self

    def __exit__(self, *error: object) -> None:
        self._log.removeHandler(self)

    def begin(self) -> None:
        """Print the collected lines, and from now on each line at once."""
        held, self._held = self._held, None
        for line in held or ():
            say(line)

    def say(self, text: str) -> None:
        """Print a line, unless only errors are wanted."""
        if self.level < logging.ERROR:
            say(f"pgnotify: {text}")

    def warn(self, text: str) -> None:
        """Print a line, whether or not only errors are wanted."""
        say(f"pgnotify: {text}")

    def emit(self, record: logging.LogRecord) -> None:
        """Print or collect a record: its text, and the error's, without a traceback."""
        error = record.exc_info[1] if record.exc_info else None
        line = without_secrets(record.getMessage(), sys.argv)
        if error is not None:
            line += f": {line_of(error, sys.argv)}"
        if self._held is None:
            say(line)
        else:
            self._held.append(line)


def say(line: str) -> None:
    """Print a line on standard error, if that is open and somebody reads it."""
    if sys.stderr is None:  # print() would take standard output
        return
    try:
        print(printable(line), file=sys.stderr, flush=True)
    except OSError:  # the line is still in the buffer, and would fail again at the end of the process
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
