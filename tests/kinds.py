"""The kinds of connection that are tested: what to install for each, and how to open one.

A kind opens its connection as its driver does by default; psycopg and psycopg2 come in autocommit
mode too. What else differs from driver to driver, and matters in more than one test, is here too.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from pgnotify.testing.address import Address


class Kind(NamedTuple):
    """A kind of connection."""

    name: str
    driver: str
    """A name in `pgnotify.registry.DRIVERS`, "wrappers", or "asynchronous"."""
    modules: tuple[str, ...]
    """What must be importable; the last one makes the connection below, and has the errors of the DB-API."""
    connect: Callable[[Address], Any]
    implicit_transactions: bool
    """Whether a statement of the user's opens a transaction by itself."""

    @property
    def absent(self) -> str | None:
        """Why it cannot be tested here, or None."""
        missing = [module for module in self.modules if importlib.util.find_spec(module) is None]
        return f"{', '.join(missing)} not installed" if missing else None

    @property
    def interruptible(self) -> bool:
        """Whether the driver lets a signal handler run during a statement, not only after it."""
        return self.modules[-1] in ("psycopg", "pg8000")


def _psycopg(address: Address) -> Any:
    import psycopg

    return psycopg.connect(address.dsn)


def _psycopg_autocommit(address: Address) -> Any:
    import psycopg

    return psycopg.connect(address.dsn, autocommit=True)


def _psycopg2(address: Address) -> Any:
    import psycopg2

    return psycopg2.connect(address.dsn)


def _psycopg2_autocommit(address: Address) -> Any:
    connection = _psycopg2(address)
    connection.autocommit = True
    return connection


def _pg(address: Address) -> Any:
    import pg

    return pg.connect(address.database, address.host, address.port, user=address.user, passwd=address.password)


def _pg_db(address: Address) -> Any:
    import pg

    return pg.DB(address.database, address.host, address.port, user=address.user, passwd=address.password)


def _pgdb(address: Address) -> Any:
    import pgdb

    host = f"{address.host}:{address.port}"
    return pgdb.connect(database=address.database, host=host, user=address.user, password=address.password)


# By default pg8000 offers TLS, which the server declines, and reads all certificates of the system
# for that each time: 40 ms.
_NO_TLS = {"ssl_context": False}


def pg8000_arguments(address: Address) -> tuple[Any, ...]:
    """Return what all of pg8000's ways to connect take first."""
    return address.user, address.host, address.database, address.port, address.password


def _pg8000_native(address: Address) -> Any:
    import pg8000.native

    return pg8000.native.Connection(*pg8000_arguments(address), **_NO_TLS)


def _pg8000_dbapi(address: Address) -> Any:
    import pg8000.dbapi

    return pg8000.dbapi.connect(*pg8000_arguments(address), **_NO_TLS)


def _pg8000_legacy(address: Address) -> Any:
    import pg8000

    return pg8000.connect(*pg8000_arguments(address), **_NO_TLS)


def _engine(driver: str, address: Address) -> Any:
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    url = address.dsn.replace("postgresql:", f"postgresql+{driver}:", 1)
    arguments = _NO_TLS if driver == "pg8000" else {}
    return sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=arguments)  # close() closes


def _sqlalchemy(driver: str) -> Callable[[Address], Any]:
    return lambda address: _engine(driver, address).connect()


def _sqlalchemy_raw(address: Address) -> Any:
    return _engine("psycopg", address).raw_connection()


def _django(address: Address) -> Any:
    import django.conf
    from django.db import ConnectionHandler

    if not django.conf.settings.configured:
        django.conf.settings.configure()
        django.setup()
    settings = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.database,
        "HOST": address.host,
        "PORT": address.port,
        "USER": address.user,
        "PASSWORD": address.password,
    }
    return ConnectionHandler({"default": settings})["default"]


KINDS = (
    Kind("psycopg", "psycopg", ("psycopg",), _psycopg, True),
    Kind("psycopg-autocommit", "psycopg", ("psycopg",), _psycopg_autocommit, False),
    Kind("psycopg2", "psycopg2", ("psycopg2",), _psycopg2, True),
    Kind("psycopg2-autocommit", "psycopg2", ("psycopg2",), _psycopg2_autocommit, False),
    Kind("pg", "pygresql", ("pg",), _pg, False),
    Kind("pg.DB", "pygresql", ("pg",), _pg_db, False),
    Kind("pgdb", "pygresql", ("pgdb",), _pgdb, True),
    Kind("pg8000.native", "pg8000", ("pg8000",), _pg8000_native, False),
    Kind("pg8000.dbapi", "pg8000", ("pg8000",), _pg8000_dbapi, True),
    Kind("pg8000.legacy", "pg8000", ("pg8000",), _pg8000_legacy, True),
    Kind("sqlalchemy-psycopg", "wrappers", ("sqlalchemy", "psycopg"), _sqlalchemy("psycopg"), True),
    Kind("sqlalchemy-psycopg2", "wrappers", ("sqlalchemy", "psycopg2"), _sqlalchemy("psycopg2"), True),
    Kind("sqlalchemy-pg8000", "wrappers", ("sqlalchemy", "pg8000"), _sqlalchemy("pg8000"), True),
    Kind("sqlalchemy-raw", "wrappers", ("sqlalchemy", "psycopg"), _sqlalchemy_raw, True),
    Kind("django", "wrappers", ("django", "psycopg"), _django, False),
)


async def _psycopg_async(address: Address) -> Any:
    import psycopg

    return await psycopg.AsyncConnection.connect(address.dsn)


async def _asyncpg(address: Address) -> Any:
    import asyncpg

    return await asyncpg.connect(address.dsn)


# Only for tests of a front of asyncio.
NATIVE = (
    Kind("psycopg_async", "asynchronous", ("psycopg",), _psycopg_async, True),
    Kind("asyncpg", "asynchronous", ("asyncpg",), _asyncpg, False),
)

FIRST: dict[str, Kind] = {}
"""The first kind of each driver, for what is not tested or measured on every kind."""
for _kind in KINDS:
    FIRST.setdefault(_kind.driver, _kind)

DISTRIBUTIONS = ("psycopg", "psycopg-binary", "psycopg2-binary", "pg8000", "PyGreSQL", "SQLAlchemy", "Django")
"""What is installed of them, where a report says its versions."""


def required() -> frozenset[str]:
    """Return the drivers that must be tested here, from PGNOTIFY_TEST_DRIVERS, separated by commas."""
    return frozenset(filter(None, os.environ.get("PGNOTIFY_TEST_DRIVERS", "").split(",")))


def selected() -> list[Kind]:
    """Return the kinds to test: those of the required drivers, or, if none is named, what is installed."""
    without = os.environ.get("PGNOTIFY_TEST_WITHOUT", "").split(",")
    kinds = [kind for kind in (*KINDS, *NATIVE) if kind.name not in without]
    if required():
        return [kind for kind in kinds if kind.driver in required()]
    return [kind for kind in kinds if kind in KINDS and kind.absent is None]
