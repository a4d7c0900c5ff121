"""Backends with one fault each, as real ones have had; the conformance class must catch every one of them.

`python -m tests.kit.mutants` runs all of its tests on each mutant and prints the tests that fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from pgnotify import Backend
from pgnotify.testing import BackendConformance
from tests.kit.mutants import (
    arriving,
    characters,
    describing,
    ending,
    fetching_ways,
    health,
    listening,
    many,
    naming,
    querying,
    releasing,
    subscribing_many,
    transactions,
    waiting,
)
from tests.kit.mutants.base import Mutant

MODULES = (
    arriving,
    fetching_ways,
    naming,
    characters,
    listening,
    subscribing_many,
    many,
    querying,
    waiting,
    transactions,
    describing,
    health,
    ending,
    releasing,
)
MUTANTS: list[type[Mutant]] = [
    each
    for module in MODULES
    for each in vars(module).values()
    if isinstance(each, type) and hasattr(each, "caught_by")
]


def conformance_of(make_backend: Callable[[Any], Backend], seconds: float) -> type[BackendConformance]:
    """Return a conformance class with this patience, for backends that a function makes for psycopg's connections."""

    class Conformance(BackendConformance):
        patience = seconds
        implicit_transactions = False

        def connect(self, address):
            return psycopg.connect(address.dsn, autocommit=True)

        def make_backend(self, connection):
            return make_backend(connection)

        def leave_autocommit(self, connection):
            connection.autocommit = False

    return Conformance
