"""Which backend fits which object: the one table of drivers, `register`, and entry points.

No driver is imported here. A backend's module is imported when an object of its driver is passed. By
then the driver has been imported.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pgnotify.async_protocol import AsyncBackend
from pgnotify.entry_points import load, origin, scan
from pgnotify.errors import UnknownBackend
from pgnotify.limits import check_runs, is_async, plain
from pgnotify.protocol import Backend

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "pgnotify.backends"
ASYNC_ENTRY_POINT_GROUP = "pgnotify.async_backends"
DRIVER_ENTRY_POINT_GROUP = "pgnotify.drivers"
"""Of a further driver that `pgnotify.connect` can open a connection with: its name, and the path of the function that
takes the connection parameters as a dict of strings. It may be a coroutine function, for `pgnotify.connect_async`."""

Factory: TypeAlias = Callable[[Any], Backend]
"""Makes a backend from a connection, or raises a TypeError that says what to pass instead."""

AsyncFactory: TypeAlias = Callable[[Any], "AsyncBackend | None"]
"""Makes an asynchronous backend from a connection; returns None for one that blocks, which needs no other backend."""

# The top-level package of a connection's class, and the path of its factory. The pool packages are
# here because their factory knows what to pass instead of a pool.
BUILT_IN: dict[str, str] = {
    "pgnotify": "pgnotify.connection:own_backend",
    "pg": "pgnotify.backends.pygresql:wrap",
    "pgdb": "pgnotify.backends.pygresql:wrap",
    "psycopg": "pgnotify.backends.psycopg:wrap",
    "psycopg_pool": "pgnotify.backends.psycopg:wrap",
    "psycopg2": "pgnotify.backends.psycopg2:wrap",
    "pg8000": "pgnotify.backends.pg8000:wrap",
    "sqlalchemy": "pgnotify.backends.sqlalchemy:wrap",
    "django": "pgnotify.backends.django:wrap",
}

# Those whose connections are asynchronous, or some of them.
ASYNC_BUILT_IN: dict[str, str] = {
    "pgnotify": "pgnotify.aio.connection:own_backend",
    "asyncpg": "pgnotify.backends.asyncpg:wrap",
    "psycopg": "pgnotify.backends.psycopg_async:wrap",
    "psycopg_pool": "pgnotify.backends.psycopg_async:wrap",
    "sqlalchemy": "pgnotify.backends.sqlalchemy_async:wrap",
}


class Driver(NamedTuple):
    """A driver that `pgnotify.connect` can open a connection with."""

    module: str
    """The module whose presence shows that the driver is installed."""
    connect: str
    """The path of the function that takes the connection parameters as a dict of strings."""
    extra: str
    """The extra of pgnotify-handler that installs it."""


# In the order in which `pgnotify.connect` looks for an installed driver.
DRIVERS: dict[str, Driver] = {
    "psycopg": Driver("psycopg", "pgnotify.backends.psycopg:connect", "psycopg"),
    "psycopg2": Driver("psycopg2", "pgnotify.backends.psycopg2:connect", "psycopg2"),
    "pg8000": Driver("pg8000", "pgnotify.backends.pg8000:connect", "pg8000"),
    "pygresql": Driver("pg", "pgnotify.backends.pygresql:connect", "pygresql"),
}
# Those that only `pgnotify.connect_async` can open a connection with, in the same order, after the others.
ASYNC_DRIVERS: dict[str, Driver] = {
    "psycopg_async": Driver("psycopg", "pgnotify.backends.psycopg_async:connect", "psycopg"),
    "asyncpg": Driver("asyncpg", "pgnotify.backends.asyncpg:connect", "asyncpg"),
}
_ALIASES = {"psycopg3": "psycopg", "pg": "pygresql"}

_VERBS = ("listen", "unlisten", "wait", "fetch", "notify", "close")

_registered: dict[str, Factory] = {}
_registered_async: dict[str, AsyncFactory] = {}


class _Found(NamedTuple):
    factory: Callable[[Any], Any]
    describe: Callable[[], str]
    """Returns its name for error messages, which shows who is to blame. A function, because it may read a file."""
    is_built_in: bool = False


class _EntryPoints(NamedTuple):
    by_package: dict[str, list[EntryPoint]]
    never_used: list[str]
    """A message for each of the others, with the reason."""


def register(package: str, factory: Factory) -> None:
    """Use a factory for all connections whose class is defined in a package, in this process.

    It takes precedence over the built-in backends and over entry points. A second call for the same
    package replaces the first.

    Args:
        package: the top-level package of the connection's class, such as ``"mydriver"``.
        factory: takes the connection and returns its backend.

    Raises:
        ValueError: the name is not that of a top-level package.
        TypeError: the factory cannot be called, or is an async function.
    """
    _check_factory(package, factory)
    _registered[plain(package)] = factory


def register_async(package: str, factory: AsyncFactory) -> None:
    """Do the same as `register`, for asynchronous connections and their `AsyncBackend`.

    The factory itself is a plain function. It returns None for a connection that blocks. The entry point group is
    ``pgnotify.async_backends``.

    Raises the same errors.
    """
    _check_factory(package, factory)
    _registered_async[plain(package)] = factory


def _check_factory(package: str, factory: object) -> None:
    if not package.isidentifier():
        raise ValueError(f"package must be the name of a top-level package, not {package!r}")
    if not callable(factory):
        raise TypeError(f"factory must take a connection and return its backend, not {factory!r}")
    check_runs("factory", factory)


def backend_for(connection: object) -> Backend:
    """Return a backend for a connection.

    Raises:
        UnknownBackend: nothing fits, or the match cannot be loaded or is not a backend.
        TypeError: the object belongs to a driver but is not its connection, such as a cursor.

    Other errors of a factory pass through. Entry points are scanned if neither `register` nor the
    built-in table fits. Then a UserWarning reports each entry point that can never be used.
    """
    _refuse_string(connection, "pgnotify.connect() and pgnotify.Listener")
    for found, driver_object in _matches(connection, ENTRY_POINT_GROUP):
        try:
            backend: Backend = _made_by(found, driver_object)
        except TypeError:
            # A third party's factory knows better what to pass to it.
            if found.is_built_in and _is_asynchronous(connection):
                raise UnknownBackend(_use_asyncio(connection)) from None
            raise
        return backend
    raise UnknownBackend(_nothing_fits(connection))


def async_backend_for(connection: object) -> AsyncBackend | None:
    """Return the asynchronous backend of a connection; None if it is not an asynchronous one.

    Raises the same errors as `backend_for`, but not if nothing fits.
    """
    _refuse_string(connection, "pgnotify.connect_async() and pgnotify.AsyncListener")
    for found, driver_object in _matches(connection, ASYNC_ENTRY_POINT_GROUP):
        if (made := found.factory(driver_object)) is not None:
            backend: AsyncBackend = _checked(found, made)
            return backend
    return None


def _matches(connection: object, group: str) -> Iterator[tuple[_Found, object]]:
    """Yield each factory that fits, in order of precedence, with the object to pass to it."""
    views = list(_views(connection))
    for source in (_registered_for, _built_in_for, _plugged_in_for):
        for package, driver_object in views:
            found = source(package, group)
            if found is not None:
                yield found, driver_object


def connect_with(driver: str | None) -> Callable[[dict[str, str]], object]:
    """Return the function that connects with the named driver, or with the first installed one if None.

    Raises:
        UnknownBackend: there is no such driver, or it is not installed, or it is asynchronous.
    """
    connect = _connect_with(driver, DRIVERS)
    if is_async(connect):  # a plug-in's
        raise UnknownBackend(_connect_asynchronously(driver))
    return connect


def connect_async_with(driver: str | None) -> tuple[Callable[[dict[str, str]], Any], bool]:
    """Return the same as `connect_with`, for asyncio, and whether it is a coroutine function.

    All drivers are possible. One that blocks is preferred, as its connections are read faster.
    """
    connect = _connect_with(driver, {**DRIVERS, **ASYNC_DRIVERS})
    return connect, is_async(connect)


def one_driver(in_uri: str | None, driver: str | None) -> str | None:
    """Return the name of the driver to connect with, if the connection URI or the caller names one.

    Two ways of one driver do not contradict each other, such as the blocking one in the URI and the asynchronous one of
    the caller's: the caller's counts.

    Raises:
        UnknownBackend: there is no driver of the name in the URI.
        ValueError: both name one, and not the same.
    """
    if in_uri is None:
        return driver
    drivers = {**DRIVERS, **ASYNC_DRIVERS}
    try:
        named = _known(in_uri, drivers)
    except UnknownBackend as error:
        raise UnknownBackend(
            f"{error}. Write postgresql:// in place of postgresql+{in_uri}:// to have one of them chosen"
        ) from None
    if driver is None:
        return named
    chosen = _known(driver, drivers)
    if _module_of(named, drivers) != _module_of(chosen, drivers):
        raise ValueError(f"the connection URI names the driver {in_uri!r}, and driver= names {driver!r}: leave out one")
    return chosen


def _module_of(name: str, drivers: dict[str, Driver]) -> str:
    return drivers[name].module if name in drivers else name


def _connect_with(driver: str | None, drivers: dict[str, Driver]) -> Callable[[dict[str, str]], Any]:
    name = _first_installed(drivers) if driver is None else _known(driver, drivers)
    if name not in drivers:
        return _plugged_in(name)
    chosen = drivers[name]
    if not is_installed(chosen.module):
        raise UnknownBackend(f"driver {name!r} is not installed: {_pip_install(chosen.extra)}")
    function: Callable[[dict[str, str]], Any] = _load(chosen.connect)
    return function


def installed_drivers() -> list[str]:
    """Return the names of the installed drivers, in the order in which `connect` prefers them."""
    return [name for name, driver in DRIVERS.items() if is_installed(driver.module)]


def driver_names(drivers: Iterable[str] = DRIVERS) -> list[str]:
    """Return the names of drivers, and of those of plug-ins, installed or not. No plug-in is imported."""
    return [*drivers, *_entry_points(DRIVER_ENTRY_POINT_GROUP).by_package]


class PlugIn(NamedTuple):
    """An entry point of another distribution."""

    name: str
    """The package whose connections it is for; in the group of drivers, the name of the driver."""
    origin: str
    """Its distribution and release, and the path of its function."""
    problem: str | None
    """Why it cannot be used; None if it can."""


def plug_ins(group: str) -> list[PlugIn]:
    """Load all entry points of a group, and return them with the reason why one cannot be used."""
    by_package = _entry_points(group).by_package
    return [
        PlugIn(name, origin(claim), _problem_of(name, group)) for name, claims in by_package.items() for claim in claims
    ]


def never_used(group: str) -> list[str]:
    """Return a message for each entry point of a group that can never be used, with the reason."""
    return _entry_points(group).never_used


def _problem_of(name: str, group: str) -> str | None:
    try:
        _plugged_in_for(name, group)
    except UnknownBackend as error:
        return str(error)
    return None


def problem_with(path: str) -> str | None:
    """Return why a built-in function cannot be loaded, such as a library that its driver lacks; None if it can."""
    try:
        _load(path)
    except Exception as error:  # a driver's, or of one of the libraries that it loads
        return f"{type(error).__name__}: {error}"
    return None


def is_installed(package: str) -> bool:
    """Return whether a top-level package can be found; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # a stub in sys.modules, as some tests put there
        return False


def _views(connection: object) -> Iterator[tuple[str, object]]:
    """Yield the packages of the object's class, then those of the class that it claims to have.

    Each comes with the object to pass to its factory: a tracing library's proxy claims the class of the
    connection that it wraps.
    """
    yield from ((package, connection) for package in _packages(type(connection)))
    try:
        claimed = connection.__class__
    except TypeError:  # some closed connections reveal nothing about themselves
        return
    if claimed is not type(connection):
        wrapped = _wrapped_by(connection, claimed)
        yield from ((package, wrapped) for package in _packages(claimed))


def _wrapped_by(proxy: object, claimed: type) -> object:
    """Return the object of the claimed class that proxies wrap; the innermost proxy if it hides that."""
    wrapped = getattr(proxy, "__wrapped__", proxy)
    return wrapped if wrapped is proxy or type(wrapped) is claimed else _wrapped_by(wrapped, claimed)


def _packages(cls: type) -> list[str]:
    names = (base.__module__.partition(".")[0] for base in cls.__mro__)
    return [name for name in dict.fromkeys(names) if name != "builtins"]


def _registered_for(package: str, group: str) -> _Found | None:
    factories: dict[str, Any] = _registered if group == ENTRY_POINT_GROUP else _registered_async
    if package not in factories:
        return None
    factory = factories[package]
    return _Found(factory, lambda: f"the factory registered for {package!r}, {factory!r},")


def _built_in(group: str) -> dict[str, str]:
    if group == DRIVER_ENTRY_POINT_GROUP:
        return {name: driver.connect for name, driver in (DRIVERS | ASYNC_DRIVERS).items()}
    return BUILT_IN if group == ENTRY_POINT_GROUP else ASYNC_BUILT_IN


def _built_in_for(package: str, group: str) -> _Found | None:
    path = _built_in(group).get(package)
    return _Found(_load(path), lambda: f"the built-in backend for {package!r}", True) if path else None


def _plugged_in_for(package: str, group: str) -> _Found | None:
    claims = _entry_points(group).by_package.get(package, [])
    if len(claims) > 1:
        remedy = "" if group == DRIVER_ENTRY_POINT_GROUP else ", or call pgnotify.register()"
        raise UnknownBackend(
            f"{len(claims)} distributions claim {_subject(package, group)}: "
            f"{', '.join(map(origin, claims))}; uninstall all except one{remedy}"
        )
    if not claims:
        return None
    describe = functools.partial(_described, claims[0])
    return _Found(load(claims[0], describe), describe)


def _described(claim: EntryPoint) -> str:
    return f"{_subject(claim.name, claim.group)} from {origin(claim)}"


def _subject(name: str, group: str) -> str:
    return f"the driver {name!r}" if group == DRIVER_ENTRY_POINT_GROUP else f"the backend for {name!r}"


@functools.lru_cache(maxsize=3)  # the scan reads a file of every installed distribution
def _entry_points(group: str) -> _EntryPoints:
    found = _EntryPoints({}, [])
    for entry_point in scan(group, found.never_used):
        if obstacle := _obstacle(entry_point.name, group):
            found.never_used.append(f"{_described(entry_point)} is never used: {obstacle}")
        else:
            found.by_package.setdefault(entry_point.name, []).append(entry_point)
    for each in found.never_used:
        warnings.warn(each, stacklevel=1)  # the fault of the installation, not of any caller
    return found


def _obstacle(name: str, group: str) -> str | None:
    if name in _built_in(group):
        if group == DRIVER_ENTRY_POINT_GROUP:
            return "the built-in driver takes precedence. Give it another name"
        register = "register" if group == ENTRY_POINT_GROUP else "register_async"
        return f"the built-in backend takes precedence. To replace it, call pgnotify.{register}({name!r}, …)"
    if not name.isidentifier():
        if group == DRIVER_ENTRY_POINT_GROUP:
            return f"{name!r} is not an identifier, so no connection URI can have it"
        return f"{name!r} is not a top-level package. Name it after the one of the connection's class"
    return None


def _made_by(found: _Found, connection: object) -> Any:
    return _checked(found, found.factory(connection))


def _checked(found: _Found, backend: Any) -> Any:
    lacking = [verb for verb in _VERBS if not callable(getattr(backend, verb, None))]
    if lacking:
        what = f"a {_class_path(type(backend))}" if backend is not None else None
        raise UnknownBackend(
            f"{found.describe()} returned {what}, which is not a backend: it lacks {', '.join(lacking)}"
        )
    return backend


def _is_asynchronous(connection: object) -> bool:
    try:
        return async_backend_for(connection) is not None
    except TypeError:  # an object of the driver that is not a connection
        return False


def _use_asyncio(connection: object) -> str:
    return (
        f"a {_class_path(type(connection))} is asynchronous, and cannot be used in blocking code: pass it to "
        "pgnotify.AsyncNotificationHandler, AsyncListener, wrap_async(), notify_async() or notify_many_async(), or to "
        "a method of Outbox that ends in _async"
    )


def _refuse_string(connection: object, takes_it: str) -> None:
    # Not isinstance(), which asks the object for its class: a closed connection may raise an error instead.
    if issubclass(type(connection), str):  # which is not shown, as it may have a password
        raise UnknownBackend(
            f"a str is not a connection: a connection string is for {takes_it}, which open one. Pass a connection here"
        )


def _nothing_fits(connection: object) -> str:
    if async_backend_for(connection) is not None:
        return _use_asyncio(connection)
    tried = [*_registered, *BUILT_IN, *_entry_points(ENTRY_POINT_GROUP).by_package]
    installed = installed_drivers()
    return (
        f"no backend fits a {_class_path(type(connection))}. Known packages: {', '.join(dict.fromkeys(tried))}. "
        f"Installed drivers: {', '.join(installed) or 'none'}. Pass a connection of one of them, for instance "
        f"after {_pip_install('psycopg')}, or register a backend with pgnotify.register()"
        + "".join(f". Note: {each}" for each in _entry_points(ENTRY_POINT_GROUP).never_used)
    )


def _class_path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _first_installed(drivers: dict[str, Driver]) -> str:
    for name, driver in drivers.items():
        if is_installed(driver.module):
            return name
    raise UnknownBackend(f"no driver is installed; looked for {', '.join(drivers)}: {_pip_install('psycopg')}")


def _known(driver: str, drivers: dict[str, Driver]) -> str:
    name = driver.lower()
    name = _ALIASES.get(name, name)
    if name not in drivers:
        if name in ASYNC_DRIVERS:
            raise UnknownBackend(_connect_asynchronously(name))
        if name.isidentifier() and _plugged_in_for(name, DRIVER_ENTRY_POINT_GROUP):
            return name
        shown = repr(driver) if name.isidentifier() else "of this name"  # not a connection string, with its password
        raise UnknownBackend(
            f"there is no driver {shown} to connect with; the drivers are {', '.join(driver_names(drivers))}"
        )
    return name


def _connect_asynchronously(name: str | None) -> str:
    return (
        f"driver {name!r} is asynchronous: use pgnotify.connect_async() or pgnotify.AsyncListener; or another driver, "
        "which a connection URI that begins with postgresql:// leaves to pgnotify"
    )


def _plugged_in(name: str) -> Callable[[dict[str, str]], Any]:
    """Return the function that a plug-in connects with."""
    found = _plugged_in_for(name, DRIVER_ENTRY_POINT_GROUP)
    assert found is not None, "the caller has looked"
    return found.factory


def _pip_install(extra: str) -> str:
    return f'pip install "pgnotify-handler[{extra}]"'


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
