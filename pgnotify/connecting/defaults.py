"""What libpq takes for the parameters that a connection string does not have: the service file and the environment.

The rules are those of the PostgreSQL 18 documentation, 34.17 (the service file). Where the documentation is silent, the
rule is the behaviour of libpq 18.6, and the tests check that it still is.

The values are read again for each connection, as libpq does. An administrator may change the file at a fail-over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pgnotify.connecting.keywords import SYSTEM_ROOTS, environment
from pgnotify.connecting.user_files import service_file

# Where a libpq looks that was not told by PGSYSCONFDIR is compiled into it. These are the directories of Debian, which
# the wheels of psycopg and psycopg2 have too, of PostgreSQL's own RPMs, and of its source.
SYSTEM_DIRECTORIES = ("/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc")

_SPACE = " \t\n\v\f\r"  # C's
_SETTING = re.compile(r"(ldap(?=s?://)|\w+(?==))=?(.*)", re.ASCII)


def with_defaults(parameters: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the parameters that a connection would have: the given ones, the service's, the environment's.

    Each goes before the following. `service` is left only if it is not found in any file known here. A libpq may know
    another one, and then nobody but libpq knows the rest of the parameters.

    Raises:
        ValueError: the service file cannot be read, as libpq would not read it either.
    """
    given = {**environment(environ), **parameters}
    service = given.get("service")
    found = None if service is None else _read_service(service, environ)
    if found is None:
        return given
    given = {**environment(environ), **found, **parameters}
    del given["service"]
    return given


def with_verification(parameters: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the parameters, with the sslmode that sslrootcert=system implies: verify-full, which it also requires.

    Anybody can have a certificate of an authority that the system trusts, so only the name in it proves something.
    libpq has this rule from 16 on. An earlier one takes "system" for the name of a file, finds none, and with a weaker
    sslmode verifies nothing. With verify-full it refuses to connect.

    Raises:
        ValueError: the parameters, the service or the environment have a weaker sslmode; or the service file cannot be
            read.
    """
    given = with_defaults(parameters, environ)
    if given.get("sslrootcert") != SYSTEM_ROOTS or "service" in given:  # a service may set both; libpq reads it
        return dict(parameters)
    mode = given.get("sslmode", "verify-full")
    if mode != "verify-full":
        raise ValueError(f'weak sslmode "{mode}" may not be used with sslrootcert=system (use "verify-full")')
    return {**parameters, "sslmode": mode}


def _read_service(service: str, environ: Mapping[str, str]) -> dict[str, str] | None:
    """Return the parameters of a service, from the first file that has it; None if none has."""
    return next((found for path in _files(environ) if (found := _section(path, service)) is not None), None)


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    if "PGSERVICEFILE" in environ:
        yield Path(environ["PGSERVICEFILE"])  # must exist
    elif (path := service_file()) is not None and path.exists():
        yield path
    if "PGSYSCONFDIR" in environ:
        directories: tuple[str, ...] = (environ["PGSYSCONFDIR"],)
    else:
        directories = SYSTEM_DIRECTORIES
    yield from filter(Path.exists, (Path(directory, "pg_service.conf") for directory in directories))


def _section(path: Path, service: str) -> dict[str, str] | None:
    """Return the parameters of a service in one file, the first value of each; None if the file does not have it.

    A keyword that is unknown here stays, since a newer libpq may know it. So does the line of an LDAP look-up, whose
    result only libpq knows.
    """
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ValueError(f'service file "{path}" not found: {error.strerror}') from error
    found: dict[str, str] | None = None
    for number, untrimmed in enumerate(text.split("\n"), 1):
        line = untrimmed.strip(_SPACE)
        if line.startswith("["):
            if found is not None:
                break
            found = {} if line.startswith(f"[{service}]") else None
        elif found is not None and line and not line.startswith("#"):
            keyword, value = _setting(line, f'service file "{path}", line {number}')
            found.setdefault(keyword, value)
    return found


def _setting(line: str, place: str) -> tuple[str, str]:
    """Return the keyword and the value of a line. No message shows the line, which may have a password."""
    setting = _SETTING.fullmatch(line)
    if setting is None:
        raise ValueError(f"syntax error in {place}")
    if setting[1] == "service":
        raise ValueError(f"nested service specifications not supported in {place}")
    return setting[1], setting[2]
