"""Entry points of other distributions, some of which may be broken: how they are found, loaded and described.

Which groups there are, and which names are taken, is decided in `pgnotify.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pgnotify.errors import UnknownBackend

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint


def scan(group: str, unreadable: list[str]) -> Iterable[EntryPoint]:
    """Return the entry points of a group; append a message for each distribution whose entry points cannot be read."""
    from importlib.metadata import distributions, entry_points  # takes longer to import than all of pgnotify

    try:
        return entry_points(group=group)
    except Exception:  # one broken file, of any group, hides all entry points
        return dict.fromkeys(each for one in distributions() for each in _entry_points_of(one, group, unreadable))


def _entry_points_of(distribution: Distribution, group: str, unreadable: list[str]) -> Iterable[EntryPoint]:
    try:
        return distribution.entry_points.select(group=group)
    except Exception as error:
        unreadable.append(f"the entry points of {release(distribution)} cannot be read: {error!r}")
        return ()


def load(claim: EntryPoint, describe: Callable[[], str]) -> Callable[[Any], Any]:
    """Return the function that an entry point names.

    Args:
        claim: the entry point.
        describe: returns what it is, for error messages. A function, because it may read a file.

    Raises:
        UnknownBackend: it cannot be imported, or is not a function.
    """
    try:
        function: Callable[[Any], Any] = claim.load()
    except Exception as error:
        raise UnknownBackend(f"{describe()} cannot be loaded: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise UnknownBackend(f"{describe()} is not a factory: {function!r}")
    return function


def origin(entry_point: EntryPoint) -> str:
    """Return the distribution and release of an entry point, and the path of its function."""
    return f"{release(entry_point.dist)} ({entry_point.value})" if entry_point.dist else entry_point.value


def release(distribution: Distribution) -> str:
    """Return the name and the version of a distribution, as far as they can be read."""
    nameless = f"a nameless distribution in {distribution.locate_file('')}"
    try:
        metadata: Any = distribution.metadata
        return f"{metadata.get('Name') or nameless} {metadata.get('Version') or 'of unknown version'}"
    except Exception:  # not text, or missing, for which newer Pythons have an error
        return nameless
