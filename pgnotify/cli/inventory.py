"""Which backends and drivers there are, where they come from, and why one cannot be used."""

from __future__ import annotations

import platform
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from pgnotify import registry

_DRIVERS = {**registry.DRIVERS, **registry.ASYNC_DRIVERS}
_BACKENDS = {
    package: [table[package] for table in (registry.BUILT_IN, registry.ASYNC_BUILT_IN) if package in table]
    for package in {**registry.BUILT_IN, **registry.ASYNC_BUILT_IN}
    if package != "pgnotify"
}
BUILT_IN = "built in"


@dataclass(frozen=True)
class Known:
    """A package whose connections are known, or a driver of a plug-in."""

    name: str
    """The top-level package, or the name of the driver."""
    release: str | None
    """The distribution that has the package, and its version; None if it is not installed, or is a plug-in's driver."""
    drivers: tuple[str, ...]
    """The names for --driver, with which a connection is made; empty if its connections can be taken only."""
    origin: str
    """"built in", or the distribution of the plug-in, and the path of its function."""
    problem: str | None
    """Why it cannot be used; None if it can."""


@dataclass(frozen=True)
class Inventory:
    """All that is known of an installation."""

    pgnotify: str
    """The version of pgnotify."""
    location: str
    """Where it is."""
    python: str
    platform: str
    backends: tuple[Known, ...]
    """Those that are installed, in the order in which `connect` takes the first one, then the others."""
    never_used: tuple[str, ...]
    """A message for each plug-in that can never be used."""

    @property
    def is_broken(self) -> bool:
        """Whether something that is installed cannot be used, or no driver is installed."""
        usable = [each for each in self.backends if each.problem is None]
        broken = [each for each in self.backends if each.problem and (each.release or each.origin != BUILT_IN)]
        return bool(broken or self.never_used) or not any(each.drivers for each in usable)


def inventory() -> Inventory:
    """Load all backends that are installed, and return what was found."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same messages are in `never_used`
        backends = (*_built_in(), *_plugged_in())
        groups = (registry.ENTRY_POINT_GROUP, registry.ASYNC_ENTRY_POINT_GROUP, registry.DRIVER_ENTRY_POINT_GROUP)
        never_used = tuple(message for group in groups for message in registry.never_used(group))
    return Inventory(
        own_version(),
        str(Path(registry.__file__).parent),
        f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
        platform.platform(),
        tuple(sorted(backends, key=lambda each: each.problem is not None)),
        never_used,
    )


def own_version() -> str:
    """Return the version of the distribution that is installed."""
    try:
        return version("pgnotify-handler")
    except PackageNotFoundError:
        return "of unknown version, as it is not installed"


def _built_in() -> Iterator[Known]:
    distributions = packages_distributions()
    of_drivers = {driver.module: driver.extra for driver in _DRIVERS.values()}
    for package in dict.fromkeys([*of_drivers, *_BACKENDS]):
        names = tuple(name for name, driver in _DRIVERS.items() if driver.module == package)
        if not registry.is_installed(package):
            extra = of_drivers.get(package)
            remedy = f'pip install "pgnotify-handler[{extra}]"' if extra else f"its backend is there if {package} is"
            yield Known(package, None, names, BUILT_IN, f"not installed: {remedy}")
            continue
        paths = [*(_DRIVERS[name].connect for name in names), *_BACKENDS[package]]
        problems = dict.fromkeys(filter(None, map(registry.problem_with, paths)))
        yield Known(
            package, _release(package, distributions.get(package, [])), names, BUILT_IN, "; ".join(problems) or None
        )


def _release(package: str, distributions: list[str]) -> str:
    return (
        ", ".join(f"{name} {version(name)}" for name in dict.fromkeys(distributions))
        or f"{package}, of unknown version"
    )


def _plugged_in() -> Iterator[Known]:
    for group in (registry.ENTRY_POINT_GROUP, registry.ASYNC_ENTRY_POINT_GROUP):
        for found in registry.plug_ins(group):
            yield Known(found.name, None, (), found.origin, found.problem)
    for found in registry.plug_ins(registry.DRIVER_ENTRY_POINT_GROUP):
        yield Known(found.name, None, (found.name,), found.origin, found.problem)
