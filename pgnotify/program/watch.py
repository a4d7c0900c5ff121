"""The memory of a program between its steps."""

from __future__ import annotations

from collections import deque

from pgnotify.notification import Plain
from pgnotify.program.actions import Fetch, Program
from pgnotify.program.state import Input, State, advance


class Watch:
    """The memory of a program between its steps: one watch over some channels.

    The queue holds notifications that were fetched and are not delivered yet. A callback that raises
    loses nothing.

    Args:
        channels: to listen to; duplicates are ignored.
    """

    __slots__ = ("channels", "commands", "fetch", "in_force", "interrupted", "queue", "state", "stop_requested")

    def __init__(self, *channels: str) -> None:
        self.channels: tuple[str, ...] = tuple(dict.fromkeys(channels))
        self.state: State = State.IDLE
        self.in_force: dict[str, None] = {}
        """The channels whose LISTEN is in force, or may be: after a Ctrl-C this is unknown. The values mean nothing."""
        self.queue: deque[Plain] = deque()
        self.fetch = Fetch(self.queue)
        """The action that fills the queue. Making a new one each time would cost more than the rest of the step."""
        self.commands: deque[Program[object]] = deque()
        """The requests of other threads, as programs; see `carry_out`."""
        self.stop_requested: bool = False
        self.interrupted: bool = False
        """Set last, after every other change here. A delivery that sees it ends early."""

    def happened(self, fact: Input) -> None:
        """Enter the state that follows on a fact.

        Raises:
            RuntimeError: the fact cannot happen in this state, which is a bug of pgnotify.
        """
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
        """End the running delivery after the current notification; safe in a signal handler."""
        self.interrupted = True

    def request_stop(self) -> None:
        """Ask the loop to end; safe in a signal handler."""
        self.stop_requested = True
        self.interrupt()

    def request(self, command: Program[object]) -> None:
        """Ask the loop to run a program in its own thread; safe in a signal handler."""
        self.commands.append(command)
        self.interrupt()
