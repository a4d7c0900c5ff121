"""Runs the conformance class without pytest, on connections that a function makes."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from inspect import isawaitable
from typing import Any, ClassVar, NamedTuple
from unittest import SkipTest

from pgnotify.limits import check_runs, is_async
from pgnotify.testing._wire import SqlSession
from pgnotify.testing.address import Address
from pgnotify.testing.conformance import BackendConformance, Session
from pgnotify.testing.conformance._tools import Background
from pgnotify.testing.conformance.kit import Kit, check_features

OUTCOMES = OK, FAILED, SKIPPED = "ok", "FAILED", "skipped"

_TEST = "test_"
_NOT_APPLICABLE = "not applicable: "
MOST_SECONDS = 60.0
"""For one test; one that takes longer hangs."""
_SHOWN_LINES = 12
_THEIRS = "the function itself chooses where to connect"


class Result(NamedTuple):
    """The result of one test."""

    outcome: str
    """One of OUTCOMES."""
    name: str
    """The name of the test, as in pytest."""
    detail: str
    """The failure, or the reason why the test was skipped; empty if it has passed."""


class IsAsynchronous(Exception):
    """The function returned an awaitable, where a connection that blocks was expected."""


class OnGivenServer(Kit):
    """Tests connections of a function that takes an address."""

    factory: Callable[..., Any]
    is_asynchronous: ClassVar[bool]

    def connect(self, address: Address) -> Any:
        """See `Kit.connect`."""
        return self._made(address)

    def _made(self, *arguments: Address) -> Any:
        made = type(self).factory(*arguments)
        if not self.is_asynchronous and isawaitable(made):
            getattr(made, "close", lambda: None)()  # a coroutine warns if it was not awaited
            raise IsAsynchronous
        return made


class OnTheirServer(OnGivenServer):
    """Tests connections of a function that takes no argument; the second session is such a connection too."""

    cannot: ClassVar = {"network": _THEIRS, "encodings": _THEIRS, "sql_ascii": _THEIRS}
    patience = 5.0

    @cached_property
    def address(self) -> Address:
        """Not used: the function itself chooses where to connect."""
        return Address("", 0)

    def connect(self, address: Address) -> Any:
        """See `Kit.connect`."""
        return self._made()

    def open_session(self, address: Address) -> Session:
        """See `Kit.open_session`."""
        return _DriverSession(self)


class _DriverSession(SqlSession):
    """A session on further connections of the driver: one for each thread, as some cannot be used in another."""

    def __init__(self, kit: OnTheirServer) -> None:
        self._kit = kit
        self._of_thread = threading.local()
        self.pid = kit.pid_of(self._connection)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        return self._kit.run(statement, self._connection)

    def close(self) -> None:
        """Do nothing: the test closes all its connections."""

    @property
    def _connection(self) -> Any:
        if not hasattr(self._of_thread, "connection"):
            self._of_thread.connection = self._kit.open()
        return self._of_thread.connection


def prepared(factory: Callable[..., Any], cannot: Mapping[str, str]) -> tuple[type[BackendConformance], str]:
    """Return a class that tests the connections of a function, or that extends a given class; and its title.

    Raises:
        TypeError: the function can be called neither without arguments nor with one address, or is a generator
            function.
        ValueError: `cannot` has a name that is not in FEATURES.
    """
    conformance = conformance_of(factory, cannot, is_asynchronous=is_async(factory))
    try:
        return conformance, title_of(conformance())
    except IsAsynchronous:
        conformance = conformance_of(factory, cannot, is_asynchronous=True)
        return conformance, title_of(conformance())


def conformance_of(
    factory: Callable[..., Any], cannot: Mapping[str, str], is_asynchronous: bool
) -> type[BackendConformance]:
    """Return the class alone; raise the same errors."""
    check_features(cannot)
    if isinstance(factory, type) and issubclass(factory, BackendConformance):
        return type(factory.__name__, (factory,), {"cannot": {**factory.cannot, **cannot}})
    if not is_asynchronous:
        check_runs("connection_factory", factory)
    base = OnTheirServer if _can_be_called_with(factory) else OnGivenServer
    if base is OnGivenServer and not _can_be_called_with(factory, "address"):
        raise TypeError(f"connection_factory must take no argument, or one address, not {inspect.signature(factory)}")
    tests = BackendConformance
    if is_asynchronous:
        from pgnotify.testing.async_conformance import AsyncBackendConformance  # it imports asyncio

        tests = AsyncBackendConformance
    attributes = {
        "factory": staticmethod(factory),
        "is_asynchronous": is_asynchronous,
        "cannot": {**base.cannot, **cannot},
    }
    return type("Conformance", (base, tests), attributes)


def _can_be_called_with(factory: Callable[..., Any], *arguments: object) -> bool:
    try:
        inspect.signature(factory).bind(*arguments)
    except ValueError:  # a function of C without a signature
        return not arguments
    except TypeError:
        return False
    return True


def title_of(kit: BackendConformance) -> str:
    """Connect once, and return the title of the table; raise an error that would fail every test."""
    kit.setup_method()
    try:
        title = f"{_path(kit.db)}, by {_path(getattr(kit.backend, 'asynchronous', kit.backend))}"
        if "sql" not in kit.cannot:
            kit.rows_of("SELECT 1", kit.db)
            kit.run("SELECT 1")
    except SkipTest as no_server:
        raise no_server.__cause__ or no_server from None
    finally:
        kit.teardown_method()
    return title


def _path(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def results_of(conformance: type[BackendConformance], names: Iterable[str] | None = None) -> Iterator[Result]:
    """Run all tests of a conformance class, or those that are named; yield each result as soon as it is there."""
    try:
        for name in tests_of(conformance) if names is None else names:
            yield result_of(conformance(), name)
    finally:
        conformance.teardown_class()


def tests_with(pattern: str | re.Pattern[str], conformance: type[BackendConformance]) -> list[str]:
    """Return the names of the tests that a regular expression matches somewhere.

    Raises:
        ValueError: it is not a regular expression, or matches none.
    """
    try:
        found = [name for name in tests_of(conformance) if re.search(pattern, name)]
    except re.error as error:
        raise ValueError(f"only must be a regular expression, not {pattern!r}: {error}") from error
    if not found:
        raise ValueError(f"only must match the name of a check, and {pattern!r} matches none")
    return found


def tests_of(conformance: type[BackendConformance]) -> list[str]:
    """Return the names of the tests, verb by verb, in the order of the source."""
    names = (name for cls in reversed(conformance.__mro__) for name in vars(cls))
    return [name for name in dict.fromkeys(names) if name.startswith(_TEST)]


def result_of(kit: BackendConformance, name: str) -> Result:
    """Run one test of a conformance class in its own thread, and return its result."""
    try:
        Background(lambda: _run(kit, name)).join(MOST_SECONDS, "it hangs")
    except SkipTest as skip:
        return Result(SKIPPED, name, str(skip).removeprefix(_NOT_APPLICABLE))
    except Exception as error:
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        said = "\n".join(str(error).splitlines()[:_SHOWN_LINES])
        return Result(FAILED, name, f"{kind}{said} (see {_promised_in(kit, name)})")
    return Result(OK, name, "")


def _promised_in(kit: BackendConformance, name: str) -> str:
    home = next(cls for cls in type(kit).__mro__ if name in vars(cls) and issubclass(cls, Kit))
    return f"{home.protocol}: {home.promised_in}"


def _run(kit: BackendConformance, name: str) -> None:
    kit.setup_method()
    try:
        getattr(kit, name)()
    finally:
        kit.teardown_method()
