"""A reader without a name where the log is not on disk: a transaction has written, and nobody has flushed that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import pgnotify
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from tests.helpers.play_outbox import Reader

pytestmark = pytest.mark.drivers("psycopg")

OUTBOX = pgnotify.Outbox()


@pytest.fixture(scope="module")
def server() -> Iterator[TemporaryPostgreSQL]:
    try:
        started = TemporaryPostgreSQL(settings={"wal_writer_delay": "10s", "autovacuum": "off"})
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with started, psycopg.connect(started.dsn, autocommit=True) as connection:
        connection.execute(OUTBOX.install_sql())
        connection.execute("CREATE TABLE work (what text)")
        yield started


@pytest.fixture
def admin(server) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def writing(server) -> Iterator[psycopg.Connection[Any]]:
    """A session that does not wait for the disk."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        yield connection


def unflushed(admin: psycopg.Connection[Any]) -> tuple[str, bool]:
    """Return how far the log is written, and whether it is on disk up to there."""
    row = admin.execute(
        "SELECT pg_current_wal_insert_lsn()::text, pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()"
    ).fetchone()
    assert row is not None
    return row


def test_the_first_position_is_on_disk(server, admin, writing):
    writing.execute("INSERT INTO work VALUES ('x')")
    written, is_unflushed = unflushed(admin)
    assert is_unflushed

    reader = Reader(OUTBOX, server.dsn, ["orders"])
    reader.step()

    assert admin.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", [written]).fetchone() == (True,)
    reader.lose()


@pytest.mark.parametrize("pooled", [False, True])
def test_it_goes_on_where_something_is_never_flushed(server, admin, writing, pooled):
    reader = Reader(OUTBOX, server.dsn, ["orders"], pooled=pooled)
    reader.step()
    reader.reading.limit = 1
    for number in range(3):
        OUTBOX.notify(writing, "orders", str(number))

    got = []
    for _ in range(9):
        writing.execute("INSERT INTO work VALUES ('x')")
        assert unflushed(admin)[1]
        got += [message.payload for message in reader.step()]

    assert got == ["0", "1", "2"]
    assert not reader.is_due
    reader.lose()
