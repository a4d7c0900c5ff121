"""SQLAlchemy's asynchronous connections in the class that every asynchronous backend must pass."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from pgnotify.testing import AsyncBackendConformance


class TestSQLAlchemy(AsyncBackendConformance):
    cannot = MappingProxyType(
        {
            "network": "the connection of the driver itself is tested for that",
            "sql_ascii": "the wrapper cannot use such a database",
        }
    )

    @pytest.fixture(autouse=True)
    def _at(self, address):
        self.address = address

    async def connect(self, address):
        url = URL.create("postgresql+asyncpg", *address[3:], *address[:3])
        return await create_async_engine(url, poolclass=NullPool).connect()
