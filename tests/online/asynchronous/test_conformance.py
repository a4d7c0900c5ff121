"""The built-in asynchronous backends in the class that every one must pass."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from pgnotify.backends import asyncpg, psycopg_async
from pgnotify.testing import AsyncBackendConformance
from tests.online.asynchronous.native import parameters_of

_ONLY_AUTOCOMMIT = {"implicit_transactions": "the driver has only the autocommit mode"}
_HELD = {"network": "covered by the driver's own connection", "sql_ascii": "the wrapper cannot use such a database"}


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


class OnSQLAlchemy:
    cannot = _HELD
    driver: str

    @pytest.fixture(autouse=True)
    def _at(self, address):
        self.address = address

    async def connect(self, address):
        url = URL.create(f"postgresql+{self.driver}", *address[3:], *address[:3])
        return await create_async_engine(url, poolclass=NullPool).connect()


class TestAsyncpgInSQLAlchemy(OnSQLAlchemy, AsyncBackendConformance):
    driver = "asyncpg"


class TestPsycopgInSQLAlchemy(OnSQLAlchemy, AsyncBackendConformance):
    driver = "psycopg"
