"""The native drivers in the class that every one must pass."""

from __future__ import annotations

import pytest

from pgnotify.backends import asyncpg, psycopg_async
from pgnotify.testing import AsyncBackendConformance
from tests.online.asynchronous.native import parameters_of

_ONLY_AUTOCOMMIT = {"implicit_transactions": "the driver has only the autocommit mode"}


class TestAsyncpg(AsyncBackendConformance):
    cannot = _ONLY_AUTOCOMMIT
    implicit_transactions = False

    @pytest.fixture(autouse=True)
    def _at(self, address):
        self.address = address

    async def connect(self, address):
        return await asyncpg.connect(parameters_of(address))


class TestPsycopg(AsyncBackendConformance):
    implicit_transactions = False

    @pytest.fixture(autouse=True)
    def _at(self, address):
        self.address = address

    async def connect(self, address):
        return await psycopg_async.connect(parameters_of(address))
