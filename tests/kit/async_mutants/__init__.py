"""Asynchronous backends with one fault each; the asynchronous conformance class must catch every one of them.

`python -m tests.kit.async_mutants` runs all of its tests on each mutant and prints the tests that fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from pgnotify import wrap
from pgnotify.aio.loop import Loop
from pgnotify.aio.threaded import ThreadedBackend
from pgnotify.async_protocol import AsyncBackend
from pgnotify.testing import AsyncBackendConformance
from pgnotify.testing.conformance._statements import run_statement
from tests.kit import mutants
from tests.kit.async_mutants import cancelling, looping
from tests.kit.async_mutants.base import AsyncMutant

MUTANTS: list[type[AsyncMutant]] = [
    each
    for module in (cancelling, looping)
    for each in vars(module).values()
    if isinstance(each, type) and hasattr(each, "caught_by")
]

SHARED: list[type[mutants.Mutant]] = [
    mutants.naming.FoldsTheCase,
    mutants.listening.ListensLater,
    mutants.listening.ThrowsAwayAtUnlisten,
    mutants.subscribing_many.ListensToManyOneByOne,
    mutants.many.UnlistensTheFirstHundred,
    mutants.fetching_ways.FillsTheQueueWithEverything,
    mutants.fetching_ways.TellsNoLossInTheQueue,
    mutants.waiting.LooksAtTheSocketOnly,
    mutants.transactions.ListensInsideATransaction,
    mutants.transactions.CommitsAtClose,
    mutants.describing.KeepsItsDescriptorOpen,
    mutants.describing.NamesAnotherErrorOfTheDrivers,
]
"""Backends that block, a few of each kind: their faults show through the threads, too."""


def conformance_of(make_backend: Callable[[Any], AsyncBackend], seconds: float) -> type[AsyncBackendConformance]:
    """Return a conformance class with this patience, for backends that a function makes for psycopg's connections."""

    class Conformance(AsyncBackendConformance):
        patience = seconds
        implicit_transactions = False

        def connect(self, address):
            return psycopg.connect(address.dsn, autocommit=True)

        def make_backend(self, connection):
            return make_backend(connection)

        async def execute(self, connection, statement):
            return await Loop().in_thread(run_statement, connection, statement)

        def leave_autocommit(self, connection):
            connection.autocommit = False

    return Conformance


def threaded(connection: Any) -> ThreadedBackend:
    """Return a sound asynchronous backend for a connection of psycopg's."""
    return ThreadedBackend(wrap(connection).backend, Loop())
