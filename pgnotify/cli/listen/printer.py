"""Prints notifications and gaps, and runs a command for each notification."""

from __future__ import annotations

from pgnotify.cli.command_line import FAILED
from pgnotify.cli.lines import Began, Form, Item, Received
from pgnotify.cli.listen.arrivals import Arrivals
from pgnotify.cli.listen.execute import Command
from pgnotify.cli.messages import Messages
from pgnotify.cli.output import Output
from pgnotify.listener.gap import Reason


class Printer:
    """Prints a line for each item, and runs the command for each notification.

    Args:
        output: where lines go.
        form: makes the lines.
        command: of --exec; None if there is none.
        messages: print on standard error.
    """

    def __init__(self, output: Output, form: Form, command: Command | None, messages: Messages) -> None:
        self._output = output
        self._form = form
        self._command = command
        self._messages = messages
        self._has_failed = False

    def print_all(self, arrivals: Arrivals, timeout: float | None, count: int | None) -> int:
        """Print each item, until nothing arrives for `timeout` seconds, or `count` notifications have arrived.

        Returns:
            The exit code: 1 if a command has failed.

        Raises:
            RuntimeError: fewer notifications than `count` have arrived.
        """
        printed = 0
        while count is None or printed < count:
            item = arrivals.next(timeout)
            if item is None:
                if count is not None:
                    raise RuntimeError(f"{printed} of {count} notifications arrived, and no more for {timeout:g} s")
                break
            printed += self._print(item)
        return FAILED if self._has_failed else 0

    def _print(self, item: Item) -> bool:
        """Print an item; return whether it is a notification."""
        line = self._form(item)
        if line is not None:
            self._output.write(line)
        if not isinstance(item, Received):
            self._warn_of_dropped(item)
            return False
        self._execute(item)
        return True

    def _warn_of_dropped(self, item: Began) -> None:
        """Say that notifications were dropped here. The listener's log has all other gaps."""
        gap = item.event.gap
        if gap is not None and gap.reason is Reason.QUEUE_OVERFLOW:
            slow = "the command of --exec" if self._command else "the reader of standard output"
            self._messages.warn(f"{gap.dropped:,} notifications were dropped: {slow} is too slow")

    def _execute(self, received: Received) -> None:
        why = None if self._command is None else self._command.run(received)
        if why is not None:
            self._has_failed = True
            self._messages.warn(f"{why} (channel {received.notification.channel!r})")
