"""A read costs what is unread, and not what is stored, whichever statistics the server has: counted in buffers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import pgnotify
from pgnotify import Outbox
from pgnotify.outbox.statements import Statements, array
from pgnotify.registry import DRIVERS
from pgnotify.testing._wire import Session, literal
from tests.helpers.outboxes import installed_outbox, tables_of

pytestmark = pytest.mark.drivers(*DRIVERS)

OLD = 100_000
MOST_BUFFERS = 50
LIMIT = 500
GENERIC = 8  # from the sixth execution on, a prepared statement may have a generic plan
NAME, TOKEN = "billing", "00000000-0000-4000-8000-000000000000"


class Table:
    """An outbox with many messages, of which a position has read all."""

    def __init__(self, session: Session, outbox: Outbox) -> None:
        self._session = session
        self.outbox = outbox
        self.names = tables_of(outbox)
        # What autovacuum would do at any moment, the test does when it is wanted. Nobody listens to hints.
        session.sql(f"ALTER TABLE {self.names.messages} SET (autovacuum_enabled = false)")
        session.sql(f"ALTER TABLE {self.names.messages} DISABLE TRIGGER hint")
        ((self.home,),) = session.sql(f"SELECT said FROM {self.names.home} WHERE part = 1")
        self.seen = "1:1:"

    def fill(self, count: int) -> None:
        """Store messages in ten transactions."""
        for _ in range(10):
            self._session.sql(
                f"INSERT INTO {self.names.messages} (channel, payload) "
                f"SELECT 'orders', 'payload ' || g FROM pg_catalog.generate_series(1, {count // 10}) AS g"
            )

    def prepare(self, seen: str) -> None:
        """Set the position, and prepare both statements as a new session does."""
        self.seen = seen
        statements, name = Statements(self.names), literal(NAME)
        self._session.sql(
            f"DELETE FROM {self.names.subscriptions}; "
            f"INSERT INTO {self.names.subscriptions} (name, channels, seen, home) "
            f"VALUES ({name}, '{{orders}}', {literal(seen)}, {literal(self.home)})"
        )
        self._session.sql("DEALLOCATE ALL")
        self._session.sql(f"PREPARE in_memory AS {statements.read(LIMIT, 0)}")
        self._session.sql(f"PREPARE of_name AS {statements.read_name(LIMIT, 0)}")

    def calls(self, many: str | None = None, upto: str | None = None, after: int = 0) -> dict[str, str]:
        """Return how each of both statements is executed."""
        in_memory = (many, self.seen, array(("orders",)), str(after), upto, self.home)
        return {"in_memory": _call("in_memory", *in_memory), "of_name": _call("of_name", many, NAME, TOKEN)}

    def put_back(self, upto: str | None = None, after: int = 0) -> None:
        """Have the subscription begin where it was."""
        self._session.sql(
            f"UPDATE {self.names.subscriptions} SET seen = {literal(self.seen)}, batch = NULL, after = {after}, "
            f"upto = {'NULL' if upto is None else literal(upto)}"
        )

    def rows(self, call: str) -> list[tuple[Any, ...]]:
        return self._session.sql(f"EXECUTE {call}")

    def buffers(self, call: str) -> int:
        """Return how many buffers an execution uses."""
        ((text,),) = self._session.sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {call}")
        plan = json.loads(text)[0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def _call(name: str, *parameters: str | None) -> str:
    return f"{name}({', '.join('NULL' if each is None else literal(each) for each in parameters)})"


def present(session: Session) -> str:
    return str(session.sql("SELECT pg_catalog.pg_current_snapshot()::text")[0][0])


@pytest.fixture(scope="module")
def own_session(address) -> Iterator[Session]:
    with Session(*address) as opened:
        yield opened


@pytest.fixture(scope="module", params=["none", "of an empty table", "of 1,000 rows", "of all rows"])
def table(request, own_session) -> Iterator[Table]:
    """An outbox with statistics, or without."""
    with installed_outbox(own_session) as outbox:
        made = Table(own_session, outbox)
        if request.param == "of 1,000 rows":
            made.fill(1000)
        if request.param in ("of an empty table", "of 1,000 rows"):
            own_session.sql(f"ANALYZE {made.names.messages}")
        made.fill(OLD)
        if request.param == "of all rows":
            own_session.sql(f"VACUUM ANALYZE {made.names.messages}")
        yield made


def assert_cheap(table: Table, count: int, many: str | None = None, upto: str | None = None, after: int = 0) -> None:
    """Fail if one of the executions reads more than is allowed, or finds another number of messages."""
    for call in table.calls(many, upto, after).values():
        used = []
        for _ in range(GENERIC):
            table.put_back(upto, after)
            used.append(table.buffers(call))
        table.put_back(upto, after)
        assert len(table.rows(call)) == 1 + count
        assert max(used) <= MOST_BUFFERS, used


def test_one_unread_among_many_old_ones(table, own_session):
    table.prepare(present(own_session))
    assert_cheap(table, 0)
    table.fill(10)

    assert_cheap(table, 10)


def test_one_unread_during_a_long_transaction_and_its_late_commit_with_the_lowest_id(table, own_session, address):
    with Session(*address) as other:
        other.sql(f"BEGIN; INSERT INTO {table.names.messages} (channel, payload) VALUES ('orders', 'late')")
        table.fill(5000)
        table.prepare(present(own_session))
        assert_cheap(table, 0)
        table.fill(10)
        assert_cheap(table, 10)

        other.sql("COMMIT")
        assert_cheap(table, 11)


def test_a_piece_of_many_unread_ones(table, own_session):
    table.prepare(present(own_session))
    table.fill(20_000)
    first = table.rows(table.calls()["in_memory"])
    assert len(first) == 1 + LIMIT

    assert_cheap(table, LIMIT, many="1", upto=first[0][0], after=int(first[-1][0]))


def test_messages_that_were_removed_cost_nothing(table, own_session, address):
    table.fill(10_000)
    table.prepare(present(own_session))
    with Session(*address) as keeps_dead_rows:
        keeps_dead_rows.sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        own_session.sql(f"DELETE FROM {table.names.messages} WHERE id > {OLD // 2}")

        assert_cheap(table, 0)
        table.fill(10)
        assert_cheap(table, 10)


# Through each driver.


def test_each_driver_reads_as_few_buffers_when_it_has_prepared_the_statement(driver, address, session):
    with installed_outbox(session) as outbox, pgnotify.connect(address.dsn, driver=driver) as db:
        table = Table(session, outbox)
        table.fill(10_000)
        table.prepare(present(session))
        table.fill(10)
        statement = Statements(table.names).read_name(LIMIT, 0)
        for _ in range(GENERIC):
            assert len(db.backend.query(statement, (None, NAME, TOKEN), prepare=True)) == 11
        before = blocks(session, db, table)
        db.backend.query(statement, (None, NAME, TOKEN), prepare=True)

        assert 0 < blocks(session, db, table) - before <= MOST_BUFFERS


def blocks(session: Session, db: pgnotify.Connection, table: Table) -> int:
    """Return how many blocks of the tables were used so far, by a session whose counts are sent now."""
    db.backend.query("SELECT pg_catalog.pg_stat_force_next_flush()::pg_catalog.text")
    db.backend.query("SELECT 1::pg_catalog.text")
    ((count,),) = session.sql(
        "SELECT pg_catalog.sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0)) "
        f"FROM pg_catalog.pg_statio_all_tables WHERE pg_catalog.starts_with(relname, {literal(table.outbox.name)})"
    )
    return int(count)
