"""Another account of the machine: a call in a child that has become it."""

from __future__ import annotations

import codecs
import contextlib
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgnotify.testing import NoPostgreSQL, _guard, find_postgresql

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="not applicable: only root can become another account")

STRANGER = 54321
"""An account that owns nothing; it needs no entry in /etc/passwd."""
NOBODY = 65534


def as_account(uid: int, call: Callable[[], object]) -> str:
    """Return what a call returns, as text, or its error; it is made by a child without any other right.

    The child cannot import what this process has not yet: Python may lie where only root reads, under its
    home. So the codec that a connect by name looks for is loaded before.

    Raises:
        RuntimeError: we cannot become this account, although we are root.
    """
    codecs.lookup("idna")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "could not become it"
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            said = str(call())
        except BaseException as error:
            said = traceback.format_exception_only(error)[-1].strip()
        finally:
            os.write(writer, said.encode(errors="replace")[:4000])
            os._exit(0)
    os.close(writer)
    with open(reader, errors="replace") as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    if said == "could not become it":
        raise RuntimeError(f"could not become {uid}")
    return said


_FIRST_LINE = "def enter_namespace() -> None:\n"


@contextlib.contextmanager
def without_namespaces() -> Iterator[None]:
    """Have guards that are started run their programs as another account, if we are root."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as monkeypatch:
        text = Path(_guard.__file__).read_text()
        changed = Path(directory, "guard.py")  # another process, so it cannot be patched from here
        changed.write_text(text.replace(_FIRST_LINE, f"{_FIRST_LINE}    raise PermissionError('no namespaces here')\n"))
        assert changed.read_text() != text
        monkeypatch.setattr(_guard, "__file__", str(changed))
        yield


def found_programs() -> Path:
    """Return the directory of the server's programs; skip the test if there is none."""
    try:
        return find_postgresql()
    except NoPostgreSQL as error:
        pytest.skip(str(error))


def skip_if_private(programs: Path) -> None:
    """Skip the test if we are root, and other accounts may not run these programs."""
    if os.geteuid() == 0 and programs.is_relative_to(Path.home()):
        pytest.skip("not applicable: the binaries are under root's home, which nobody else may enter")
