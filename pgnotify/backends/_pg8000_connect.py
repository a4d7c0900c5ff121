"""Connecting as libpq does, for the one driver that has no libpq.

Reads the parameters of a connection string, tries each host in turn, and makes the socket itself.
pg8000's own `timeout` is not libpq's connect_timeout: it counts for each read, and ends every later one, for good.
"""

from __future__ import annotations

import random
import socket
import ssl
import struct
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
    """Connect to one host, with or without TLS, as the sslmode allows, and check its target_session_attrs."""
    if address.unix_socket is not None and given.get("requirepeer"):
        raise ValueError("pg8000 cannot express requirepeer, which concerns Unix sockets; use another driver for it")
    for with_tls in tls.attempts(address, given):
        try:
            connection = _connect_in_time(address, given, tls.context(address, given) if with_tls else None)
            break
        except (OSError, InterfaceError, DatabaseError, ValueError) as error:
            failure: Exception = error
    else:
        raise failure
    try:
        with _deadline(connection._usock, given):
            _refuse_unwanted(connection, attributes)
    except BaseException:
        with suppress(OSError, InterfaceError):
            connection.close()
        raise
    return connection


def _connect_in_time(address: Address, given: dict[str, str], context: ssl.SSLContext | None) -> Any:
    try:
        plug = open_socket(address, given, _timeout(given))
    except OSError as error:
        where = address.unix_socket or f"{address.hostaddr or address.host} port {address.port}"
        raise InterfaceError(f"cannot connect to {where}: {error}") from error
    try:
        with _deadline(plug, given):
            connection = _handshake(plug, address, given, context)
    except BaseException:
        plug.close()
        raise
    connection._usock.settimeout(None)  # connect_timeout is over
    return connection


@contextmanager
def _deadline(plug: socket.socket, given: dict[str, str]) -> Iterator[None]:
    """Let the body take no longer than connect_timeout, even if the server sends a byte now and then."""
    timeout = _timeout(given)
    try:
        with SocketHandle(plug.fileno()) as handle, handle.deadline(timeout):
            yield
    except Unanswered as error:
        raise InterfaceError(f"the server has not answered within the connect_timeout of {timeout:g} s") from error


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
