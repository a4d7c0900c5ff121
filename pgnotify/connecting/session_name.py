"""The name that a listener's session has on the server: its application_name, which pg_stat_activity shows.

The default name has the program and the process, so that an administrator can tell processes apart. The logs and the
metrics do not use it: they know their process, and a metric for each process ID would never end.
"""

from __future__ import annotations

import os
import re
import sys
from itertools import accumulate, takewhile
from pathlib import Path

from pgnotify.connecting.keywords import environment

MAX_NAME_BYTES = 63
"""NAMEDATALEN - 1. The server cuts a longer application_name with only a NOTICE."""

# A NUL or a surrogate cannot be sent, and the server replaces the other control characters.
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_CUT = "..."


def session_name(name: str | None) -> str:
    """Return the application_name for a listener, at this moment: a child that was forked has another default.

    Args:
        name: the listener's; None stands for "pgnotify: <program> <process ID>".
    """
    return fitted(name or f"pgnotify: {_program()} {os.getpid()}")


def name_for_unnamed(name: str | None) -> str:
    """Return the application_name for a connection of the user's that has none: PGAPPNAME, as libpq would have used it.

    Bytes that are not ASCII are written in hexadecimal, as the server shows them from PostgreSQL 16 on. So the name can
    be sent in any client_encoding.

    Args:
        name: as for session_name(), which names it if PGAPPNAME does not.
    """
    name = environment().get("application_name") or session_name(name)
    return name.encode("utf-8", "surrogateescape").decode("ascii", "backslashreplace")


def fitted(name: str) -> str:
    """Return a name that the server shows whole: one that is too long has its middle replaced by "...".

    Its beginning and its end stay, as one of these tells it from others, such as a number. The server shows "?" for
    each byte that is not ASCII, and from PostgreSQL 16 on four characters, its number.
    """
    name = _UNSENDABLE.sub("?", name)
    if sum(map(_shown_bytes, name)) <= MAX_NAME_BYTES:
        return name
    limit = (MAX_NAME_BYTES - len(_CUT)) // 2
    return _head(name, limit) + _CUT + _head(name[::-1], limit)[::-1]


def _head(text: str, limit: int) -> str:
    sizes = accumulate(map(_shown_bytes, text))
    return text[: sum(1 for _ in takewhile(limit.__ge__, sizes))]


def _shown_bytes(character: str) -> int:
    return 1 if character.isascii() else 4 * len(character.encode())


def _program() -> str:
    path = Path(sys.argv[0] if getattr(sys, "argv", None) else "")
    if path.name == "__main__.py":  # python -m package
        return path.parent.name
    return path.name if path.name not in ("", "-c", "-m") else "python"
