"""A connection URI that names its driver, as in `postgresql+driver://`, and an object that stands for one.

That is the form of a library above the drivers. Its own way to write some parts differs from libpq's. This module
translates them, and decides what is done with such an object. Whether there is the driver is decided by the registry.
"""

from __future__ import annotations

import re
from typing import Any, Protocol, TypeAlias

from pgnotify.limits import plain

_NAMES_DRIVER = re.compile(r"(postgres(?:ql)?)\+(\w+)://", re.ASCII)
_LOGIN = re.compile(r"[^@/]*@")
_MASKED = re.compile(r"postgres(?:ql)?(?:\+\w+)?://[^:@/]*:\*\*\*@", re.ASCII)
_HOST_AND_PORT = re.compile(r"([A-Za-z0-9.-]*)(?::|%3A)([0-9]*)", re.IGNORECASE | re.ASCII)
# Of a driver that calls the keyword differently. The other values that it takes are no strings.
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})


class RendersUri(Protocol):
    """An object that stands for a connection URI. Its str() masks the password."""

    def render_as_string(self, hide_password: bool = True) -> str:
        """Return the URI."""


ConnectionString: TypeAlias = "str | RendersUri"
"""A libpq connection string, a URI of the form `postgresql+driver://`, or an object that stands for one."""


def is_connection_string(source: object) -> bool:
    """Return whether an object is a connection string, or stands for one."""
    # Not isinstance(), which asks the object for its class: a closed connection may raise an error instead.
    return issubclass(type(source), str) or _renders_uri(source)


def written_out(source: ConnectionString) -> str:
    """Return a connection string with its password.

    Raises:
        ValueError: the password is masked.
        TypeError: it is not a connection string.
    """
    if isinstance(source, str):
        dsn = plain(source)
    elif _renders_uri(source):
        dsn = source.render_as_string(hide_password=False)
    else:
        raise TypeError(f"dsn must be a connection string, not a {type(source).__module__}.{type(source).__qualname__}")
    if _MASKED.match(dsn):
        raise ValueError(
            "the password in the connection URI is ***, as str() of a URL object writes it: pass the URL object "
            "itself, or url.render_as_string(hide_password=False)"
        )
    return dsn


def driver_in(dsn: str) -> str | None:
    """Return the name of the driver in a URI, as written; None if there is none."""
    found = _NAMES_DRIVER.match(dsn)
    return found and found[2]


def libpq_form(dsn: str) -> str:
    """Return a connection string in the form that libpq reads: a URI that names no driver. Others are returned as is.

    In a URI that names one, a space need not be encoded, a "+" in the query is a space, `host=h1:p1&host=h2:p2` is a
    list of hosts, and `ssl=` may have libpq's sslmode.
    """
    found = _NAMES_DRIVER.match(dsn)
    if found is None:
        return dsn
    login = _LOGIN.match(dsn, found.end())
    place, mark, query = dsn[login.end() if login else found.end() :].partition("?")
    named = f"{login[0] if login else ''}{place}".replace(" ", "%20")
    return f"{found[1]}://{named}{mark}{_libpq_query(query)}"


def _renders_uri(source: Any) -> bool:
    # Its class is asked. A closed connection may refuse every question, and a mock says yes to all of them.
    return callable(getattr(type(source), "render_as_string", None))


def _libpq_query(query: str) -> str:
    items = [_libpq_item(item) for item in query.replace("+", "%20").split("&")]
    hosts = [item.removeprefix("host=") for item in items if item.startswith("host=")]
    places = [_HOST_AND_PORT.fullmatch(host) for host in hosts]
    if len(hosts) < 2 and not any(places):
        return "&".join(items)
    others = [item for item in items if not item.startswith("host=")]
    names = ",".join(place[1] if place else host for place, host in zip(places, hosts, strict=True))
    ports = ",".join(place[2] if place else "" for place in places)
    return "&".join([*others, f"host={names}", *([f"port={ports}"] if any(places) else [])])


def _libpq_item(item: str) -> str:
    keyword, _, value = item.partition("=")
    return f"sslmode={value}" if keyword == "ssl" and value in _SSL_MODES else item
