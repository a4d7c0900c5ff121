"""Where libpq looks for the files of a user: certificates, keys and passwords (34.16, 34.19).

Nothing is read here.
"""

from __future__ import annotations

import os
from pathlib import Path


def tls_file(name: str) -> Path | None:
    """Return the path of a file in ~/.postgresql, such as root.crt; None if the user has no home."""
    directory = _in_home(".postgresql")
    return directory / name if directory is not None else None


def password_file() -> Path | None:
    """Return the path of ~/.pgpass; None if the user has no home."""
    if os.name == "nt":
        return tls_file("pgpass.conf")
    return _in_home(".pgpass")


def _in_home(name: str) -> Path | None:
    if os.name == "nt":
        return Path(os.environ["APPDATA"], "postgresql") if os.environ.get("APPDATA") else None
    home = os.environ.get("HOME") or _home_of_the_account()
    return Path(home, name) if home else None


def _home_of_the_account() -> str | None:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:  # a container may run under a number that has no account
        return None
