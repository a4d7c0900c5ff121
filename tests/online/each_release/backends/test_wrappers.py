"""SQLAlchemy's and Django's connections: which are taken, which refused, and who gives them back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

import pgnotify
from pgnotify.connecting.conninfo import parse
from pgnotify.connecting.dialect import written_out
from pgnotify.errors import ConnectionLost, TransactionError
from tests.helpers.backends import collect, collect_payloads, until_lost
from tests.helpers.sending import SEND
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.drivers("wrappers")


@pytest.fixture
def backend(db):
    return pgnotify.wrap(db).backend


# SQLAlchemy


@pytest.fixture(params=["psycopg", "psycopg2", "pg8000"])
def engine(request, address) -> Iterator[Any]:
    """An engine with the usual pool, of one connection."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip(request.param)
    url = address.dsn.replace("postgresql:", f"postgresql+{request.param}:", 1)
    opened = sqlalchemy.create_engine(url, pool_size=1, max_overflow=0, pool_timeout=5)
    yield opened
    opened.dispose()


def test_the_url_of_an_engine_opens_a_connection_of_its_driver(engine):
    with pgnotify.connect(engine.url) as connection, engine.connect() as other:
        ours, theirs = connection.connection, other.connection.driver_connection
        assert type(ours).__module__.partition(".")[0] == type(theirs).__module__.partition(".")[0]


def test_a_url_means_what_it_means_for_an_engine():
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg2")
    query = {"options": "-c work_mem=1MB -c jit=off", "host": ("a:1", "b:2", "c"), "sslmode": "require"}
    url = sqlalchemy.URL.create("postgresql+psycopg2", "jöe", "p@ss/w o+r:d?&%41", database="a shop", query=query)
    (_, expected) = sqlalchemy.create_engine(url).dialect.create_connect_args(url)

    parameters = parse(written_out(url))

    assert parameters == expected


def test_the_text_of_a_url_is_refused_with_the_remedy():
    sqlalchemy = pytest.importorskip("sqlalchemy")
    url = sqlalchemy.make_url("postgresql+psycopg://joe:hunter@localhost:1/shop")

    with pytest.raises(ValueError, match=r"render_as_string\(hide_password=False\)"):
        pgnotify.connect(str(url))


def test_a_url_in_the_place_of_a_connection_is_refused(engine):
    with pytest.raises(TypeError, match=r"not a sqlalchemy\.engine\.url\.URL"):
        pgnotify.notify(engine.url, "jobs")


def listened_to(connection) -> list[str]:
    rows = connection.exec_driver_sql("SELECT pg_listening_channels()").fetchall()
    connection.rollback()
    return [name for (name,) in rows]


def test_a_close_gives_the_connection_back_to_its_pool_not_listening(engine, channel):
    with engine.connect() as connection:
        driver_connection = connection.connection.driver_connection
        backend = pgnotify.wrap(connection).backend
        backend.listen(channel)
        backend.listen("other")
        assert sorted(listened_to(connection)) == sorted([channel, "other"])

        backend.close()

    with engine.connect() as again:
        assert again.connection.driver_connection is driver_connection
        assert listened_to(again) == []


def test_the_listens_of_others_on_a_pooled_connection_are_left_to_them(engine, channel):
    with engine.connect() as connection:
        connection.exec_driver_sql("LISTEN theirs")
        connection.commit()
        backend = pgnotify.wrap(connection).backend
        backend.listen(channel)
        backend.close()

    with engine.connect() as again:
        assert listened_to(again) == ["theirs"]


def test_a_close_inside_a_transaction_gives_no_listening_connection_back(engine, channel):
    with engine.connect() as connection:
        backend = pgnotify.wrap(connection).backend
        backend.listen(channel)
        connection.exec_driver_sql("SELECT 1")

        backend.close()

    with engine.connect() as again:
        assert listened_to(again) == []


def test_a_close_of_a_dead_connection_gives_no_dead_one_back(engine, session, channel):
    with engine.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        connection.commit()
        backend = pgnotify.wrap(connection).backend
        backend.listen(channel)
        session.terminate(pid)

        backend.close()
        backend.close()

    with engine.connect() as again:
        assert listened_to(again) == []


def test_a_pool_proxied_connection_is_given_back_not_listening(engine, session, channel):
    raw = engine.raw_connection()
    backend = pgnotify.wrap(raw).backend
    backend.listen(channel)
    session.notify(channel, "raw")
    assert collect_payloads(backend, 1) == ["raw"]

    backend.close()
    backend.close()

    with engine.connect() as again:
        assert listened_to(again) == []
    with pytest.raises(ConnectionLost):
        backend.fetch()


def test_an_invalidated_connection_is_a_loss_once_and_can_listen_again(engine, session, channel):
    with engine.connect() as connection:
        backend = pgnotify.wrap(connection).backend
        backend.listen(channel)
        connection.invalidate()

        with pytest.raises(ConnectionLost, match="replaced by a new one") as lost:
            backend.wait(0)
        assert isinstance(lost.value.__cause__, Exception)

        backend.listen(channel)
        session.notify(channel, "again")
        assert collect_payloads(backend, 1) == ["again"]
        backend.close()


def test_an_invalidated_pool_proxied_connection_is_a_loss_for_good(engine, channel):
    raw = engine.raw_connection()
    backend = pgnotify.wrap(raw).backend
    backend.listen(channel)

    raw.invalidate()

    for _ in range(2):
        for call in (backend.fetch, lambda: backend.wait(0), lambda: backend.listen(channel)):
            with pytest.raises(ConnectionLost) as lost:
                call()
            assert lost.value.__cause__ is not None
    backend.close()


def test_an_invalidation_inside_a_transaction_is_a_loss_until_it_is_rolled_back(engine, channel):
    with engine.connect() as connection:
        backend = pgnotify.wrap(connection).backend
        backend.listen(channel)
        connection.exec_driver_sql("SELECT 1")
        connection.invalidate()
        with pytest.raises(ConnectionLost):
            backend.fetch()

        connection.rollback()
        with pytest.raises(ConnectionLost):
            backend.listen(channel)

        backend.listen(channel)
        assert listened_to(connection) == [channel]
        backend.close()


def test_when_the_server_is_down_an_invalidated_connection_is_lost_and_can_be_closed(engine, proxy, channel):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    down = sqlalchemy.create_engine(engine.url.set(host=proxy.host, port=proxy.port))
    connection = down.connect()
    backend = pgnotify.wrap(connection).backend
    backend.listen(channel)
    proxy.refuse()
    proxy.reset()
    connection.invalidate()

    for call in (backend.fetch, lambda: backend.wait(0), lambda: backend.notify(channel)):
        with pytest.raises(ConnectionLost) as lost:
            call()
        assert lost.value.__cause__ is not None

    backend.close()
    backend.close()
    down.dispose()


def test_inside_a_begin_block_it_is_refused_and_the_block_goes_on(engine, channel):
    with engine.connect() as connection:
        backend = pgnotify.wrap(connection).backend
        backend.listen(channel)
        with connection.begin():
            connection.exec_driver_sql("CREATE TEMPORARY TABLE work AS SELECT 42 AS answer")
            for refused in (lambda: backend.listen("x"), lambda: backend.unlisten(channel), lambda: backend.wait(0)):
                with pytest.raises(TransactionError, match="open transaction"):
                    refused()
            backend.notify(channel, "at its end")
            assert backend.fetch() == []

        assert collect_payloads(backend, 1) == ["at its end"]
        assert connection.exec_driver_sql("SELECT answer FROM work").scalar() == 42
        connection.rollback()
        backend.close()


def test_a_begin_block_without_a_statement_yet_is_one(engine, channel):
    with engine.connect() as connection:
        backend = pgnotify.wrap(connection).backend
        backend.listen(channel)
        with connection.begin() as transaction:
            backend.notify(channel, "never")
            transaction.rollback()
        with connection.begin():
            backend.notify(channel, "at its end")
            assert backend.fetch() == []

        assert collect_payloads(backend, 1) == ["at its end"]
        backend.close()


@pytest.mark.parametrize("joins", [False, True])
def test_a_query_in_a_begin_block_has_its_effect_at_its_end(engine, channel, joins):
    with engine.connect() as connection:
        backend = pgnotify.wrap(connection).backend
        backend.listen(channel)
        with connection.begin() as transaction:
            backend.query(SEND, (channel, "never"), joins=joins)
            transaction.rollback()
        with connection.begin():
            backend.query(SEND, (channel, "at its end"), joins=joins)
            assert backend.fetch() == []

        assert collect_payloads(backend, 1) == ["at its end"]
        backend.close()


def test_a_query_that_joins_begins_the_transaction_of_its_connection(engine, channel):
    with engine.connect() as connection:
        backend = pgnotify.wrap(connection).backend
        backend.listen(channel)
        backend.query(SEND, (channel, "never"), joins=True)
        connection.rollback()
        backend.query(SEND, (channel, "at commit"), joins=True)
        assert connection.in_transaction()
        assert backend.fetch() == []
        connection.commit()
        backend.query(SEND, (channel, "at once"))
        assert not connection.in_transaction()

        assert collect_payloads(backend, 2) == ["at commit", "at once"]
        backend.close()


def test_autocommit_isolation_is_left_as_it_was(engine, session, channel):
    with engine.connect() as plain:
        connection = plain.execution_options(isolation_level="AUTOCOMMIT")
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        backend = pgnotify.wrap(connection).backend

        backend.listen(channel)
        session.notify(channel, "automatic")
        assert collect_payloads(backend, 1) == ["automatic"]
        connection.exec_driver_sql("SELECT 1")
        assert backend.wait(0) is False  # no transaction was opened by it

        assert connection.connection.driver_connection.autocommit is True
        eventually(lambda: session.state_of(pid) == "idle")
        backend.close()


def test_what_is_no_connection_of_sqlalchemys_is_refused_by_name(engine):
    orm = pytest.importorskip("sqlalchemy.orm")
    with pytest.raises(TypeError, match=r"not an Engine: engine\.connect\(\)"):
        pgnotify.wrap(engine)
    with pytest.raises(TypeError, match=r"not a pool: engine\.connect\(\)"):
        pgnotify.wrap(engine.pool)
    with orm.Session(engine) as orm_session, pytest.raises(TypeError, match=r"not a Session: session\.connection\(\)"):
        pgnotify.wrap(orm_session)
    with engine.connect() as connection, pytest.raises(TypeError, match=r"pass a sqlalchemy\.Connection"):
        pgnotify.wrap(connection.exec_driver_sql("SELECT 1"))


def test_the_connection_of_an_orm_session_is_taken(engine, session, channel):
    orm = pytest.importorskip("sqlalchemy.orm")
    with orm.Session(engine) as orm_session:
        backend = pgnotify.wrap(orm_session.connection()).backend
        backend.listen(channel)
        session.notify(channel, "orm")
        assert collect_payloads(backend, 1) == ["orm"]

        backend.notify(channel, "at its end")
        assert backend.fetch() == []
        orm_session.rollback()
        backend = pgnotify.wrap(orm_session.connection()).backend
        backend.notify(channel, "at its end, again")
        orm_session.commit()
        backend = pgnotify.wrap(orm_session.connection()).backend
        assert collect_payloads(backend, 1) == ["at its end, again"]
        backend.unlisten(channel)


def test_another_database_of_sqlalchemys_is_refused_by_name():
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(TypeError, match="not to sqlite"):
        pgnotify.wrap(connection)
    raw = engine.raw_connection()
    with pytest.raises(TypeError, match="sqlite3"):
        pgnotify.wrap(raw)
    raw.close()
    engine.dispose()


def test_an_asynchronous_connection_of_sqlalchemys_is_refused_by_name(address):
    pytest.importorskip("greenlet")
    sqlalchemy_asyncio = pytest.importorskip("sqlalchemy.ext.asyncio")
    pytest.importorskip("psycopg")
    url = address.dsn.replace("postgresql:", "postgresql+psycopg_async:", 1)

    async def wrap_one():
        engine = sqlalchemy_asyncio.create_async_engine(url)
        with pytest.raises(TypeError, match="AsyncEngine cannot be used in blocking code"):
            pgnotify.wrap(engine)
        async with engine.connect() as connection:
            with pytest.raises(TypeError, match=r"AsyncConnection is asynchronous.*AsyncNotificationHandler"):
                pgnotify.wrap(connection)
        await engine.dispose()

    asyncio.run(wrap_one())


def test_a_user_who_wraps_what_is_below_has_the_same_queue(engine, session, channel):
    with engine.connect() as connection:
        above = pgnotify.wrap(connection).backend
        below = pgnotify.wrap(connection.connection.driver_connection).backend
        above.listen(channel)
        session.notify(channel, "one queue")
        assert above.wait(20) is True

        assert collect_payloads(below, 1) == ["one queue"]
        assert above.fetch() == []
        above.close()


# Django


@pytest.fixture
def django(db) -> Any:
    return db


def atomic():
    from django.db.transaction import Atomic

    return Atomic(None, savepoint=True, durable=False)


@pytest.fixture
def atomic_is_ours(django, monkeypatch):
    """Have atomic() find the connection, which belongs to no project's settings."""
    monkeypatch.setattr("django.db.transaction.get_connection", lambda using=None: django)


@pytest.mark.drivers("django")
def test_a_connection_of_djangos_is_opened_if_need_be(django, session, channel):
    django.close()
    assert django.connection is None

    backend = pgnotify.wrap(django).backend
    backend.listen(channel)

    session.notify(channel, "opened")
    assert collect_payloads(backend, 1) == ["opened"]


@pytest.mark.drivers("django")
def test_the_proxy_of_djangos_default_connection_is_taken(django, session, channel, monkeypatch):
    from django.db import connection, connections

    monkeypatch.setitem(connections.settings, "default", django.settings_dict)
    try:
        backend = pgnotify.wrap(connection).backend
        backend.listen(channel)
        session.notify(channel, "by proxy")
        assert collect_payloads(backend, 1) == ["by proxy"]
    finally:
        connection.close()
        del connections["default"]


@pytest.mark.drivers("django")
def test_inside_an_atomic_block_it_is_refused_and_the_block_goes_on(django, atomic_is_ours, channel):
    backend = pgnotify.wrap(django).backend
    backend.listen(channel)
    with atomic():
        with django.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE work AS SELECT 42 AS answer")
        for refused in (lambda: backend.listen("x"), lambda: backend.unlisten(channel), lambda: backend.wait(0)):
            with pytest.raises(TransactionError, match="open transaction"):
                refused()
        backend.notify(channel, "at its end")
        assert backend.fetch() == []

    assert collect_payloads(backend, 1) == ["at its end"]
    with django.cursor() as cursor:
        cursor.execute("SELECT answer FROM work")
        assert cursor.fetchone() == (42,)


@pytest.mark.drivers("django")
def test_an_atomic_block_without_a_statement_yet_is_one(django, atomic_is_ours, channel):
    backend = pgnotify.wrap(django).backend
    backend.listen(channel)

    with atomic():
        with atomic():
            backend.notify(channel, "at its end")
        backend.notify_many([(channel, "too")])
        assert backend.fetch() == []

    assert collect_payloads(backend, 2) == ["at its end", "too"]


@pytest.mark.drivers("django")
def test_an_atomic_block_that_fails_takes_its_notifications_back(django, atomic_is_ours, channel):
    backend = pgnotify.wrap(django).backend
    backend.listen(channel)

    def fail():
        with atomic():
            backend.notify(channel, "never")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    backend.notify(channel, "afterwards")

    assert collect_payloads(backend, 1) == ["afterwards"]


@pytest.mark.drivers("django")
@pytest.mark.parametrize("joins", [False, True])
def test_a_query_in_an_atomic_block_has_its_effect_at_its_end(django, atomic_is_ours, channel, joins):
    backend = pgnotify.wrap(django).backend
    backend.listen(channel)
    with suppress(ZeroDivisionError), atomic():
        backend.query(SEND, (channel, "never"), joins=joins)
        raise ZeroDivisionError
    with atomic():
        with suppress(ZeroDivisionError), atomic():
            backend.query(SEND, (channel, "never"), joins=joins)
            raise ZeroDivisionError
        backend.query(SEND, (channel, "at its end"), joins=joins)
        assert backend.fetch() == []
    backend.query(SEND, (channel, "at once"), joins=joins)

    assert collect_payloads(backend, 2) == ["at its end", "at once"]


@pytest.mark.drivers("django")
def test_an_atomic_block_on_a_dead_connection_is_a_loss_to_a_notify(django, atomic_is_ours, session, channel):
    backend = pgnotify.wrap(django).backend
    with django.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()

    def notify_inside():
        with atomic():
            session.terminate(pid)
            with pytest.raises(ConnectionLost):
                backend.notify(channel)
            raise ZeroDivisionError

    with pytest.raises(Exception):  # noqa: B017, PT011  # Django cannot roll back
        notify_inside()


@pytest.mark.drivers("django")
def test_a_connection_that_django_has_closed_is_lost_and_can_listen_again_when_reopened(django, session, channel):
    backend = pgnotify.wrap(django).backend
    backend.listen(channel)
    django.close()
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="closed") as lost:
            backend.wait(0)
        assert lost.value.__cause__ is not None

    django.ensure_connection()
    with pytest.raises(ConnectionLost, match="replaced by a new one"):
        backend.fetch()

    backend.listen(channel)
    session.notify(channel, "again")
    assert collect_payloads(backend, 1) == ["again"]


@pytest.mark.drivers("django")
def test_a_connection_that_django_finds_dead_and_opens_anew_is_a_loss(django, session, channel):
    backend = pgnotify.wrap(django).backend
    backend.listen(channel)
    with django.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    session.terminate(pid)
    until_lost(backend)

    django.close_if_unusable_or_obsolete()  # what Django does between requests
    django.errors_occurred = True
    django.close_if_unusable_or_obsolete()
    django.ensure_connection()

    with pytest.raises(ConnectionLost, match="replaced by a new one"):
        backend.fetch()
    backend.listen(channel)
    backend.notify(channel, "again")
    assert collect_payloads(backend, 1) == ["again"]


@pytest.mark.drivers("django")
def test_what_is_no_connection_of_djangos_is_refused_by_name(django):
    with django.cursor() as cursor, pytest.raises(TypeError, match=r"pass django\.db\.connection"):
        pgnotify.wrap(cursor)


@pytest.mark.drivers("django")
def test_another_database_of_djangos_is_refused_by_name(django):
    from django.db import ConnectionHandler

    other = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})["default"]

    with pytest.raises(TypeError, match="'default' connects to sqlite"):
        pgnotify.wrap(other)
    other.close()


# Both


@pytest.mark.drivers("django", "sqlalchemy-psycopg", "sqlalchemy-psycopg2", "sqlalchemy-pg8000")
def test_an_exchange_with_nothing_listened_to_is_no_loss(backend, kind, db, session, channel):
    if kind.name == "django":
        db.close()
        db.ensure_connection()
    else:
        db.invalidate()

    backend.listen(channel)

    session.notify(channel, "on the new one")
    assert collect_payloads(backend, 1) == ["on the new one"]


def test_the_drivers_database_error_is_named(backend, kind):
    expected = {"sqlalchemy-psycopg2": "psycopg2", "sqlalchemy-pg8000": "pg8000.exceptions"}.get(kind.name, "psycopg")

    assert backend.DatabaseError.__name__ == "DatabaseError"
    assert backend.DatabaseError.__module__.startswith(expected)


def test_many_go_through_a_wrapper_in_one_statement(backend, channel):
    backend.listen(channel)

    backend.notify_many([(channel, str(number)) for number in range(700)])

    assert [each.payload for each in collect(backend, 700)] == [str(number) for number in range(700)]
