"""Runs every command with each form of a secret, in one process; prints what they print.

`python -m tests.helpers.every_command [--debug] [--without-drivers]`: a line for each run, with its arguments, code
and output as JSON.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import typer.main

from pgnotify import registry
from pgnotify.cli.app import app

SECRET = "s3cr3t"
NOBODY = "127.0.0.1:1"  # where no server listens
# No text of a command has any of these.
PARTS = (SECRET, "s3cr", "cr3t", "q9/ü", "q9%2f", "q9%2F")
FORMS = {
    "a URI": f"postgresql://ann:{SECRET}@{NOBODY}/x",
    "a URI with %": f"postgresql://ann:q9%2f%c3%bc@{NOBODY}/x",
    "a URI with a bad port": f"postgresql://ann:{SECRET}@127.0.0.1:port/x",
    "a URI with bad %": f"postgresql://ann:{SECRET}%zz@{NOBODY}/x",
    "a URI with a slash": f"postgresql://ann:s3cr/cr3t@{NOBODY}/x",
    "a URI with a hash": f"postgresql://ann:s3cr#cr3t@{NOBODY}/x",
    "a URI with @": f"postgresql://ann:s3cr@cr3t@{NOBODY}/x",
    "a URI with a query": f"postgresql://ann@{NOBODY}/x?password={SECRET}&sslpassword=cr3t",
    "a URI of SQLAlchemy": f"postgresql+nodriver://ann:{SECRET}@{NOBODY}/x",
    "pairs": r"host=127.0.0.1 port=1 user=ann password='s3cr \'cr3t'",
    "unreadable pairs": f"host=127.0.0.1 port=1 password={SECRET} user",
}
VARIABLES = ("PGPASSWORD", "PGNOTIFY_DSN")
# Arguments of commands that need some. The command `bench` gets none that would have it run.
NEEDED = {
    "check": ["nosuchmodule:function"],
    "listen": ["channel", "--timeout", "0.01"],
    "notify": ["channel"],
    "top": ["channel"],
    "trigger": ["table", "--channel", "channel"],
    "rebase": ["--yes"],
    "replicate": ["--sql"],
    "bench": ["--results", "/nosuch"],
}


class Run(NamedTuple):
    """One run of a command."""

    arguments: list[str]
    code: int
    out: str


@functools.cache
def group() -> Any:
    """Return the group of all commands."""
    return typer.main.get_command(app)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[list[str], Any]]:
    """Yield each command that is not a group, with the arguments that choose it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield [*path, name], command


def runs() -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield the arguments and environment variables of each run."""
    for path, command in commands(group()):
        needed = [*path, *NEEDED.get(path[-1], [])]
        options = {option for parameter in command.params for option in parameter.opts}
        takes_arguments = any(parameter.param_type_name == "argument" for parameter in command.params)
        for form in FORMS.values():
            yield [*needed, form], {}
            if takes_arguments:
                yield [*path, form, *needed[len(path) :]], {}
            if "--dsn" in options:
                yield [*needed, "--dsn", form], {}
                yield needed, {"PGNOTIFY_DSN": form}
            if "--driver" in options:
                yield [*needed, "--driver", form, "--dsn", f"postgresql://{NOBODY}"], {}
        if "--dsn" in options:
            yield [*needed, "--dsn", f"postgresql://{NOBODY}"], {"PGPASSWORD": SECRET}


def main() -> None:
    """Run them all. Their output goes to a file: some of them need a descriptor."""
    if "--without-drivers" in sys.argv:
        registry.is_installed = lambda package: False
    # It reads all distributions, and some commands ask each time.
    importlib.metadata.packages_distributions = functools.cache(importlib.metadata.packages_distributions)
    os.environ.update(PGHOST="127.0.0.1", PGPORT="1")  # instead of libpq's defaults
    debug = ["--debug"] if "--debug" in sys.argv else []
    with open(os.dup(1), "w") as results, tempfile.TemporaryFile("w+") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        for arguments, variables in runs():
            for name in VARIABLES:
                os.environ.pop(name, None)
            os.environ.update(variables)
            code, text = _run([*debug, *arguments], out)
            results.write(json.dumps(Run([*arguments, *variables], code, text)) + "\n")


def _run(arguments: list[str], out: IO[str]) -> tuple[int, str]:
    out.seek(0)
    out.truncate()
    code: Any = 0
    try:
        group().main(arguments, prog_name="pgnotify")
    except SystemExit as error:
        code = error.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    out.seek(0)
    return code, out.read()


if __name__ == "__main__":
    main()
