"""What the doctor says of a standby, and of a pooler in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgnotify.cli.examination import delivering
from pgnotify.cli.examination.gathering import gather
from pgnotify.cli.findings import examine
from pgnotify.registry import DRIVERS
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from pgnotify.testing._wire import Session
from tests.helpers.pooler import NOT_INSTALLED, PgBouncer, find_pgbouncer
from tests.helpers.standby import Standby
from tests.helpers.waiting import eventually

TIMEOUT = 20.0


def report_on(dsn, driver=None):
    """Return the verdicts on a server, by name."""
    return {found.name: found.verdict for found in examine(gather(dsn, driver, TIMEOUT))}


@pytest.fixture(params=["session", "transaction"])
def pooler(request, address, monkeypatch) -> Iterator[PgBouncer]:
    """A PgBouncer in each mode. Nothing that does not arrive at once will."""
    if find_pgbouncer() is None:
        pytest.skip(NOT_INSTALLED)
    monkeypatch.setattr(delivering, "ARRIVAL_SECONDS", 0.5)
    with PgBouncer(address, request.param) as running:
        running.mode = request.param
        yield running


def test_on_a_standby_listen_is_refused():
    try:
        with TemporaryPostgreSQL() as primary, Standby(primary) as standby:
            report = report_on(standby.dsn)
    except NoPostgreSQL as error:
        pytest.skip(str(error))

    assert {name for name, verdict in report.items() if verdict.state == "broken"} == {"primary", "delivery"}
    assert report["delivery"].text == "The server refuses LISTEN: cannot execute LISTEN during recovery."
    assert "target_session_attrs=read-write" in report["delivery"].remedy


@pytest.mark.drivers(*DRIVERS)
def test_a_pooler_is_noticed_and_delivery_decides(pooler, driver, address):
    report = report_on(pooler.dsn, driver)

    states = {name: str(report[name].state) for name in ("pooler", "delivery", "tls")}
    if pooler.mode == "session":
        assert states == {"pooler": "note", "delivery": "ok", "tls": "unknown"}
    else:
        assert states == {"pooler": "broken", "delivery": "broken", "tls": "unknown"}
        assert "pool_mode = session" in report["delivery"].remedy
    with Session(*pooler.address) as through_it:
        assert through_it.sql("SELECT count(*) FROM pg_listening_channels()") == [("0",)]


@pytest.mark.drivers("psycopg")
def test_each_statement_may_reach_another_session_and_no_listen_stays_in_any(address, monkeypatch):
    """The pooler takes the session that was used least recently, so an UNLISTEN goes to another one than the LISTEN."""
    if find_pgbouncer() is None:
        pytest.skip(NOT_INSTALLED)
    monkeypatch.setattr(delivering, "ARRIVAL_SECONDS", 0.2)
    settings = {"server_round_robin": 1, "default_pool_size": 3, "min_pool_size": 3}
    with PgBouncer(address, "transaction", settings=settings) as pooler, Session(*pooler.address) as through_it:
        listening = "SELECT pg_backend_pid(), count(*) FROM pg_listening_channels()"
        eventually(lambda: len({*(through_it.sql(listening)[0] for _ in range(9))}) == 3)

        facts = gather(pooler.dsn, "psycopg", TIMEOUT)

        assert facts.delivery.waited
        assert facts.delivery.left_behind is False
        assert {count for _, count in (through_it.sql(listening)[0] for _ in range(9))} == {"0"}
