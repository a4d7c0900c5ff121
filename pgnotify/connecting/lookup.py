"""All addresses of a list of hosts: a name may have several, such as those of a primary and its standbys.

If the server at a name's first address is not as target_session_attrs requires, libpq tries no further address of this
name, but the next host (fe-connect.c, up to 18). So each address becomes a host of its own.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping

from pgnotify.connecting.hosts import Address, hosts


def with_every_address(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters with a host, a hostaddr and a port for each address of each host, in the same order.

    They stay as they are if no name has more than one address. A name that cannot be resolved stays as it is: the
    driver reports that.

    Raises:
        ValueError: the lists of hosts cannot be read; see `pgnotify.connecting.hosts.hosts`.
    """
    named = hosts(parameters)
    found = [each for address in named for each in _addresses(address)]
    if len(found) == len(named):
        return dict(parameters)
    lists = zip(*((each.host, each.hostaddr or "", str(each.port)) for each in found), strict=True)
    return {**parameters, **dict(zip(("host", "hostaddr", "port"), map(",".join, lists), strict=True))}


def _addresses(address: Address) -> Iterator[Address]:
    if address.hostaddr or address.unix_socket or _is_number(address.host):
        yield address
        return
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        yield address
        return
    for number in dict.fromkeys(str(place[0]) for *_, place in found):
        yield address._replace(hostaddr=number)


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
