"""Connecting as libpq does, for the one driver that has no libpq.

Reads the parameters of a connection string, tries each host in turn, and makes the socket itself.
pg8000's own `timeout` is not libpq's connect_timeout: it counts for each read, and ends every later one, for good.
"""

from __future__ import annotations

import math
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from inspect import signature
from typing import Any

import pg8000.core
import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError

from pgnotify.backends._pg8000_socket import TLSSocket, open_socket
from pgnotify.backends._without_libpq import (
    CANNOT_CONNECT_NOW,
    EXPRESSED,
    SESSION_ATTRIBUTES,
    Expressible,
    login,
    place_of,
    seconds_to_connect,
)
from pgnotify.connecting import tls
from pgnotify.connecting.hosts import Address
from pgnotify.connecting.retryable import sqlstate_of
from pgnotify.connecting.socket_handle import SocketHandle
from pgnotify.errors import Unanswered
from pgnotify.program.interruption import is_interruption

_EXPRESSIBLE = Expressible("pg8000", EXPRESSED | {"client_encoding", "replication"})

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


def connect(parameters: dict[str, str]) -> Any:
    """Open a pg8000.native.Connection as libpq would.

    Raises:
        ValueError: pg8000 cannot express a parameter, or libpq does not know a value.
        pg8000.exceptions.InterfaceError: no host could be reached, or none satisfies target_session_attrs.
        pg8000.exceptions.DatabaseError: the server refuses.
    """
    given = _EXPRESSIBLE.check(parameters)
    failures: list[Exception] = []
    for address, attributes in _EXPRESSIBLE.attempts(given):
        try:
            return _connect_to(address, given, attributes)
        except (OSError, InterfaceError) as error:
            failures.append(error)
        except DatabaseError as error:
            if sqlstate_of(error) != CANNOT_CONNECT_NOW:
                raise
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    raise InterfaceError("no host could be used: " + "; ".join(map(str, failures))) from failures[-1]


def _connect_to(address: Address, given: dict[str, str], attributes: str) -> Any:
    """Connect to one host, at the first of its IP addresses that can be used, and check its target_session_attrs."""
    failure: Exception | None = None
    for place in _places(address):
        deadline = _Deadline(seconds_to_connect(given))
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
    return InterfaceError(f"cannot connect to {place_of(address)}: {error}")


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


def _handshake(plug: socket.socket, address: Address, given: dict[str, str], context: ssl.SSLContext | None) -> Any:
    user, database, password = login(address, given)
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


def _startup_parameters(given: dict[str, str]) -> dict[str, dict[str, str]]:
    parameters: dict[str, str] = {
        keyword: given[keyword] for keyword in ("client_encoding", "options") if keyword in given
    }
    if parameters and "startup_params" not in signature(pg8000.core.CoreConnection).parameters:
        raise ValueError(f"pg8000 cannot express {' and '.join(parameters)} before its release 1.31.3")
    return {"startup_params": parameters} if parameters else {}


def _refuse_unwanted(connection: Any, attributes: str) -> None:
    required = SESSION_ATTRIBUTES[attributes]
    if required is None:
        return
    question, answer = required
    if connection.run(question) != [[answer]]:
        raise InterfaceError(f"the session is not {attributes}, as target_session_attrs requires")


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
