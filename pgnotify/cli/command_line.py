"""What holds for all commands: errors in one line, exit codes, `--debug`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from typer import Abort
from typer.core import TyperGroup

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
        try:
            code = super().main(arguments, *positional, **extra)
            sys.stdout.flush()
        except Abort:
            sys.exit(FAILED)  # the answer to a question was no
        except BrokenPipeError:
            sys.exit(_end_quietly())
        except Exception as error:
            if is_debugging:
                _print_traceback(error, arguments)
            else:
                print(f"pgnotify: {_line_of(error, arguments)}", file=sys.stderr)
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


def _print_traceback(error: Exception, arguments: Sequence[str]) -> None:
    """Print it as Python does, but without secrets: a driver's error may quote the connection string."""
    import traceback

    print(without_secrets("".join(traceback.format_exception(error)), arguments), end="", file=sys.stderr)


def _line_of(error: Exception, arguments: Sequence[str]) -> str:
    # Typer's errors, of a class that it has had in different places, know their message and the command.
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return line_of(error, arguments)
    context = getattr(error, "ctx", None)
    where = f" (see {context.command_path} --help)" if context is not None else ""
    return line_of(ValueError(f"{format_message()}{where}"), arguments)


def _end_quietly() -> int:
    """Discard what is not written yet, which the end of the process would try to write; return the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
