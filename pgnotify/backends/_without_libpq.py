"""Connecting as libpq does, for the drivers that have no libpq: which parameters can be expressed, and what they mean.

This module opens no connection.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pgnotify.connecting import tls
from pgnotify.connecting.defaults import with_defaults, with_verification
from pgnotify.connecting.hosts import Address, hosts
from pgnotify.connecting.keywords import refuse_undecoded
from pgnotify.connecting.passfile import password_for
from pgnotify.connecting.user_files import account_name, password_file

EXPRESSED = frozenset(
    {
        "host", "hostaddr", "port", "dbname", "user", "password", "passfile", "application_name",
        "fallback_application_name", "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", "load_balance_hosts", "options", "sslcert", "sslkey", "sslmode",
        "sslpassword", "sslrootcert", "sslcrl", "sslcrldir", "ssl_min_protocol_version", "ssl_max_protocol_version",
        "target_session_attrs",
    }
)  # fmt: skip
"""The keywords that this module, `pgnotify.connecting` and the driver together can express."""

# Expressed, or harmless, with these values only.
EXPRESSED_VALUES: Mapping[str, tuple[str, ...]] = {
    "gssencmode": ("disable", "prefer"),
    "channel_binding": ("disable", "prefer"),
    "sslsni": ("1",),
    "sslcertmode": ("disable", "allow"),
    "sslnegotiation": ("postgres",),
    "min_protocol_version": ("3.0",),
    "max_protocol_version": ("3.0", "3.2", "latest"),
}
# They matter for authentication methods that a driver does not have, and reports if the server asks for them; libpq
# itself ignores sslcompression since PostgreSQL 14.
WITHOUT_EFFECT = frozenset(
    {"krbsrvname", "gsslib", "gssdelegation", "sslcompression"}
    | {"oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope"}
)
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_READ_ONLY = "SHOW transaction_read_only"  # calls no function, which the role might not be allowed to do
_STANDBY = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'on' ELSE 'off' END"
SESSION_ATTRIBUTES: dict[str, tuple[str, str] | None] = {
    "any": None,
    "read-write": (_READ_ONLY, "off"),
    "read-only": (_READ_ONLY, "on"),
    "primary": (_STANDBY, "off"),
    "standby": (_STANDBY, "on"),
}
"""The question for each target_session_attrs, and the answer that it requires."""

CANNOT_CONNECT_NOW = "57P03"  # the server is starting or stopping; libpq, too, tries the next host


class Expressible(NamedTuple):
    """The parameters that a driver can express."""

    driver: str
    """Its name, for messages."""
    keywords: frozenset[str] = EXPRESSED
    values: Mapping[str, tuple[str, ...]] = EXPRESSED_VALUES

    def check(self, parameters: dict[str, str]) -> dict[str, str]:
        """Return the parameters with libpq's defaults.

        Raises:
            ValueError: the driver cannot express one of them, or libpq does not know a value.
        """
        given = with_defaults(with_verification(parameters))
        for keyword, value in given.items():
            refuse_undecoded(keyword, value)
            self._refuse_inexpressible(keyword, value)
        _check_choice(given, "sslmode", _SSL_MODES)
        _check_choice(given, "target_session_attrs", (*SESSION_ATTRIBUTES, "prefer-standby"))
        _check_choice(given, "load_balance_hosts", ("disable", "random"))
        return given

    def _refuse_inexpressible(self, keyword: str, value: str) -> None:
        if keyword == "service":  # its parameters would stand in its place
            raise ValueError(f'definition of service "{value}" not found')
        if keyword in self.values:
            if value not in self.values[keyword]:
                possible = " or ".join(self.values[keyword])
                raise ValueError(
                    f"{self.driver} cannot express {keyword}={value!r}, only {possible}; use another driver for it"
                )
        elif value and keyword not in self.keywords | WITHOUT_EFFECT | {"requirepeer"}:
            raise ValueError(
                f"{self.driver} cannot express the connection parameter {keyword!r}; use another driver for it"
            )

    def attempts(self, given: dict[str, str]) -> Iterator[tuple[Address, str]]:
        """Yield each address to try, in order, with the target_session_attrs that the session must have there.

        Raises:
            ValueError: the driver cannot express requirepeer; or an address, or a parameter of TLS, is impossible.
        """
        addresses = hosts(given)
        if any(address.unix_socket is None for address in addresses) and given.get("sslmode") != "disable":
            tls.check(given)
        if given.get("load_balance_hosts") == "random":
            random.shuffle(addresses)
        wanted = given.get("target_session_attrs", "any")
        for attributes in ("standby", "any") if wanted == "prefer-standby" else (wanted,):
            for address in addresses:
                if address.unix_socket is not None and given.get("requirepeer"):
                    raise ValueError(
                        f"{self.driver} cannot express requirepeer, which concerns Unix sockets; "
                        "use another driver for it"
                    )
                yield address, attributes


def _check_choice(given: dict[str, str], keyword: str, choices: tuple[str, ...]) -> None:
    if given.get(keyword, choices[0]) not in choices:
        raise ValueError(f"{keyword} must be one of {', '.join(choices)}, not {given[keyword]!r}")


def seconds_to_connect(given: dict[str, str]) -> float | None:
    """Return the connect_timeout; None for ever."""
    seconds = float(given.get("connect_timeout") or 0)
    return seconds if seconds > 0 else None


class Login(NamedTuple):
    """Who connects, and to which database."""

    user: str
    database: str
    password: str | None


def login(address: Address, given: dict[str, str]) -> Login:
    """Return who connects to an address, with the password of the password file if none is given."""
    user = given.get("user") or account_name()
    database = given.get("dbname") or user
    return Login(user, database, given.get("password") or _password_from_file(address, database, user, given))


def _password_from_file(address: Address, database: str, user: str, given: dict[str, str]) -> str | None:
    path = Path(given["passfile"]) if given.get("passfile") else password_file()
    password = path and password_for(address, database, user, path)
    if not password:
        return None
    refuse_undecoded("password", password)
    return password


def place_of(address: Address) -> str:
    """Return the address for messages."""
    if address.unix_socket is not None:
        return address.unix_socket
    named = f"{address.host} ({address.hostaddr})" if address.host and address.hostaddr else address.host
    return f"{named or address.hostaddr} port {address.port}"


def keep_alive(plug: socket.socket, given: dict[str, str]) -> None:
    """Set the keepalive of a TCP socket, as the parameters want it."""
    plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if given.get("keepalives", "1") == "0":
        return
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "keepalives_idle": "TCP_KEEPIDLE",
        "keepalives_interval": "TCP_KEEPINTVL",
        "keepalives_count": "TCP_KEEPCNT",
        "tcp_user_timeout": "TCP_USER_TIMEOUT",
    }
    for keyword, name in options.items():
        # As in libpq: 0 is the system's default, and a system without the option ignores it.
        if int(given.get(keyword, "0")) and hasattr(socket, name):
            plug.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), int(given[keyword]))
