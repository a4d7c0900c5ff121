"""Connecting as libpq does, for the one driver that has no libpq.

Reads the parameters of a connection string, tries each host in turn, and makes the socket itself.
pg8000's own `timeout` is not libpq's connect_timeout: it also ends every later read, for good.
"""

from __future__ import annotations

import getpass
import random
import socket
import ssl
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import pg8000.core
import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError

from pgnotify.connecting.hosts import Address, hosts
from pgnotify.connecting.keywords import environment

_EXPRESSED = frozenset(
    {
        "host", "hostaddr", "port", "dbname", "user", "password", "application_name", "fallback_application_name",
        "client_encoding", "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", "load_balance_hosts", "options", "replication", "sslcert", "sslkey",
        "sslmode", "sslpassword", "sslrootcert", "target_session_attrs",
    }
)  # fmt: skip
# Harmless with these values: pg8000 behaves like this anyway.
_ALREADY_SO = {
    "gssencmode": ("disable", "prefer"),
    "channel_binding": ("disable", "prefer"),
    "sslcompression": ("0",),
    "sslsni": ("1",),
    "sslcertmode": ("allow",),
    "sslnegotiation": ("postgres",),
}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

# The condition of each target_session_attrs on (pg_is_in_recovery(), transaction_read_only).
_SESSION_ATTRIBUTES: dict[str, Callable[[bool, bool], bool]] = {
    "any": lambda standby, read_only: True,
    "read-write": lambda standby, read_only: not read_only,
    "read-only": lambda standby, read_only: read_only,
    "primary": lambda standby, read_only: not standby,
    "standby": lambda standby, read_only: standby,
}
_CANNOT_CONNECT_NOW = "57P03"  # the server is starting or stopping; libpq, too, tries the next host


def connect(parameters: dict[str, str]) -> Any:
    """Open a pg8000.native.Connection as libpq would.

    Raises:
        ValueError: pg8000 cannot express a parameter, or libpq does not know a value.
        pg8000.exceptions.InterfaceError: no host could be reached, or none satisfies target_session_attrs.
        pg8000.exceptions.DatabaseError: the server refuses.
    """
    given = {**environment(), **parameters}
    _refuse_what_cannot_be_expressed(given)
    addresses = hosts(given)
    if given.get("load_balance_hosts") == "random":
        random.shuffle(addresses)
    wanted = given.get("target_session_attrs", "any")
    rounds = ("standby", "any") if wanted == "prefer-standby" else (wanted,)
    failures: list[Exception] = []
    for attributes in rounds:
        for address in addresses:
            try:
                return _wanted(_connect_to(address, given), attributes)
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
        if keyword not in _EXPRESSED and value not in _ALREADY_SO.get(keyword, ()):
            raise ValueError(f"pg8000 cannot express the connection parameter {keyword!r}; use another driver for it")
    _check_choice(given, "sslmode", _SSL_MODES)
    _check_choice(given, "target_session_attrs", (*_SESSION_ATTRIBUTES, "prefer-standby"))
    _check_choice(given, "load_balance_hosts", ("disable", "random"))


def _check_choice(given: dict[str, str], keyword: str, choices: tuple[str, ...]) -> None:
    if given.get(keyword, choices[0]) not in choices:
        raise ValueError(f"{keyword} must be one of {', '.join(choices)}, not {given[keyword]!r}")


def _connect_to(address: Address, given: dict[str, str]) -> Any:
    """Connect to one host, with or without TLS, as the sslmode allows."""
    for context in _tls_contexts(address, given):
        try:
            return _handshake(address, given, context)
        except (OSError, InterfaceError, DatabaseError) as error:
            failure: Exception = error
    raise failure


def _handshake(address: Address, given: dict[str, str], context: ssl.SSLContext | None) -> Any:
    user = given.get("user") or getpass.getuser()
    try:
        plug = _socket(address, given)
    except OSError as error:
        where = address.unix_socket or f"{address.hostaddr or address.host} port {address.port}"
        raise InterfaceError(f"cannot connect to {where}: {error}") from error
    try:
        connection = pg8000.native.Connection(
            user,
            host=address.host or address.hostaddr,
            database=given.get("dbname") or user,
            password=given.get("password"),
            application_name=given.get("application_name") or given.get("fallback_application_name"),
            replication=given.get("replication"),
            ssl_context=context or False,
            sock=plug,
            **_startup_parameters(given),
        )
    except BaseException as error:
        plug.close()
        if isinstance(error, AttributeError) and "password" not in given:  # seen with 1.31.6 and SCRAM
            raise InterfaceError("the server wants a password, and none was given") from error
        raise
    connection._usock.settimeout(None)  # connect_timeout is over
    return connection


def _startup_parameters(given: dict[str, str]) -> dict[str, dict[str, str]]:
    parameters: dict[str, str] = {
        keyword: given[keyword] for keyword in ("client_encoding", "options") if keyword in given
    }
    if parameters and "startup_params" not in signature(pg8000.core.CoreConnection).parameters:
        raise ValueError(f"pg8000 cannot express {' and '.join(parameters)} before its release 1.31.3")
    return {"startup_params": parameters} if parameters else {}


def _socket(address: Address, given: dict[str, str]) -> socket.socket:
    seconds = float(given.get("connect_timeout") or 0)
    timeout = seconds if seconds > 0 else None
    path = address.unix_socket
    if path is None:
        plug = socket.create_connection((address.hostaddr or address.host, address.port), timeout)
        try:
            _keep_alive(plug, given)
        except BaseException:
            plug.close()
            raise
        return plug
    plug = socket.socket(socket.AF_UNIX)
    try:
        plug.settimeout(timeout)
        plug.connect(path)
    except OSError:
        plug.close()
        raise
    return plug


def _keep_alive(plug: socket.socket, given: dict[str, str]) -> None:
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


def _tls_contexts(address: Address, given: dict[str, str]) -> Iterator[ssl.SSLContext | None]:
    """Yield the attempts to make in turn: a context, or None for no TLS."""
    mode = given.get("sslmode", "prefer")
    if address.unix_socket is not None or mode == "disable":
        yield None
        return
    if mode == "allow":
        yield None
    yield _tls_context(given, mode)
    if mode == "prefer":
        yield None


def _tls_context(given: dict[str, str], mode: str) -> ssl.SSLContext:
    root = given.get("sslrootcert")
    if root == "system":
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _verify(context, mode, Path(root) if root else Path("~/.postgresql/root.crt").expanduser())
    if "sslcert" in given:
        _refuse_missing("sslcert", given["sslcert"])
        context.load_cert_chain(given["sslcert"], given.get("sslkey"), given.get("sslpassword"))
    return context


def _verify(context: ssl.SSLContext, mode: str, root: Path) -> None:
    context.check_hostname = mode == "verify-full"
    # If there is a root certificate, "require" verifies against it, as in libpq.
    if mode.startswith("verify") or (mode == "require" and root.exists()):
        _refuse_missing("sslrootcert", root)
        context.load_verify_locations(root)
    else:
        context.verify_mode = ssl.CERT_NONE


def _refuse_missing(keyword: str, path: str | Path) -> None:
    # ssl's own error does not name the file, and an unreachable Unix socket raises the same error.
    if not Path(path).exists():
        raise ValueError(f"{keyword}: there is no file {str(path)!r}")


def _wanted(connection: Any, attributes: str) -> Any:
    if attributes == "any":
        return connection
    ((standby, read_only),) = connection.run(
        "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')"
    )
    if _SESSION_ATTRIBUTES[attributes](standby, read_only == "on"):
        return connection
    connection.close()
    raise InterfaceError(f"the session is not {attributes}, as target_session_attrs requires")


def _sqlstate(error: DatabaseError) -> str | None:
    fields = error.args[0] if error.args else None
    return fields.get("C") if isinstance(fields, dict) else None
