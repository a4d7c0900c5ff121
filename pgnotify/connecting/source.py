"""Where a Listener's connections come from: a connection string, a function that connects, or one connection.

This module decides what each of them may be, which parameters a Listener adds to a connection string, and that a
connection is a new one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AsyncContextDecorator, ContextDecorator, suppress
from typing import Any

from pgnotify.connecting.conninfo import parse, ready
from pgnotify.connecting.defaults import with_defaults
from pgnotify.connecting.dialect import driver_in, is_connection_string, written_out
from pgnotify.connecting.lookup import with_every_address
from pgnotify.connecting.redact import place_of
from pgnotify.connecting.session_name import session_name
from pgnotify.errors import ConnectionLost, SourceError
from pgnotify.limits import check_runs, name_of
from pgnotify.protocol import Backend, NamesPool, Pool, connection_of, end
from pgnotify.registry import backend_for, connect_with, one_driver

DEFAULT_NAME = "pgnotify"

# Before PostgreSQL 17, libpq rounded a connect_timeout of 1 up to 2.
SHORTEST_CONNECT_TIMEOUT = 2

# A connect_timeout counts for each address. A name with more of them that are all silent is given up too early.
MOST_ADDRESSES = 8


class AnySource:
    """A way to get connections, for blocking code and for an event loop.

    A subclass opens and discards them.

    Args:
        source: the connection string, function or connection that the user passed.
        driver: the driver's name, for a connection string only; None selects the one in the string, or the first that
            is installed.
        name: the application_name that the server shows, unless the connection string sets another; None for the
            default of `pgnotify.connecting.session_name`.
        answer_timeout: seconds for each host to answer, unless the connection string has a connect_timeout.

    Attributes:
        can_reconnect: whether a second connection is possible.
        from_dsn: whether connections are opened here, from a connection string.

    Raises:
        ValueError: the connection string cannot be read, its sslmode is too weak for sslrootcert=system, a driver was
            named without a connection string, or another one than the string names.
        UnknownBackend, TypeError: no backend fits, there is no such driver, or it is not installed.
    """

    def __init__(self, source: Any, driver: str | None, name: str | None, answer_timeout: float) -> None:
        self.from_dsn = is_connection_string(source)
        if driver is not None and not self.from_dsn:
            raise ValueError(f"driver= goes with a connection string; a {type(source).__name__} has its own")
        self.can_reconnect = self.from_dsn or callable(source)
        self.keeps_alive = True
        """Whether TCP keepalive is wanted; libpq's `keepalives=0` turns it off."""
        self.seeks_primary = False
        """Whether a connection string has led to a standby, so that a name's other addresses are tried, too."""
        self.connect_seconds = 0.0
        """How long the latest attempt from a connection string may take until the driver ends it; perhaps infinite."""
        self.only_backend: object = None
        """That of the connection that was passed; None if there may be several."""
        self._open: Callable[[], Any]
        if self.from_dsn:
            source = written_out(source)
            parameters = ready(parse(source))
            connect = self._connect_with(one_driver(driver_in(source), driver))

            def open_one() -> Any:
                completed = _completed(parameters, name, answer_timeout, self.seeks_primary)
                self.connect_seconds = _connect_seconds(completed)
                return connect(completed)

            self._open = open_one
            self.keeps_alive = with_defaults(parameters).get("keepalives") != "0"
        elif self.can_reconnect:
            _refuse_context_manager(source)
            self._check_function(source)
            self._open = source
        else:
            backend = self._backend_for(source)
            self._open = lambda: backend
            self.only_backend = backend
        self.place = place_of(source) if self.from_dsn else name_of(source)
        """Where the connections lead to, or come from: host:port/dbname, the name of the function, or a class."""
        self._pool = _pool_of(source)
        self._lent: list[tuple[Any, object]] = []
        """The backends of the open connections, each with the object that the user's function has returned for it."""
        self._latest: object = None
        self._latest_object: object = None

    def _connect_with(self, driver: str | None) -> Callable[[dict[str, str]], object]:
        """Return the function that connects with a driver."""
        return connect_with(driver)

    def _check_function(self, source: Any) -> None:
        """Refuse a function that does not return a connection."""
        check_runs("source", source, awaited_by="pgnotify.AsyncListener")

    def _backend_for(self, connection: object) -> Any:
        """Return the backend of a connection."""
        return backend_for(connection)

    def _taken(self, opened: object) -> Any:
        """Return the backend of a connection that was just opened for the listener."""
        before, self._latest_object = self._latest_object, opened
        try:
            backend = self._backend_for(opened)
        except ConnectionLost as error:
            if opened is before:  # it holds a connection, and no longer has one
                raise _the_same(opened) from error
            raise
        self._refuse_the_latest(backend)
        self._lent.append((backend, opened))
        return backend

    def _taken_in_addition(self, opened: object) -> Any:
        """Return the backend of a connection that was just opened for a second session."""
        backend = self._backend_for(opened)
        self._refuse_the_latest(backend, keep=False)
        self._lent.append((backend, opened))
        return backend

    def _take_out(self, backend: object) -> object | None:
        """Forget an open connection; return the object that the user's function has returned for it."""
        opened = next((opened for lent, opened in self._lent if lent is backend), None)
        self._lent = [each for each in self._lent if each[0] is not backend]
        return opened

    def _refuse_the_latest(self, backend: object, keep: bool = True) -> None:
        connection = getattr(backend, "connection", backend)
        if connection is self._latest:
            raise _the_same(connection)
        if keep:  # the object, not its id(), which a later connection could have
            self._latest = connection


class Source(AnySource):
    """A way to get connections in blocking code."""

    def open(self) -> Backend:
        """Return the backend of a new connection, or of the only one.

        Errors of the driver, or of the user's function, pass through.

        Raises:
            SourceError: it is the same connection as the latest one.
        """
        if not self.can_reconnect:
            backend: Backend = self._open()
            return backend
        opened = self._open()
        try:
            backend = self._taken(opened)
        except SourceError:
            raise
        except BaseException:
            if self._pool is not None:  # otherwise it may be anything of the user's, such as a pool
                _give_back(opened, self._pool)
            raise
        return backend

    def open_another(self) -> Backend:
        """Return the backend of an additional connection, for a second session.

        Raises:
            SourceError: it is the same connection as the latest one.
        """
        backend: Backend = self._taken_in_addition(self._open())
        return backend

    def discard(self, backend: Backend) -> None:
        """Close a connection from `open` for good, and return what is left of it to its pool, which replaces it.

        If it stayed alive, the next user of the pool would have our socket options, and perhaps our broken connection.
        """
        pool = self._pool or (backend.pool if isinstance(backend, NamesPool) else None)
        try:
            end(backend)
        finally:
            opened = self._take_out(backend)
            if opened is not None and (pool is not None or opened is not connection_of(backend)):
                _give_back(opened, pool)


def _refuse_context_manager(source: object) -> None:
    """Refuse what ``pool.connection()`` returns. It can be called, because it is a decorator, too."""
    if isinstance(source, (ContextDecorator, AsyncContextDecorator)):
        kind = type(source).__qualname__
        raise TypeError(
            f"source must be a function that returns a connection, not a {kind}, which is a context manager: "
            "pass the pool's getconn, or an asynchronous pool itself"
        )


def _pool_of(source: object) -> Pool | None:
    """Return the pool whose method a source is, such as ``pool.getconn``; None if it is not one."""
    owner = getattr(getattr(source, "func", source), "__self__", None)  # functools.partial() has a func
    return owner if callable(getattr(owner, "putconn", None)) else None


def _give_back(opened: Any, pool: Pool | None) -> None:
    """Return a connection to its pool: to the given one, or to the one that the ``close`` of a proxy returns it to."""
    with suppress(Exception):  # the pool is closed by now; or the object, which needs nothing more
        opened.close() if pool is None else pool.putconn(opened)


def _the_same(connection: object) -> SourceError:
    cls = type(connection)  # no repr() of the object, which may show the connection string
    return SourceError(
        f"the connect function returned the same connection again, the {cls.__module__}.{cls.__qualname__} at "
        f"{id(connection):#x}: it must open a new one"
    )


def _completed(
    parameters: dict[str, str], name: str | None, answer_timeout: float, seeks_primary: bool
) -> dict[str, str]:
    """Add the parameters that a Listener needs, except those that are set: in the string or in libpq's defaults."""
    given = with_defaults(parameters)
    wanted = {
        "fallback_application_name": session_name(name),
        "connect_timeout": str(max(SHORTEST_CONNECT_TIMEOUT, math.ceil(answer_timeout))),
    }
    places = {}
    if seeks_primary or _has_several_hosts(given) or "target_session_attrs" in given:
        places = _every_place(given)
    if _has_several_hosts({**given, **places}):
        wanted["target_session_attrs"] = "read-write"  # LISTEN is not possible on a standby
    return {**{keyword: value for keyword, value in wanted.items() if keyword not in given}, **parameters, **places}


def _connect_seconds(completed: dict[str, str]) -> float:
    """Return how long an attempt may take at most by its connect_timeout; infinite if it has none."""
    given = with_defaults(completed)
    timeout = int(given.get("connect_timeout") or 0)
    hosts = 1 + max(given.get(keyword, "").count(",") for keyword in ("host", "hostaddr"))
    return timeout * hosts * MOST_ADDRESSES if timeout > 0 else math.inf


def _every_place(given: dict[str, str]) -> dict[str, str]:
    """Return the host, hostaddr and port that lead to every address of every name."""
    if "service" in given:  # only libpq knows where it is, and it may set them
        return {}
    return dict(with_every_address(given).items() - given.items())


def _has_several_hosts(given: dict[str, str]) -> bool:
    return any("," in given.get(keyword, "") for keyword in ("host", "hostaddr"))
