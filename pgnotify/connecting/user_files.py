"""The account that runs us, and where libpq looks for a user's files (34.16, 34.17, 34.19).

Nothing is read here.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path


def account_name() -> str:
    """Return the name of the account, which is libpq's default for the user; LOGNAME and USER do not count.

    Raises:
        ValueError: the account has no name.
    """
    if os.name == "nt":
        return getpass.getuser()
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ValueError(f"there is no user with the ID {os.geteuid()}, so the user must be given") from None


def tls_file(name: str) -> Path | None:
    """Return the path of a file in ~/.postgresql, such as root.crt; None if the user has no home."""
    directory = _in_home(".postgresql")
    return directory / name if directory is not None else None


def password_file() -> Path | None:
    """Return the path of ~/.pgpass; None if the user has no home."""
    if os.name == "nt":
        return tls_file("pgpass.conf")
    return _in_home(".pgpass")


def service_file() -> Path | None:
    """Return the path of ~/.pg_service.conf; None if the user has no home."""
    if os.name == "nt":
        return tls_file(".pg_service.conf")
    return _in_home(".pg_service.conf")


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
