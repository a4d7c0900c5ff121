"""`check`, which the author of a backend runs at a shell, without pytest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import re

    from pgnotify.testing import BackendConformance


def check(
    connection_factory: Callable[..., Any] | type[BackendConformance],
    *,
    only: str | re.Pattern[str] = "",
    cannot: Mapping[str, str] = MappingProxyType({}),
    tell: Callable[[str], object] = print,
) -> bool:
    """Check every promise of a backend on real connections, and print the results as a table.

    The checks are those of `pgnotify.testing.BackendConformance`, run without pytest; for asynchronous
    connections, those of `pgnotify.testing.AsyncBackendConformance`. Nothing is left on the server, except
    the session of a check that hangs.

    Args:
        connection_factory: a function, or a coroutine function, that returns a new connection each time. If it
            takes no argument, it connects to a server of your choice; checks that break the network or need
            their own databases are skipped. If it takes a `pgnotify.testing.Address`, it gets the address of the
            server that PGNOTIFY_TEST_DSN names, or of a temporary one, and everything is checked.
            Pass a class derived from one of these two to define more than how to connect.
        only: a regular expression. The checks run whose names match it somewhere; pytest's -k takes the same names.
        cannot: which features the driver lacks, and why, as in that class. Their checks are skipped,
            with that reason.
        tell: called with each line of the table.

    Returns:
        True if no check failed.

    Raises:
        UnknownBackend: no backend fits the connections.
        TypeError: the factory takes other arguments, or is a generator function; or pgnotify does not know how to run a
            statement on the connections. In that case, derive a class that defines execute().
        ValueError: `cannot` names a feature that does not exist, or `only` is not a regular expression, or matches no
            name.
        NoPostgreSQL: there is no PostgreSQL to start a temporary server with.

    Errors of the factory pass through unchanged.
    """
    from pgnotify.testing.conformance import running  # it imports everything that the tests need; nothing else needs it

    begun = time.monotonic()
    conformance, title = running.prepared(connection_factory, cannot)
    names = running.tests_with(only, conformance)
    tell(title)
    outcomes: dict[str, list[str]] = {outcome: [] for outcome in running.OUTCOMES}
    for result in running.results_of(conformance, names):
        outcomes[result.outcome].append(result.name)
        tell(f"  {result.outcome:<8} {result.name}" + (f": {result.detail}" if result.detail else ""))
    failed = outcomes[running.FAILED]
    if failed:
        tell(f"FAILED: {', '.join(failed)}")
    counts = ", ".join(f"{len(names)} {outcome}" for outcome, names in outcomes.items())
    tell(f"{counts}, in {time.monotonic() - begun:.1f} seconds")
    return not failed
