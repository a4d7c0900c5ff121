"""query() of asynchronous drivers, beyond what every backend promises."""

from __future__ import annotations

from tests.online.asynchronous.native import backend_of

ECHO = "SELECT $1::pg_catalog.text"


async def test_a_statement_whose_plan_the_session_has_lost_runs_unprepared_from_then_on(native):
    connection = await native.connect()
    backend = backend_of(connection)
    assert await backend.query(ECHO, ("a",), prepare=True) == [("a",)]

    await connection.execute("DEALLOCATE ALL")

    for text in ("b", "c"):
        assert await backend.query(ECHO, (text,), prepare=True) == [(text,)]
    assert await backend.query("SELECT pg_catalog.count(*)::text FROM pg_catalog.pg_prepared_statements") == [("0",)]
