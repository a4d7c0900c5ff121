"""A listener with an outbox that has nothing to read sends nothing, and has no plan made for what it sends."""

from __future__ import annotations

import uuid

import pytest

import pgnotify
from pgnotify.testing._wire import literal
from tests.helpers.waiting import PATIENCE

SECONDS = 0.3  # in which nothing may happen
MANY = 3_000  # they fill more than four times as many pages as a small table has


@pytest.fixture
def outbox(session):
    """An outbox of this test's own, which nobody analyzes meanwhile."""
    outbox = pgnotify.Outbox(f"outbox_{uuid.uuid4().hex[:8]}")
    session.sql(outbox.install_sql())
    session.sql(f"ALTER TABLE public.{outbox.name} SET (autovacuum_enabled = false)")
    yield outbox
    session.sql(outbox.uninstall_sql())


def send(session, outbox, count=1):
    numbers = f"pg_catalog.generate_series(1, {count}) AS number"
    session.sql(f"INSERT INTO public.{outbox.name} (channel, payload) SELECT 'orders', number::text FROM {numbers}")


def latest_query(session, outbox):
    """Return when the listener's session, which has the outbox's name, began its latest query."""
    (((begun,)),) = session.sql(
        "SELECT query_start::text FROM pg_catalog.pg_stat_activity "
        f"WHERE application_name OPERATOR(pg_catalog.=) {literal(outbox.name)}"
    )
    return begun


@pytest.mark.parametrize("durable", [None, "billing"])
def test_no_query_is_sent_between_two_checks(driver, address, session, outbox, durable):
    name = outbox.name
    with pgnotify.Listener(address.dsn, "orders", driver=driver, outbox=outbox, durable=durable, name=name) as listener:
        send(session, outbox)
        assert [message.payload for message in listener.notifications(timeout=SECONDS)] == ["1"]
        before = latest_query(session, outbox)

        assert list(listener.notifications(timeout=SECONDS)) == []

        assert latest_query(session, outbox) == before


def test_the_plan_of_the_statement_that_reads_is_kept_until_the_table_has_grown(driver, address, session, outbox):
    if driver != "psycopg":
        pytest.skip("not applicable: one driver shows it")
    import psycopg

    session.sql(f"ANALYZE public.{outbox.name}")  # the plan for no rows looks at all of them
    with psycopg.connect(address.dsn, autocommit=True) as db:

        def plans():
            """Return how often each statement that reads was run, with a plan of its own and with the kept one."""
            return db.execute(
                "SELECT custom_plans, generic_plans FROM pg_catalog.pg_prepared_statements "
                "WHERE statement LIKE 'WITH s %' ORDER BY prepare_time"
            ).fetchall()

        with pgnotify.Listener(lambda: db, "orders", outbox=outbox) as listener:
            for _ in range(6):
                send(session, outbox)
                assert len(list(listener.notifications(stop_after=1, timeout=PATIENCE))) == 1
            ((custom, generic),) = plans()
            assert custom == 5
            assert generic > 0

            send(session, outbox, MANY)
            assert len(list(listener.notifications(stop_after=MANY, timeout=PATIENCE))) == MANY

            assert len(plans()) == 2
