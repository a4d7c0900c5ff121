"""Tests that are coroutine functions, each run by `asyncio.run`; they need no plugin of pytest."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect

import pytest

from tests.online.asynchronous.native import Native

_NEEDS = {
    "test_asyncpg.py": ("asyncpg",),
    "test_asyncpg_connect.py": ("asyncpg",),
    "test_asyncpg_tap.py": ("asyncpg",),
    "test_notifications.py": ("asyncpg",),
    "test_benchmark_ways.py": ("asyncpg",),
    "test_psycopg_async.py": ("psycopg",),
    "test_sqlalchemy_async.py": ("asyncpg", "psycopg", "sqlalchemy", "greenlet"),
    "test_conformance.py": ("asyncpg", "psycopg"),
    "test_conformance_sqlalchemy.py": ("asyncpg", "sqlalchemy", "greenlet"),
}
collect_ignore = [
    file for file, packages in _NEEDS.items() if not all(importlib.util.find_spec(package) for package in packages)
]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a coroutine function, and close the connections that it has opened on its loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def run():
        try:
            await pyfuncitem.obj(**arguments)
        finally:
            for argument in arguments.values():
                if isinstance(argument, Native):
                    await argument.close()

    asyncio.run(run())
    return True


@pytest.fixture(params=["asyncpg", "psycopg_async"])
def native(request, address):
    """Each native driver."""
    pytest.importorskip(request.param.removesuffix("_async"))
    return Native(request.param, address)


@pytest.fixture
def asyncpg(address):
    """Connections of asyncpg."""
    return Native("asyncpg", address)


@pytest.fixture
def psycopg(address):
    """Connections of psycopg."""
    return Native("psycopg_async", address)
