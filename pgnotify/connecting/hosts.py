"""Which addresses to try: the comma-separated lists in host, hostaddr and port (34.1.1.3), split.

No name is looked up and no connection opened. Only the default host depends on the machine: on which socket directory
has a socket.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

DEFAULT_PORT = 5432
"""The port of a server unless it is configured otherwise. A libpq may have been built with another default."""

# Where servers put their socket: the directory of Debian and Red Hat, then PostgreSQL's own. In this order, because
# any user may put a socket into /tmp.
SOCKET_DIRECTORIES = ("/var/run/postgresql", "/tmp")

_PORT = re.compile(r"\s*[+-]?[0-9]{1,10}\s*", re.ASCII)

# They are in the wrong part of a URI, and the rest of the name may be the rest of a password.
_NOT_IN_A_NAME = re.compile("[@?&=]")


class Address(NamedTuple):
    """One address to try: one element of each of the lists in host, hostaddr and port."""

    host: str
    """A name, an IP address or a socket directory. Empty if only hostaddr was given: TLS then has no name to verify."""
    hostaddr: str | None
    """The IP address to connect to without a look-up of host. host then serves TLS and Kerberos only."""
    port: int

    @property
    def unix_socket(self) -> str | None:
        """Return the path of the Unix socket to connect to, or None for TCP. With hostaddr it is always TCP."""
        return None if self.hostaddr else socket_path(self.host, self.port)


def hosts(parameters: Mapping[str, str]) -> list[Address]:
    """Return the addresses to try, in this order, from the lists in host, hostaddr and port (34.1.1.3).

    An address without host and hostaddr is on this machine: it is the socket directory that has a socket for its
    port, or "localhost" if there is none. For load_balance_hosts=random the caller shuffles.

    Raises:
        ValueError: the lists differ in length, a port is not a number from 1 to 65535, or a name has "@", "?", "&" or
            "=". The message shows neither: in `postgresql://user:password`, where "@host" is missing, the port is the
            password, and in `postgresql://user:pass@word@host` the name has the end of it.
    """
    names = _checked_names(_listed(parameters, "host"))
    numbers = _listed(parameters, "hostaddr")
    if names and numbers and len(names) != len(numbers):
        raise ValueError(f"could not match {len(names)} host names to {len(numbers)} hostaddr values")
    count = max(len(names), len(numbers), 1)
    places = zip(names or [""] * count, numbers or [""] * count, _ports(parameters, count), strict=True)
    return [_address(name, number, port) for name, number, port in places]


def socket_path(host: str, port: int) -> str | None:
    """Return the path of the Unix socket that libpq uses for a host, or None if it uses TCP.

    A host that begins with "/" is the socket's directory. A host that begins with "@" is in Linux's abstract
    namespace; its path begins with NUL, as the socket module expects.
    """
    if not host.startswith(("/", "@")):
        return None
    path = f"{host}/.s.PGSQL.{port}"
    return "\0" + path[1:] if host.startswith("@") else path


def is_port_number(text: str) -> bool:
    """Return whether libpq reads a port as a number, in range or not."""
    return _PORT.fullmatch(text) is not None


def _address(name: str, number: str, port: int) -> Address:
    return Address(name if name or number else _default_host(port), number or None, port)


def _default_host(port: int) -> str:
    with_a_socket = (directory for directory in SOCKET_DIRECTORIES if os.path.exists(f"{directory}/.s.PGSQL.{port}"))
    return next(with_a_socket, "localhost")


def _listed(parameters: Mapping[str, str], keyword: str) -> list[str]:
    text = parameters.get(keyword, "")
    return text.split(",") if text else []


def _checked_names(names: list[str]) -> list[str]:
    for place, name in enumerate(names, 1):
        found = None if name.startswith("/") else _NOT_IN_A_NAME.search(name.removeprefix("@"))
        if found:
            raise ValueError(
                f"host {place} of {len(names)} has {found[0]!r}, which no host name has; "
                f"in the password of a URI, write it as %{ord(found[0]):X}"
            )
    return names


def _ports(parameters: Mapping[str, str], count: int) -> list[int]:
    texts = _listed(parameters, "port") or [""]
    if len(texts) not in (1, count):
        raise ValueError(f"could not match {len(texts)} port numbers to {count} hosts")
    ports = list(_checked_ports(texts))
    return ports * count if len(ports) == 1 else ports


def _checked_ports(texts: list[str]) -> Iterator[int]:
    for place, text in enumerate(texts, 1):
        number = int(text) if is_port_number(text) else 0
        if text and not 1 <= number <= 65535:
            raise ValueError(f"port {place} of {len(texts)} must be a number from 1 to 65535")
        yield number if text else DEFAULT_PORT
