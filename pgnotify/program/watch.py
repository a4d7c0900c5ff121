"""What is remembered between the steps of a program."""

from __future__ import annotations

from collections import deque

from pgnotify.notification import Plain
from pgnotify.program.actions import Program
from pgnotify.program.state import Input, State, advance


class Watch:
    """What is remembered between the steps of a program: one watch over some channels.

    The queue holds what was fetched and not delivered yet; a callback that raises loses nothing.
    """

    __slots__ = ("channels", "commands", "in_force", "interrupted", "queue", "state", "stop_requested")

    def __init__(self, *channels: str) -> None:
        self.channels: tuple[str, ...] = tuple(dict.fromkeys(channels))
        self.state: State = State.IDLE
        self.in_force: list[str] = []
        """The channels whose LISTEN is in force, or may be: after a Ctrl-C nobody knows."""
        self.queue: deque[Plain] = deque()
        self.commands: deque[Program[object]] = deque()
        """What other threads have asked for, as programs; see `carry_out`."""
        self.stop_requested: bool = False
        self.interrupted: bool = False
        """Set last, after any other change here; a delivery that sees it ends early."""

    def happened(self, fact: Input) -> None:
        """Take the state that follows."""
        self.state = advance(self.state, fact)

    def closed(self) -> None:
        """Record that the connection is closed, or no longer ours."""
        self.in_force.clear()
        self.happened(Input.CLOSED)

    def lost(self) -> None:
        """Record that the connection is lost."""
        self.in_force.clear()
        if self.state is not State.CLOSED:
            self.happened(Input.CONNECTION_LOST)

    def interrupt(self) -> None:
        """Have the running delivery end after the current notification."""
        self.interrupted = True

    def request_stop(self) -> None:
        """Ask the loop to end; safe in a signal handler."""
        self.stop_requested = True
        self.interrupt()

    def request(self, command: Program[object]) -> None:
        """Ask the loop to run a program in its own thread; safe in a signal handler."""
        self.commands.append(command)
        self.interrupt()
