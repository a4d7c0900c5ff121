"""A connection URI that names its driver, and an object that stands for one."""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest

import pgnotify
from pgnotify import UnknownBackend
from pgnotify.aio.source import AsyncSource
from pgnotify.connecting.conninfo import is_uri, parse
from pgnotify.connecting.dialect import driver_in, libpq_form, written_out
from pgnotify.connecting.redact import place_of, redacted
from pgnotify.connecting.source import Source
from pgnotify.testing.server import ExternalPostgreSQL

SECRET = "hunter"
DSN = f"postgresql://joe:{SECRET}@db/shop"


class Url:
    """An object like SQLAlchemy's URL."""

    def __init__(self, driver="postgresql+psycopg"):
        self._driver = driver

    def render_as_string(self, hide_password=True):
        return f"{self._driver}://joe:{'***' if hide_password else SECRET}@db/shop"

    def __str__(self):
        return self.render_as_string()


# The form


@pytest.mark.parametrize(
    ("dsn", "driver"),
    [
        ("postgresql+psycopg://h", "psycopg"),
        ("postgres+psycopg_async://u:p@h:1/d?sslmode=require", "psycopg_async"),
        ("postgresql+PG8000:///d", "PG8000"),
        ("postgresql://h", None),
        ("postgresql://h/postgresql+psycopg://h", None),
        ("host=postgresql+psycopg://h", None),
        ("", None),
    ],
)
def test_the_driver_is_read_from_the_scheme(dsn, driver):
    assert driver_in(dsn) == driver
    assert is_uri(dsn) == dsn.startswith("postgres")


@pytest.mark.parametrize(
    ("dsn", "parameters"),
    [
        ("postgresql+x://u:p@h:1/d?sslmode=require", "postgresql://u:p@h:1/d?sslmode=require"),
        ("postgres+x://", "postgres://"),
        ("postgresql+x://u:a b@h/c d", "postgresql://u:a%20b@h/c%20d"),
        ("postgresql+x://u:a+b@h", "postgresql://u:a+b@h"),
        ("postgresql+x://h?options=-c+search_path%3Da%2Bb", "postgresql://h?options=-c%20search_path%3Da%2Bb"),
        ("postgresql+x://u:p%3F@/d?host=a:1&host=b:2", "postgresql://u:p%3F@a:1,b:2/d"),
        ("postgresql+x:///d?host=a%3A1&host=b&user=u", "postgresql://u@a:1,b/d?port=1,"),
        ("postgresql+x:///d?host=a&host=b", "postgresql:///d?host=a,b"),
        ("postgresql+x:///d?host=a,b&port=1,2", "postgresql://a:1,b:2/d"),
        ("postgresql+x:///d?host=/run/pg", "postgresql:///d?host=/run/pg"),
        ("postgresql+x://h?ssl=verify-full", "postgresql://h?sslmode=verify-full"),
        ("postgresql+x://h?ssl=true", "postgresql://h?sslmode=require"),
        ("postgresql+x://u:p?ssl=require@h", "postgresql://u:p?ssl=require@h"),
    ],
)
def test_a_uri_that_names_its_driver_says_the_same_as_one_of_libpq(dsn, parameters):
    assert parse(dsn) == parse(libpq_form(dsn)) == parse(parameters)


@pytest.mark.parametrize(
    "dsn", ["", "host=h password='a b'", "postgresql://h?options=a+b", "sqlite+x://h", "postgresql+"]
)
def test_any_other_string_stays_as_it_is(dsn):
    assert libpq_form(dsn) == dsn


def test_a_keyword_of_a_driver_is_refused_with_that_of_libpq():
    with pytest.raises(ValueError, match="'ssl' is unknown; did you mean 'sslmode'"):
        parse("postgresql+asyncpg://h?ssl=no")


def test_neither_the_place_nor_the_redacted_string_has_the_password():
    dsn = DSN.replace("postgresql:", "postgresql+x:")

    assert redacted(dsn) == "postgresql://joe:***@db/shop"
    assert place_of(dsn) == "db:5432/shop"
    assert redacted(f"postgresql+x://{SECRET}:1/2@h") == "postgresql://***"


# An object


def test_an_object_is_written_out_with_its_password():
    assert written_out(Url("postgresql")) == DSN


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg", "postgres"])
def test_a_masked_password_is_refused_with_the_remedy(scheme):
    with pytest.raises(
        ValueError, match=r"pass the URL object itself, or url\.render_as_string\(hide_password=False\)"
    ):
        written_out(str(Url(scheme)))


def test_three_stars_may_still_be_the_password():
    assert parse(written_out("postgresql://joe:%2A%2A%2A@db"))["password"] == "***"


@pytest.mark.parametrize("source", [None, b"postgresql://h", 5, mock.Mock()])
def test_nothing_else_is_a_connection_string(source):
    with pytest.raises(TypeError, match=r"^dsn must be a connection string, not a "):
        pgnotify.connect(source)


# Where a connection string is taken


@pytest.fixture
def drivers(monkeypatch, memory_server):
    """Each driver that something is connected with, and the password."""
    asked = []

    def connecting_with(driver):
        def connect(parameters):
            asked.append((driver, parameters.get("password")))
            return memory_server.connect()

        return connect

    monkeypatch.setattr("pgnotify.connection.connect_with", connecting_with)
    monkeypatch.setattr("pgnotify.connecting.source.connect_with", connecting_with)
    for module in ("connection", "source"):
        monkeypatch.setattr(
            f"pgnotify.aio.{module}.connect_async_with", lambda driver: (connecting_with(driver), False)
        )
    return asked


WAYS = {
    "connect": lambda dsn, driver=None: pgnotify.connect(dsn, driver).close(),
    "connect_async": lambda dsn, driver=None: asyncio.run(_connect_async(dsn, driver)),
    "Listener": lambda dsn, driver=None: Source(dsn, driver, None, 5.0).open(),
    "AsyncListener": lambda dsn, driver=None: AsyncSource(dsn, driver, None, 5.0)._open(),
}


async def _connect_async(dsn, driver):
    await (await pgnotify.connect_async(dsn, driver)).close()


@pytest.fixture(params=WAYS)
def connect(request):
    """Connects in one of the four ways."""
    return WAYS[request.param]


@pytest.mark.parametrize(
    "source",
    [f"postgresql+pg8000://joe:{SECRET}@db/shop", f"postgres+PG8000://joe:{SECRET}@db", Url("postgresql+pg8000")],
)
def test_the_driver_in_the_uri_connects(connect, drivers, source):
    connect(source)

    assert drivers == [("pg8000", SECRET)]


def test_another_driver_than_in_the_uri_is_refused_and_both_are_named(connect, drivers):
    with pytest.raises(ValueError, match="names the driver 'pg8000', and driver= names 'psycopg2'"):
        connect("postgresql+pg8000://db", "psycopg2")

    connect("postgresql+pg8000://db", "pg8000")
    assert drivers == [("pg8000", None)]


def test_a_driver_in_the_uri_that_there_is_not_is_refused_before_anything_is_opened(connect, drivers):
    with pytest.raises(
        UnknownBackend, match=r"no driver 'foo' .* Write postgresql:// in place of postgresql\+foo://"
    ) as caught:
        connect(f"postgresql+foo://joe:{SECRET}@db")

    assert SECRET not in str(caught.value)
    assert drivers == []


def test_a_masked_password_is_refused_before_anything_is_opened(connect, drivers):
    with pytest.raises(ValueError, match="hide_password"):
        connect(str(Url()))

    assert drivers == []


def test_another_database_is_refused(connect):
    with pytest.raises(ValueError, match="must begin with postgresql://"):
        connect(Url("mysql+pymysql"))


# Where a connection string goes to libpq


def test_further_servers_and_tests_get_the_form_of_libpq():
    dsn = DSN.replace("postgresql:", "postgresql+x:")

    assert f"CONNECTION '{DSN}'" in pgnotify.Outbox().subscription_sql(dsn)
    assert ExternalPostgreSQL(dsn).dsn == DSN
