"""Which backend fits which object: the one table of drivers, `register`, and entry points.

No driver is imported here. A backend's module is imported when an object of its driver shows up,
which means that the driver is imported already.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pgnotify.errors import UnknownBackend
from pgnotify.protocol import Backend

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "pgnotify.backends"

Factory: TypeAlias = Callable[[Any], Backend]
"""Makes a backend of a connection, or raises a TypeError that names what to pass instead."""

# The top-level package of a connection's class, and where its factory is. The pool packages are
# here since their factory knows what to pass instead of a pool.
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


class Driver(NamedTuple):
    """A driver that `pgnotify.connect` can open a connection with."""

    module: str
    """The module to look for, to see whether the driver is installed."""
    connect: str
    """Where the function is that takes the connection parameters as a dict of strings."""
    extra: str
    """The extra of pgnotify-handler that installs it."""


# In the order in which `pgnotify.connect` looks for one that is installed.
DRIVERS: dict[str, Driver] = {
    "psycopg": Driver("psycopg", "pgnotify.backends.psycopg:connect", "psycopg"),
    "psycopg2": Driver("psycopg2", "pgnotify.backends.psycopg2:connect", "psycopg2"),
    "pg8000": Driver("pg8000", "pgnotify.backends.pg8000:connect", "pg8000"),
    "pygresql": Driver("pg", "pgnotify.backends.pygresql:connect", "pygresql"),
}
_ALIASES = {"psycopg3": "psycopg", "pg": "pygresql"}

_VERBS = ("listen", "unlisten", "wait", "fetch", "notify", "close")

_registered: dict[str, Factory] = {}


def register(package: str, factory: Factory) -> None:
    """Use a factory for all connections whose class is defined in a package, in this process.

    It comes before the built-in backends and before entry points; a second call for the same
    package replaces the first.

    Args:
        package: the top-level package of the connection's class, such as ``"mydriver"``.
        factory: takes the connection and returns its backend.

    Raises:
        ValueError: the name is no top-level package.
        TypeError: the factory cannot be called.
    """
    if not package.isidentifier():
        raise ValueError(f"package must be the name of a top-level package, not {package!r}")
    if not callable(factory):
        raise TypeError(f"factory must take a connection and return its backend, not {factory!r}")
    _registered[package] = factory


def backend_for(connection: object) -> Backend:
    """Return a backend for a connection.

    Raises:
        UnknownBackend: nothing fits, or what fits cannot be loaded or is no backend.
        TypeError: the object belongs to a driver but is not its connection, such as a cursor.
    """
    views = list(_views(connection))
    for source in (_from_registered, _from_built_in, _from_entry_points):
        for packages, driver_object in views:
            factory = source(packages)
            if factory is not None:
                return _made_by(factory, driver_object)
    raise UnknownBackend(_nothing_fits(connection))


def connect_with(driver: str | None) -> Callable[[dict[str, str]], object]:
    """Return the function that connects with the named, or else the first installed driver.

    Raises:
        UnknownBackend: there is no such driver, or it is not installed.
    """
    name = _first_installed() if driver is None else _known(driver)
    chosen = DRIVERS[name]
    if not _installed(chosen):
        raise UnknownBackend(f"driver {name!r} is not installed: {_pip_install(chosen.extra)}")
    function: Callable[[dict[str, str]], object] = _load(chosen.connect)
    return function


def installed_drivers() -> list[str]:
    """Return the names of the installed drivers, in the order in which `connect` prefers them."""
    return [name for name, driver in DRIVERS.items() if _installed(driver)]


def _views(connection: object) -> Iterator[tuple[list[str], object]]:
    """Yield the packages of the object's class, then those of the class that it claims to have.

    A tracing library's proxy claims the class of the connection that it wraps.
    """
    yield _packages(type(connection)), connection
    try:
        claimed = connection.__class__
    except TypeError:  # some connections that are closed tell nothing about themselves
        return
    if claimed is not type(connection):
        yield _packages(claimed), getattr(connection, "__wrapped__", connection)


def _packages(cls: type) -> list[str]:
    names = (base.__module__.partition(".")[0] for base in cls.__mro__)
    return [name for name in dict.fromkeys(names) if name != "builtins"]


def _from_registered(packages: list[str]) -> Factory | None:
    return next((_registered[package] for package in packages if package in _registered), None)


def _from_built_in(packages: list[str]) -> Factory | None:
    return next((_load(BUILT_IN[package]) for package in packages if package in BUILT_IN), None)


def _from_entry_points(packages: list[str]) -> Factory | None:
    return next((_plug_in(package) for package in packages if package in _entry_points()), None)


@functools.lru_cache(maxsize=1)  # the scan reads a file of every installed distribution
def _entry_points() -> dict[str, list[EntryPoint]]:
    from importlib.metadata import entry_points  # takes longer to import than all of pgnotify

    found: dict[str, list[EntryPoint]] = {}
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(entry_point.name, []).append(entry_point)
    return found


def _plug_in(package: str) -> Factory:
    claims = _entry_points()[package]
    if len(claims) > 1:
        raise UnknownBackend(
            f"{len(claims)} distributions claim the backend for {package!r}: "
            f"{', '.join(_origin(claim) for claim in claims)}; uninstall all but one, or call pgnotify.register()"
        )
    (claim,) = claims
    try:
        factory = claim.load()
    except Exception as error:
        raise UnknownBackend(
            f"the backend for {package!r} from {_origin(claim)} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not callable(factory):
        raise UnknownBackend(f"the backend for {package!r} from {_origin(claim)} is no factory: {factory!r}")
    plug_in: Factory = factory
    return plug_in


def _origin(entry_point: EntryPoint) -> str:
    distribution = entry_point.dist
    if distribution is None:
        return entry_point.value
    return f"{distribution.name} {distribution.version} ({entry_point.value})"


def _made_by(factory: Factory, connection: object) -> Backend:
    backend = factory(connection)
    lacking = [verb for verb in _VERBS if not callable(getattr(backend, verb, None))]
    if lacking:
        raise UnknownBackend(
            f"{factory!r} returned a {_class_path(type(backend))}, which is no backend: it lacks {', '.join(lacking)}"
        )
    return backend


def _nothing_fits(connection: object) -> str:
    tried = [*_registered, *BUILT_IN, *_entry_points()]
    installed = installed_drivers()
    return (
        f"no backend fits a {_class_path(type(connection))}. Known packages: {', '.join(dict.fromkeys(tried))}. "
        f"Installed drivers: {', '.join(installed) or 'none'}. Pass a connection of one of them, for instance "
        f"after {_pip_install('psycopg')}, or register a backend with pgnotify.register()"
    )


def _class_path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _first_installed() -> str:
    for name in installed_drivers():
        return name
    raise UnknownBackend(f"no driver is installed; looked for {', '.join(DRIVERS)}: {_pip_install('psycopg')}")


def _known(driver: str) -> str:
    name = driver.lower()
    name = _ALIASES.get(name, name)
    if name not in DRIVERS:
        raise UnknownBackend(f"there is no driver {driver!r} to connect with; there are {', '.join(DRIVERS)}")
    return name


def _installed(driver: Driver) -> bool:
    try:
        return importlib.util.find_spec(driver.module) is not None
    except ValueError:  # a stub in sys.modules, as tests put there
        return False


def _pip_install(extra: str) -> str:
    return f'pip install "pgnotify-handler[{extra}]"'


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
