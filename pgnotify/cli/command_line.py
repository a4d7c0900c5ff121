"""What holds for all commands: errors in one line, exit codes, `--debug`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from typer import Abort
from typer.core import TyperGroup

from pgnotify.cli import streams
from pgnotify.cli.errors import line_of, without_secrets
from pgnotify.errors import UnknownBackend

FAILED = 1
"""The exit code if something failed, or is broken."""
MISUSED = 2
"""The exit code of a command that could not begin: a wrong option, or something is not installed."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""


class CannotBegin(Exception):
    """A command could not begin. It has printed nothing, and its exit code is 2."""


# A ValueError is about a value that was given, such as a connection string or the name of a channel.
_MISUSES = (CannotBegin, UnknownBackend, ValueError)


class Group(TyperGroup):
    """A group of commands. Without a command, it shows its help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments that stand before the command."""
        return super().parse_args(ctx, args or ["--help"])


class CommandLine(Group):
    """The group of all commands. An error of any of them ends the process with one line, and with an exit code."""

    def main(self, args: Sequence[str] | None = None, *positional: Any, **extra: Any) -> NoReturn:
        """Run the command of these arguments, by default those of the process, and exit."""
        arguments, is_debugging = _without_debug(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        streams.prepare()
        try:
            code = super().main(arguments, *positional, **extra)
            streams.flush()
        except Abort:
            sys.exit(FAILED)  # the answer to a question was no
        except BrokenPipeError:
            sys.exit(_end_quietly())
        except Exception as error:
            _print(error, arguments, is_debugging)
            sys.exit(MISUSED if isinstance(error, _MISUSES) else getattr(error, "exit_code", FAILED))
        sys.exit(code)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. If nobody reads its output any more, or after Ctrl-C, end quietly."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            return _end_quietly()


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Take `--debug` out of the arguments: it may stand after the command, too."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [argument for argument in arguments[:end] if argument != "--debug"]
    return [*options, *arguments[end:]], len(options) < end


def _print(error: Exception, arguments: Sequence[str], with_traceback: bool) -> None:
    """Print the line of an error, or its traceback; without secrets: a driver's error may quote the connection string.

    It may quote what others have written, too, so control characters are escaped.
    """
    from pgnotify.cli.messages import say

    if not with_traceback:
        say(f"pgnotify: {_line_of(error, arguments)}")
        return
    import traceback

    for line in without_secrets("".join(traceback.format_exception(error)), arguments).rstrip("\n").split("\n"):
        say(line)


def _line_of(error: Exception, arguments: Sequence[str]) -> str:
    # Typer's errors, of a class that it has had in different places, know their message and the command.
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return line_of(error, arguments)
    context = getattr(error, "ctx", None)
    where = f" (see {context.command_path} --help)" if context is not None else ""
    return line_of(ValueError(f"{format_message()}{where}"), arguments)


def _end_quietly() -> int:
    """Discard what nobody reads; return the exit code."""
    streams.discard()
    return 0
