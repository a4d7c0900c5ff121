"""`check`: what a backend's author runs at a shell, without pytest."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgnotify.testing import BackendConformance


def check(
    connection_factory: Callable[..., Any] | type[BackendConformance],
    *,
    cannot: Mapping[str, str] = MappingProxyType({}),
    tell: Callable[[str], object] = print,
) -> bool:
    """Check what a backend promises, on real connections, and print a table.

    The checks are those of `pgnotify.testing.BackendConformance`, without pytest. Nothing of them
    stays on the server, but the session of a check that hangs.

    Args:
        connection_factory: returns a new connection each time. One that takes nothing connects to a
            server of yours; what needs a network to break, or databases of its own, is skipped there.
            One that takes a `pgnotify.testing.Address` is given that of the server of
            PGNOTIFY_TEST_DSN, or of a temporary one, and everything is checked. Where more must be
            told than how to connect, a class derived from BackendConformance does.
        cannot: what the driver lacks, and why, as in that class: it is skipped with that reason.
        tell: takes each line of the table.

    Returns:
        Whether nothing failed.

    Raises:
        UnknownBackend: no backend fits the connections.
        TypeError: the factory takes something else, or nobody knows how to run a statement on the
            connections: derive a class from BackendConformance, and define execute().
        ValueError: `cannot` names something that is no feature.
        NoPostgreSQL: there is no PostgreSQL to start a temporary server with.

    What connecting raises passes through.
    """
    from pgnotify.testing.conformance import running  # it comes with all that tests need, and only this needs it

    begun = time.monotonic()
    conformance = running.conformance_of(connection_factory, cannot)
    tell(running.title_of(conformance()))
    outcomes: Counter[str] = Counter()
    for result in running.results_of(conformance):
        outcomes[result.outcome] += 1
        tell(f"  {result.outcome:<8} {result.promise}" + (f": {result.detail}" if result.detail else ""))
    counts = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in running.OUTCOMES)
    tell(f"{counts}, in {time.monotonic() - begun:.1f} seconds")
    return not outcomes[running.FAILED]
