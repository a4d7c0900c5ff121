"""The standard streams of the process, as a command finds them: some may be closed, or lack characters."""

from __future__ import annotations

import io
import os
import sys

import typer


def prepare() -> None:
    """Keep the numbers of closed streams from connections, and escape the characters that standard output lacks.

    Python has None for a closed stream, and keeps it. Its number would become that of the next file or connection, and
    a program that the command starts would write there.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            break
        os.set_inheritable(descriptor, True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it


def write_exactly(text: str) -> None:
    """Write a text that no escape may stand in, such as SQL, to standard output.

    Raises:
        ValueError: standard output lacks one of its characters.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="strict")
    typer.echo(text, nl=False)


def flush() -> None:
    """Write what the buffer of standard output has.

    Raises:
        OSError: it cannot be written, for example a BrokenPipeError.
    """
    if sys.stdout is not None:
        sys.stdout.flush()


def discard() -> None:
    """Discard what is not written yet, which the end of the process would try to write."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
