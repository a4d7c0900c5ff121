"""Two-phase transactions of the DB-API: a notification belongs to them, and what cannot is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import pgnotify
from pgnotify.connecting.conninfo import parse
from pgnotify.errors import TransactionError
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from tests.helpers.backends import collect_payloads
from tests.helpers.sending import SEND

pytestmark = pytest.mark.drivers("psycopg", "psycopg2", "pg8000", "sqlalchemy")

DRIVERS = ("psycopg", "psycopg2", "pg8000.dbapi", "pg8000.legacy")


@pytest.fixture(scope="module")
def server() -> Iterator[TemporaryPostgreSQL]:
    """A server that can prepare transactions."""
    try:
        started = TemporaryPostgreSQL(settings={"max_prepared_transactions": 10})
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with started:
        yield started


@pytest.fixture
def watcher(server, channel) -> Iterator[Any]:
    """A backend in another session, which listens."""
    with pgnotify.connect(server.dsn) as connection:
        connection.listen(channel)
        yield connection.backend


def _connect(name: str, server: TemporaryPostgreSQL) -> Any:
    if name.startswith("pg8000"):
        module = pytest.importorskip(name.removesuffix(".legacy"))
        where = parse(server.dsn)
        return module.connect(
            where["user"],
            where["host"],
            where["dbname"],
            int(where["port"]),
            where.get("password"),
            ssl_context=False,
        )
    return pytest.importorskip(name).connect(server.dsn)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.drivers(name.partition(".")[0])) for name in DRIVERS])
def db(request, server) -> Iterator[Any]:
    """A connection that is not in autocommit mode, which is where all drivers have tpc_begin()."""
    connection = _connect(request.param, server)
    yield connection
    with suppress(Exception):  # the test has ended its transaction, or it has failed
        connection.tpc_rollback()
    connection.close()


@pytest.fixture
def begun(db, channel) -> Any:
    """The connection in a two-phase transaction, of which no statement has run."""
    db.tpc_begin(db.xid(1, f"transaction of {channel.encode().hex()}"[:60], "branch"))
    return db


def execute(db: Any, sql: str) -> None:
    cursor = db.cursor()
    cursor.execute(sql)
    cursor.close()


def statements(backend: Any, channel: str) -> dict[str, Callable[[], object]]:
    return {
        "listen": lambda: backend.listen(channel),
        "listen_many": lambda: backend.listen_many([channel]),
        "unlisten": lambda: backend.unlisten(channel),
        "unlisten_many": lambda: backend.unlisten_many([channel]),
        "check": lambda: backend.check(),
    }


def notifications_of(backend: Any, channel: str) -> dict[str, Callable[[], object]]:
    return {
        "notify": lambda: backend.notify(channel, "inside"),
        "notify_many": lambda: backend.notify_many([(channel, "inside")]),
        "query": lambda: backend.query(SEND, (channel, "inside")),
        "query that joins": lambda: backend.query(SEND, (channel, "inside"), joins=True),
    }


@pytest.mark.parametrize("verb", ["notify", "notify_many", "query", "query that joins"])
def test_a_rollback_takes_the_notification_back(begun, watcher, channel, verb: str):
    backend = pgnotify.wrap(begun).backend
    notifications_of(backend, channel)[verb]()

    begun.tpc_rollback()
    backend.notify(channel, "afterwards")

    assert collect_payloads(watcher, 1) == ["afterwards"]


@pytest.mark.parametrize("verb", ["notify", "notify_many", "query", "query that joins"])
def test_a_commit_sends_the_notification(begun, watcher, channel, verb: str):
    backend = pgnotify.wrap(begun).backend
    notifications_of(backend, channel)[verb]()
    pgnotify.notify(watcher, channel, "before the commit")

    begun.tpc_commit()

    assert collect_payloads(watcher, 2) == ["before the commit", "inside"]


def test_it_does_so_after_a_statement_of_the_users_too(begun, watcher, channel):
    execute(begun, "CREATE TEMPORARY TABLE work AS SELECT 42 AS answer")
    backend = pgnotify.wrap(begun).backend
    backend.notify(channel, "inside")

    begun.tpc_rollback()
    backend.notify(channel, "afterwards")

    assert collect_payloads(watcher, 1) == ["afterwards"]


def test_all_else_is_refused_and_the_transaction_goes_on(begun, watcher, channel):
    backend = pgnotify.wrap(begun).backend

    for call in (*statements(backend, channel).values(), lambda: backend.wait(0)):
        with pytest.raises(TransactionError, match="inside an open transaction"):
            call()

    backend.notify(channel, "inside")
    begun.tpc_commit()
    assert collect_payloads(watcher, 1) == ["inside"]
    backend.listen(channel)
    assert backend.wait(0) is False


@pytest.mark.parametrize("end", ["tpc_commit", "tpc_rollback"])
def test_after_tpc_prepare_every_statement_is_refused(begun, watcher, channel, end: str):
    execute(begun, "SELECT 1")
    begun.tpc_prepare()
    backend = pgnotify.wrap(begun).backend

    for call in (*statements(backend, channel).values(), *notifications_of(backend, channel).values()):
        with pytest.raises(TransactionError, match=r"transaction|tpc_prepare"):
            call()

    getattr(begun, end)()
    backend.listen(channel)
    backend.notify(channel, "afterwards")
    assert collect_payloads(watcher, 1) == ["afterwards"]
    assert collect_payloads(backend, 1) == ["afterwards"]


def test_a_transaction_that_notifies_cannot_be_prepared_and_says_so(begun, watcher, channel):
    """PostgreSQL's own rule; with pg8000, the notification had been sent."""
    backend = pgnotify.wrap(begun).backend
    backend.notify(channel, "inside")

    with pytest.raises(Exception, match=r"cannot PREPARE a transaction that has executed .*NOTIFY"):
        begun.tpc_prepare()
    with suppress(Exception):  # the drivers differ in what they make of it
        begun.tpc_rollback()

    pgnotify.notify(watcher, channel, "afterwards")
    assert collect_payloads(watcher, 1) == ["afterwards"]


@pytest.mark.drivers("pg8000", "psycopg", "psycopg2")
@pytest.mark.parametrize("name", ["psycopg", "psycopg2", "pg8000"])
def test_a_two_phase_block_of_sqlalchemy_is_one(server, watcher, channel, name: str):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip(name)
    url = sqlalchemy.engine.make_url(server.dsn).set(drivername=f"postgresql+{name}")
    engine = sqlalchemy.create_engine(url, connect_args={"ssl_context": False} if name == "pg8000" else {})
    with engine.connect() as connection:
        transaction = connection.begin_twophase()
        pgnotify.notify(connection, channel, "inside")
        transaction.rollback()
        transaction = connection.begin_twophase()
        pgnotify.notify(connection, channel, "at the end")
        transaction.commit()
        transaction = connection.begin_twophase()
        pgnotify.wrap(connection).backend.query(SEND, (channel, "of a query"), joins=True)
        transaction.rollback()
        transaction = connection.begin_twophase()
        pgnotify.wrap(connection).backend.query(SEND, (channel, "of another"))
        transaction.commit()
    engine.dispose()

    assert collect_payloads(watcher, 2) == ["at the end", "of another"]
