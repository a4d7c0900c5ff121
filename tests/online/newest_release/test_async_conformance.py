"""Blocking drivers on the event loop, in the class that every asynchronous backend must pass."""

from __future__ import annotations

import pytest

from pgnotify import wrap
from pgnotify.aio.loop import Loop
from pgnotify.aio.threaded import ThreadedBackend
from pgnotify.testing import AsyncBackendConformance
from pgnotify.testing.async_conformance.cancelling import Cancelling
from pgnotify.testing.async_conformance.kit import AsyncKit
from pgnotify.testing.async_conformance.looping import Looping
from pgnotify.testing.conformance._statements import run_statement
from pgnotify.testing.conformance.waiting import Waiting
from tests.online.each_release.backends.test_conformance import cannot_of


class OnThreads(AsyncKit):
    """The kinds of connection that a class's mark names."""

    @pytest.fixture(autouse=True)
    def _of_kind(self, kind, address):
        self.kind = kind
        self.address = address
        self.cannot = cannot_of(kind)
        self.implicit_transactions = kind.implicit_transactions

    def connect(self, address):
        return self.kind.connect(address)

    def make_backend(self, connection):
        return ThreadedBackend(wrap(connection).backend, Loop())

    async def execute(self, connection, statement):
        return await Loop().in_thread(run_statement, connection, statement)

    async def leave_autocommit(self, connection):
        connection.autocommit = False


@pytest.mark.drivers("pg8000.dbapi")
class TestAll(OnThreads, AsyncBackendConformance):
    """Everything, where most of it is done in Python."""


@pytest.mark.drivers("psycopg-autocommit", "psycopg2-autocommit", "pgdb")
class TestWaiting(OnThreads, Cancelling, Looping, Waiting):
    """What threads and the event loop can change."""
