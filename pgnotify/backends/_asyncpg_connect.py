"""Connecting as libpq does, with asyncpg, which knows some of the parameters of a connection string itself.

It is given one address at a time, and everything that it would look for in the environment, in files or by defaults of
its own.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import asyncpg

from pgnotify.backends._without_libpq import (
    CANNOT_CONNECT_NOW,
    EXPRESSED,
    EXPRESSED_VALUES,
    SESSION_ATTRIBUTES,
    Expressible,
    keep_alive,
    login,
    place_of,
    seconds_to_connect,
)
from pgnotify.connecting import tls
from pgnotify.connecting.hosts import Address
from pgnotify.connecting.retryable import sqlstate_of

_EXPRESSIBLE = Expressible(
    "asyncpg",
    EXPRESSED,
    # It sends and reads every text in UTF-8.
    {**EXPRESSED_VALUES, "client_encoding": ("UTF8", "utf8", "UTF-8", "utf-8", "UNICODE", "unicode", "auto")},
)


class _TooLateError(asyncpg.InterfaceError):  # type: ignore[misc]  # asyncpg has no types
    """The connect_timeout has passed, so there is no other attempt at the same address."""


async def connect(parameters: dict[str, str]) -> Any:
    """Open an asyncpg.Connection as libpq would, without a cache of statements.

    Raises:
        ValueError: asyncpg cannot express a parameter, or libpq does not know a value.
        asyncpg.InterfaceError, OSError: no host could be reached, or none satisfies target_session_attrs.
        asyncpg.PostgresError: the server refuses.
    """
    given = _EXPRESSIBLE.check(parameters)
    failures: list[Exception] = []
    for address, attributes in _EXPRESSIBLE.attempts(given):
        try:
            return await _connect_to(address, given, attributes)
        except (OSError, asyncpg.InterfaceError) as error:
            failures.append(error)
        except asyncpg.PostgresError as error:
            if sqlstate_of(error) != CANNOT_CONNECT_NOW:
                raise
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    raise asyncpg.InterfaceError("no host could be used: " + "; ".join(map(str, failures))) from failures[-1]


async def _connect_to(address: Address, given: dict[str, str], attributes: str) -> Any:
    """Connect to one host, with or without TLS, as the sslmode allows, and check its target_session_attrs."""
    if address.host.startswith("@"):
        raise ValueError("asyncpg cannot express a Unix socket in the abstract namespace; use another driver for it")
    for with_tls in tls.attempts(address, given):
        try:
            connection = await _log_in(address, given, _context(address, given) if with_tls else False)
            break
        except _TooLateError:
            raise
        except (OSError, asyncpg.InterfaceError, asyncpg.PostgresError, ValueError) as error:
            failure: Exception = error
    else:
        raise failure
    try:
        if address.unix_socket is None:
            with _socket_of(connection) as plug:
                keep_alive(plug, given)
        if "client_encoding" not in given and connection.get_settings().server_encoding == "SQL_ASCII":
            # As libpq does. asyncpg has asked for UTF8: at a byte that is not, the server would end the session.
            await connection.execute("SET client_encoding TO 'SQL_ASCII'")
        await _refuse_unwanted(connection, attributes)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _log_in(address: Address, given: dict[str, str], context: ssl.SSLContext | bool) -> Any:
    user, database, password = login(address, given)
    settings = {
        "application_name": given.get("application_name") or given.get("fallback_application_name"),
        "options": given.get("options"),
    }
    try:
        return await asyncpg.connect(
            host=address.hostaddr or address.host,
            port=address.port,
            user=user,
            database=database,
            password=password or "",  # with None it looks for a password file itself
            timeout=seconds_to_connect(given),
            ssl=context,
            server_settings={name: value for name, value in settings.items() if value},
            statement_cache_size=0,  # a pooler may give the next statement to another session
            target_session_attrs="any",
        )
    except Exception as error:
        if type(error).__name__ == "TimeoutError" and not error.args:  # before Python 3.11, asyncio's is not Python's
            raise _TooLateError(
                f"the server has not answered within the connect_timeout of {seconds_to_connect(given):g} s"
            ) from error
        if isinstance(error, OSError):
            raise asyncpg.InterfaceError(f"cannot connect to {place_of(address)}: {error}") from error
        raise


def _context(address: Address, given: dict[str, str]) -> ssl.SSLContext:
    made = tls.context(address, given)
    if address.hostaddr and address.host:
        # asyncpg would have the name of the certificate compared with the IP address that it connects to.
        made.wrap_bio = partial(_wrap_bio, made.wrap_bio, address.host)  # type: ignore[method-assign]
    return made


def _wrap_bio(wrap_bio: Callable[..., Any], host: str, *buffers: Any, **options: Any) -> Any:
    return wrap_bio(*buffers, **{**options, "server_hostname": host})


def _socket_of(connection: Any) -> socket.socket:
    """Return a socket of our own for the one of the transport, which hides it."""
    return socket.socket(fileno=os.dup(connection._transport.get_extra_info("socket").fileno()))


async def _refuse_unwanted(connection: Any, attributes: str) -> None:
    required = SESSION_ATTRIBUTES[attributes]
    if required is None:
        return
    question, answer = required
    if await connection.fetchval(question) != answer:
        raise asyncpg.InterfaceError(f"the session is not {attributes}, as target_session_attrs requires")
