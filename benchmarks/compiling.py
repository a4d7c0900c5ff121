"""Compiles the program in C on the spot, against the libpq of the `pg_config` on the PATH, or of the server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from pgnotify.testing.finder import find_postgresql

SOURCE = Path(__file__).parent / "libpq.c"


class Compiled(NamedTuple):
    """A compiled program."""

    path: Path
    libpq: str
    """The version of its libpq."""


class CannotCompileError(Exception):
    """There is no program in C; the text says why."""


def compiled(directory: Path) -> Compiled:
    """Compile the program into a directory.

    Raises:
        CannotCompileError: there is no C compiler, no pg_config, or it failed.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise CannotCompileError("there is no C compiler")
    pg_config = shutil.which("pg_config") or shutil.which("pg_config", path=str(find_postgresql()))
    if pg_config is None:
        raise CannotCompileError("there is no pg_config, which comes with libpq's headers")
    include, library, version = (_said_by(pg_config, f"--{what}") for what in ("includedir", "libdir", "version"))
    path = directory / "libpq"
    command = [compiler, "-O2", f"-I{include}", SOURCE, f"-L{library}", f"-Wl,-rpath,{library}", "-lpq", "-o", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotCompileError(f"{compiler} failed: {done.stderr.strip()}")
    return Compiled(path, version.removeprefix("PostgreSQL ").partition(" ")[0])


def _said_by(pg_config: str, option: str) -> str:
    return subprocess.run([pg_config, option], capture_output=True, text=True, check=True).stdout.strip()
