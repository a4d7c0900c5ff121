"""Make a connection string safe to show in a message or a log.

No message shows any text that may be a password. That is more than the password itself. In `password=my secret` the
second word belongs to it. In `postgresql://u:my/secret@h`, where "/" should be %2F, libpq reads `my` as the port.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pgnotify.connecting.conninfo import decoded, is_uri, parse, serialize, split_uri
from pgnotify.connecting.defaults import with_defaults
from pgnotify.connecting.dialect import libpq_form
from pgnotify.connecting.hosts import Address, hosts
from pgnotify.connecting.keywords import SECRETS, environment

# Of the hosts of a connection string, this many are shown.
HOSTS_SHOWN = 3

# A connection string inside a value (as libpq allows for dbname), or user:password@host in the wrong part.
_TRACE_OF_A_PASSWORD = re.compile(r"://|passw|secret|:.*@", re.DOTALL | re.IGNORECASE)


def redacted(dsn: str) -> str:
    """Return a connection string with *** in place of its secrets, for a message or a log.

    A URI stays a URI. Only the form is kept of a string that is unreadable, or in which part of a password seems to be
    read as something else (because a "/" in it is not written as %2F). Never raises ValueError.
    """
    dsn = libpq_form(dsn)
    try:
        return _redacted_uri(dsn) if is_uri(dsn) else serialize(_masked(parse(dsn)))
    except ValueError:
        return "postgresql://***" if is_uri(dsn) else "***"


def place_of(dsn: str) -> str:
    """Return the host:port/dbname that a connection string leads to, for a repr(): no user, and no secret.

    Values from the environment are included. A service is only named, since its values may change at any time. Where
    part of a password seems to be read as something else, it is "***". Never raises ValueError.
    """
    dsn = libpq_form(dsn)
    try:
        parameters = parse(dsn)
        service = {**environment(), **parameters}.get("service")
        shown = with_defaults(parameters)
        is_believable = not is_uri(dsn) or split_uri(dsn).is_believable
        if not is_believable or any(map(may_hold_a_password, _without_secrets(shown).values())):
            return "***"
        if service and not {"host", "hostaddr"} & parameters.keys():
            return f"service {service}"
        addresses = hosts(shown)
    except ValueError:
        return "***"
    places = [*map(_place, addresses[:HOSTS_SHOWN]), *["…"][: len(addresses) > HOSTS_SHOWN]]
    return ",".join(places) + (f"/{shown['dbname']}" if shown.get("dbname") else "")


def _place(address: Address) -> str:
    name = address.host or address.hostaddr or ""
    return f"[{name}]:{address.port}" if ":" in name else f"{name}:{address.port}"


def _redacted_uri(dsn: str) -> str:
    parameters = parse(dsn)
    uri = split_uri(dsn)
    if not uri.is_believable or any(map(may_hold_a_password, _without_secrets(parameters).values())):
        return f"{uri.scheme}***"
    password = uri.password and ":***"
    login = f"{uri.user}{password}@" if uri.user or password else ""
    query = "&".join(_masked_item(item) for item in uri.query_items)
    return "".join([uri.scheme, login, uri.hosts, uri.dbname and f"/{uri.dbname}", query and f"?{query}"])


def may_hold_a_password(value: str) -> bool:
    """Return whether a text looks as if it had a connection string with a password in it."""
    return _TRACE_OF_A_PASSWORD.search(value) is not None


def _without_secrets(parameters: Mapping[str, str]) -> dict[str, str]:
    return {keyword: value for keyword, value in parameters.items() if keyword not in SECRETS}


def _masked(parameters: Mapping[str, str]) -> dict[str, str]:
    return {
        keyword: "***" if keyword in SECRETS or may_hold_a_password(value) else value
        for keyword, value in parameters.items()
    }


def _masked_item(item: str) -> str:
    keyword, _, value = item.partition("=")
    return f"{keyword}=***" if decoded(keyword, "") in SECRETS else f"{keyword}={value}"
