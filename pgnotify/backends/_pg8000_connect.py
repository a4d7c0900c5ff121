"""Connecting as libpq does, for the one driver that has no libpq.

Reads the parameters of a connection string, tries each host in turn, and makes the socket itself.
pg8000's own `timeout` is not libpq's connect_timeout: it counts for each read, and ends every later one, for good.
"""

from __future__ import annotations

import math
import random
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from inspect import signature
from pathlib import Path
from typing import Any

import pg8000.core
import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError

from pgnotify.backends._pg8000_socket import TLSSocket, open_socket
from pgnotify.connecting import tls
from pgnotify.connecting.defaults import with_defaults, with_verification
from pgnotify.connecting.hosts import Address, hosts
from pgnotify.connecting.keywords import refuse_undecoded
from pgnotify.connecting.passfile import password_for
from pgnotify.connecting.socket_handle import SocketHandle
from pgnotify.connecting.user_files import account_name, password_file
from pgnotify.errors import Unanswered
from pgnotify.program.interruption import is_interruption

_EXPRESSED = frozenset(
    {
        "host", "hostaddr", "port", "dbname", "user", "password", "passfile", "application_name",
        "fallback_application_name", "client_encoding", "connect_timeout", "keepalives", "keepalives_idle",
        "keepalives_interval", "keepalives_count", "tcp_user_timeout", "load_balance_hosts", "options", "replication",
        "sslcert", "sslkey", "sslmode", "sslpassword", "sslrootcert", "sslcrl", "sslcrldir",
        "ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs",
    }
)  # fmt: skip
# Expressed, or harmless, with these values only.
_EXPRESSED_VALUES = {
    "gssencmode": ("disable", "prefer"),
    "channel_binding": ("disable", "prefer"),
    "sslsni": ("1",),
    "sslcertmode": ("disable", "allow"),
    "sslnegotiation": ("postgres",),
    "min_protocol_version": ("3.0",),
    "max_protocol_version": ("3.0", "3.2", "latest"),
}
# They matter for authentication methods that pg8000 does not have, and reports if the server asks for them; libpq
# itself ignores sslcompression since PostgreSQL 14.
_WITHOUT_EFFECT = frozenset(
    {"krbsrvname", "gsslib", "gssdelegation", "sslcompression"}
    | {"oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope"}
)
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_READ_ONLY = "SHOW transaction_read_only"  # calls no function, which the role might not be allowed to do
_STANDBY = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'on' ELSE 'off' END"
# The question for each target_session_attrs, and the answer that it requires.
_SESSION_ATTRIBUTES: dict[str, tuple[str, str] | None] = {
    "any": None,
    "read-write": (_READ_ONLY, "off"),
    "read-only": (_READ_ONLY, "on"),
    "primary": (_STANDBY, "off"),
    "standby": (_STANDBY, "on"),
}
# The errors of pg8000's functions for each message, if its contents are impossible.
_NOT_THE_PROTOCOL = (
    UnicodeError,
    LookupError,
    TypeError,
    AttributeError,
    struct.error,
    MemoryError,
    OverflowError,
    pg8000.core.scramp.ScramException,
)
_NO_TIME = 1e-3  # seconds
_CANNOT_CONNECT_NOW = "57P03"  # the server is starting or stopping; libpq, too, tries the next host


def connect(parameters: dict[str, str]) -> Any:
    """Open a pg8000.native.Connection as libpq would.

    Raises:
        ValueError: pg8000 cannot express a parameter, or libpq does not know a value.
        pg8000.exceptions.InterfaceError: no host could be reached, or none satisfies target_session_attrs.
        pg8000.exceptions.DatabaseError: the server refuses.
    """
    given = with_defaults(with_verification(parameters))
    _refuse_what_cannot_be_expressed(given)
    addresses = hosts(given)
    if any(address.unix_socket is None for address in addresses) and given.get("sslmode") != "disable":
        tls.check(given)
    if given.get("load_balance_hosts") == "random":
        random.shuffle(addresses)
    wanted = given.get("target_session_attrs", "any")
    rounds = ("standby", "any") if wanted == "prefer-standby" else (wanted,)
    failures: list[Exception] = []
    for attributes in rounds:
        for address in addresses:
            try:
                return _connect_to(address, given, attributes)
            except (OSError, InterfaceError) as error:
                failures.append(error)
            except DatabaseError as error:
                if _sqlstate(error) != _CANNOT_CONNECT_NOW:
                    raise
                failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    raise InterfaceError("no host could be used: " + "; ".join(map(str, failures))) from failures[-1]


def _refuse_what_cannot_be_expressed(given: dict[str, str]) -> None:
    for keyword, value in given.items():
        refuse_undecoded(keyword, value)
        _refuse_inexpressible(keyword, value)
    _check_choice(given, "sslmode", _SSL_MODES)
    _check_choice(given, "target_session_attrs", (*_SESSION_ATTRIBUTES, "prefer-standby"))
    _check_choice(given, "load_balance_hosts", ("disable", "random"))


def _refuse_inexpressible(keyword: str, value: str) -> None:
    if keyword == "service":  # its parameters would stand in its place
        raise ValueError(f'definition of service "{value}" not found')
    if keyword in _EXPRESSED_VALUES:
        if value not in _EXPRESSED_VALUES[keyword]:
            possible = " or ".join(_EXPRESSED_VALUES[keyword])
            raise ValueError(f"pg8000 cannot express {keyword}={value!r}, only {possible}; use another driver for it")
    elif value and keyword not in _EXPRESSED | _WITHOUT_EFFECT | {"requirepeer"}:
        raise ValueError(f"pg8000 cannot express the connection parameter {keyword!r}; use another driver for it")


def _check_choice(given: dict[str, str], keyword: str, choices: tuple[str, ...]) -> None:
    if given.get(keyword, choices[0]) not in choices:
        raise ValueError(f"{keyword} must be one of {', '.join(choices)}, not {given[keyword]!r}")


def _connect_to(address: Address, given: dict[str, str], attributes: str) -> Any:
    """Connect to one host, at the first of its IP addresses that can be used, and check its target_session_attrs."""
    if address.unix_socket is not None and given.get("requirepeer"):
        raise ValueError("pg8000 cannot express requirepeer, which concerns Unix sockets; use another driver for it")
    failure: Exception | None = None
    for place in _places(address):
        deadline = _Deadline(_timeout(given))
        try:
            connection = _connect_to_place(place, given, deadline)
            break
        except (OSError, InterfaceError) as error:
            failure = error
    else:
        raise failure or InterfaceError(f"{address.host} has no address")
    try:
        with deadline.on(connection._usock):
            _refuse_unwanted(connection, attributes)
    except BaseException:
        with suppress(OSError, InterfaceError):
            connection.close()
        raise
    return connection


def _places(address: Address) -> Iterator[Address]:
    """Yield an address once for each IP address that its host has."""
    if address.unix_socket is not None:
        yield address
        return
    try:
        found = socket.getaddrinfo(address.hostaddr or address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _cannot_connect(address, error) from error
    for number in dict.fromkeys(sockaddr[0] for *_, sockaddr in found):
        yield address if number == address.host else address._replace(hostaddr=str(number))


def _connect_to_place(place: Address, given: dict[str, str], deadline: _Deadline) -> Any:
    """Connect with or without TLS, as the sslmode allows."""
    for with_tls in tls.attempts(place, given):
        try:
            return _connect_in_time(place, given, tls.context(place, given) if with_tls else None, deadline)
        except (OSError, InterfaceError, DatabaseError, ValueError) as error:
            failure: Exception = error
        if deadline.has_passed():
            break
    raise failure


def _connect_in_time(place: Address, given: dict[str, str], context: ssl.SSLContext | None, deadline: _Deadline) -> Any:
    try:
        plug = open_socket(place, given, deadline.seconds_left())
    except OSError as error:
        raise _cannot_connect(place, error) from error
    try:
        with deadline.on(plug):
            connection = _handshake(plug, place, given, context)
    except BaseException:
        plug.close()
        raise
    connection._usock.settimeout(None)  # the watchdog of the deadline ends it, if it must
    return connection


def _cannot_connect(address: Address, error: OSError) -> InterfaceError:
    if address.unix_socket is not None:
        return InterfaceError(f"cannot connect to {address.unix_socket}: {error}")
    named = f"{address.host} ({address.hostaddr})" if address.host and address.hostaddr else address.host
    return InterfaceError(f"cannot connect to {named or address.hostaddr} port {address.port}: {error}")


class _Deadline:
    """The connect_timeout of one IP address: one moment for all that comes before the session can be used, as in libpq.

    Args:
        seconds: from now; None for ever.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._moment = math.inf if seconds is None else time.monotonic() + seconds

    def has_passed(self) -> bool:
        """Return whether there is no time left."""
        return time.monotonic() >= self._moment

    def seconds_left(self) -> float | None:
        """Return how many seconds are left, never 0, which sockets take for something else; None for ever."""
        return None if self._seconds is None else max(self._moment - time.monotonic(), _NO_TIME)

    @contextmanager
    def on(self, plug: socket.socket) -> Iterator[None]:
        """End the body, which reads from a socket, at the moment, even if the server sends a byte now and then."""
        try:
            with SocketHandle(plug.fileno()) as handle, handle.deadline(self.seconds_left()):
                yield
        except (Unanswered, TimeoutError) as error:  # a read may give up just before
            if self._seconds is None:  # it is the system's
                raise
            raise InterfaceError(
                f"the server has not answered within the connect_timeout of {self._seconds:g} s"
            ) from error


def _timeout(given: dict[str, str]) -> float | None:
    seconds = float(given.get("connect_timeout") or 0)
    return seconds if seconds > 0 else None


def _handshake(plug: socket.socket, address: Address, given: dict[str, str], context: ssl.SSLContext | None) -> Any:
    user = given.get("user") or account_name()
    database = given.get("dbname") or user
    password = given.get("password") or _password_from_file(address, database, user, given)
    startup_parameters = _startup_parameters(given)
    if context is not None:
        context.sslsocket_class = TLSSocket
    try:
        connection = pg8000.native.Connection(
            user,
            host=address.host or address.hostaddr,
            database=database,
            password=password,
            application_name=given.get("application_name") or given.get("fallback_application_name"),
            replication=given.get("replication"),
            ssl_context=context or False,
            sock=plug,
            **startup_parameters,
        )
    except _NOT_THE_PROTOCOL as error:
        if is_interruption(error):
            raise
        if "client_encoding" in given and "encoding" in str(error):
            raise ValueError(f"pg8000 has no codec for client_encoding={given['client_encoding']!r}") from error
        if isinstance(error, AttributeError) and password is None:  # seen with 1.31.6 and SCRAM
            raise InterfaceError("the server wants a password, and none was given") from error
        raise InterfaceError(f"the server does not keep to PostgreSQL's protocol: {_line(error)}") from error
    connection._sock.session_has_begun()
    if len(connection._backend_key_data or b"key of") < 4:
        connection.close()
        raise InterfaceError("the server does not keep to PostgreSQL's protocol: it has sent no process ID")
    return connection


def _password_from_file(address: Address, database: str, user: str, given: dict[str, str]) -> str | None:
    path = Path(given["passfile"]) if given.get("passfile") else password_file()
    password = path and password_for(address, database, user, path)
    if not password:
        return None
    refuse_undecoded("password", password)
    return password


def _startup_parameters(given: dict[str, str]) -> dict[str, dict[str, str]]:
    parameters: dict[str, str] = {
        keyword: given[keyword] for keyword in ("client_encoding", "options") if keyword in given
    }
    if parameters and "startup_params" not in signature(pg8000.core.CoreConnection).parameters:
        raise ValueError(f"pg8000 cannot express {' and '.join(parameters)} before its release 1.31.3")
    return {"startup_params": parameters} if parameters else {}


def _refuse_unwanted(connection: Any, attributes: str) -> None:
    required = _SESSION_ATTRIBUTES[attributes]
    if required is None:
        return
    question, answer = required
    if connection.run(question) != [[answer]]:
        raise InterfaceError(f"the session is not {attributes}, as target_session_attrs requires")


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _sqlstate(error: DatabaseError) -> str | None:
    fields = error.args[0] if error.args else None
    return fields.get("C") if isinstance(fields, dict) else None
