"""The command that `pgnotify listen --exec` runs for each notification."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone

from pgnotify.cli.command_line import CannotBegin
from pgnotify.cli.interruption import Interruption
from pgnotify.cli.lines import Received

SECONDS_TO_FINISH = 5.0
"""How long a command may go on after Ctrl-C or SIGTERM, until it gets a SIGTERM itself."""
SECONDS_TO_END = 1.0
"""How long it may then take, until it is killed."""

_STANDARD_ERROR = 2  # also if it is closed: see `pgnotify.cli.streams`


class Command:
    """Runs a command, with the payload on its standard input, and the names in its environment.

    The payload is not followed by a newline. The environment has PGNOTIFY_CHANNEL, PGNOTIFY_PID, which is the server
    process that has sent it, and PGNOTIFY_TIME, the moment at which it arrived (ISO 8601, in UTC). No shell is
    involved.

    Args:
        text: the program and its arguments, quoted as for a shell.
        interruption: the signals that end the command, too.
        say: called with a line for the user, when the command's end is waited for.
        output_to_errors: whether its standard output goes to standard error.

    Raises:
        CannotBegin: the text is not a command, or there is no such program.
    """

    def __init__(
        self, text: str, interruption: Interruption, say: Callable[[str], object], output_to_errors: bool
    ) -> None:
        try:
            self._arguments = shlex.split(text)
        except ValueError as error:
            raise CannotBegin(f"--exec {text!r} is not a command: {error}") from error
        if not self._arguments or shutil.which(self._arguments[0]) is None:
            raise CannotBegin(f"--exec: there is no program {''.join(self._arguments[:1])!r} in PATH")
        self._interruption = interruption
        self._say = say
        self._output = _STANDARD_ERROR if output_to_errors else None

    def run(self, received: Received) -> str | None:
        """Run it, and wait for its end; return how it failed, in words, or None if it has not.

        After Ctrl-C or SIGTERM it has `SECONDS_TO_FINISH`. A further signal kills it.
        """
        payload = received.notification.payload.encode("utf-8", "surrogateescape")
        try:
            process = subprocess.Popen(
                self._arguments, stdin=subprocess.PIPE, stdout=self._output, env=_environment(received)
            )
        except OSError as error:
            return f"{self._arguments[0]} could not be run: {error.strerror}"
        with process:
            try:
                process.communicate(payload)  # a command that does not read it is fine
            except KeyboardInterrupt:
                self._end(process)
                raise
        return _failure(self._arguments[0], process.returncode)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._interruption.ending(process.kill)
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()  # perhaps it waits for the end of its input
        if process.poll() is None:
            self._say(f"{self._arguments[0]} has {SECONDS_TO_FINISH:g} s to finish; a further signal kills it")
        for seconds, end in ((SECONDS_TO_FINISH, process.terminate), (SECONDS_TO_END, process.kill)):
            try:
                process.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                end()


def _environment(received: Received) -> dict[str, str]:
    channel, _, pid = received.notification
    moment = datetime.fromtimestamp(received.at, timezone.utc).isoformat(timespec="microseconds")
    return {**os.environ, "PGNOTIFY_CHANNEL": channel, "PGNOTIFY_PID": str(pid), "PGNOTIFY_TIME": moment}


def _failure(program: str, code: int) -> str | None:
    if not code:
        return None
    return f"{program} was ended by signal {-code}" if code < 0 else f"{program} has ended with exit code {code}"
