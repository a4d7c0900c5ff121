"""A Listener and a fail-over, with real servers: it finds the primary, and waits for one where there is none."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

import pgnotify
from pgnotify import Reason
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from pgnotify.testing._proxy import Proxy
from pgnotify.testing._wire import Session
from tests.helpers.listener_fronts import both_fronts
from tests.helpers.pooler import NOT_INSTALLED, PgBouncer, find_pgbouncer
from tests.helpers.recorded import Recorded
from tests.helpers.standby import Standby
from tests.helpers.waiting import PATIENCE

pytestmark = both_fronts


@pytest.fixture(scope="module")
def lasting_pair() -> Iterator[tuple[TemporaryPostgreSQL, Standby]]:
    """A primary and its standby."""
    yield from _pair()


@pytest.fixture
def pair() -> Iterator[tuple[TemporaryPostgreSQL, Standby]]:
    """A primary and its standby for one test, which may promote that."""
    yield from _pair()


def _pair() -> Iterator[tuple[TemporaryPostgreSQL, Standby]]:
    try:
        with TemporaryPostgreSQL() as primary, Standby(primary) as standby:
            yield primary, standby
    except NoPostgreSQL as error:
        pytest.skip(str(error))


@pytest.fixture
def server(lasting_pair) -> Iterator[TemporaryPostgreSQL]:
    """A primary that a test may stop, demote and promote."""
    server, _ = lasting_pair
    yield server
    server.start()
    if _is_standby(server):
        _promote(server)


@pytest.fixture
def standby(lasting_pair) -> Standby:
    """A standby that no test promotes."""
    _, standby = lasting_pair
    return standby


@pytest.fixture
def listening(driver: str, channel: str, lasting_pair: object) -> Iterator[Callable[..., Recorded]]:
    """A function that starts a listener to the channel; it ends before the servers do."""
    with ExitStack() as opened:

        def start(source: Any, **options: Any) -> Recorded:
            named = {"driver": driver} if isinstance(source, str) else {}
            return opened.enter_context(Recorded(source, channel, **named, **options)).start()

        yield start


def test_of_two_hosts_it_takes_the_primary_and_after_a_fail_over_the_new_one(listening, pair, channel):
    server, standby = pair
    hosts = f"{standby.host}:{standby.port},{server.host}:{server.port}"  # the standby first, and nothing said of it
    recorded = listening(f"postgresql://postgres:{server.password}@{hosts}/postgres")
    with Session(*server.address) as on_the_old_one:
        assert recorded.is_on(on_the_old_one)
        on_the_old_one.notify(channel, "before")
        recorded.until_heard("before")

    server.stop()
    recorded.until(lambda: recorded.status.attempts >= 2)
    without_primary = _now()
    assert recorded.status.delivering is False
    standby.promote()
    gap = recorded.until_back()

    with Session(*standby.address) as on_the_new_one:
        assert recorded.is_on(on_the_new_one)
        on_the_new_one.notify(channel, "after")
    recorded.until_heard("before", "after")
    assert (gap.reason, gap.channels) == (Reason.CONNECTION_LOST, (channel,))
    assert gap.lost_at < without_primary < gap.restored_at
    assert recorded.errors == []
    _assert_one_line_each(recorded)


@pytest.fixture
def prod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lasting_pair: Any) -> Path:
    """A file with the service "prod", whose first host is the standby."""
    server, standby = lasting_pair
    lines = ["[prod]", f"host={standby.host},{server.host}", f"port={standby.port},{server.port}"]
    (tmp_path / "pg_service.conf").write_text("\n".join([*lines, "user=postgres", "dbname=postgres"]))
    (tmp_path / ".pg_service.conf").hardlink_to(tmp_path / "pg_service.conf")
    for variable in ("PGSERVICEFILE", "PGSERVICE", "PGSYSCONFDIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PGPASSWORD", server.password)
    return tmp_path


@pytest.mark.parametrize(
    ("variable", "name"), [("PGSERVICEFILE", "pg_service.conf"), ("HOME", ""), ("PGSYSCONFDIR", "")]
)
def test_of_two_hosts_in_a_service_file_it_takes_the_primary(listening, server, monkeypatch, prod, variable, name):
    monkeypatch.setenv(variable, str(prod / name))

    recorded = listening("service=prod")

    with Session(*server.address) as session:
        assert recorded.is_on(session)
    assert recorded.lines("standby") == []


def test_of_two_hosts_in_the_environment_it_takes_the_primary(listening, server, standby, monkeypatch):
    monkeypatch.setenv("PGHOST", f"{standby.host},{server.host}")
    monkeypatch.setenv("PGPORT", f"{standby.port},{server.port}")

    recorded = listening(f"user=postgres dbname=postgres password={server.password}")

    with Session(*server.address) as session:
        assert recorded.is_on(session)


def test_a_service_that_asks_for_any_host_gets_the_first(listening, monkeypatch, prod):
    with (prod / "pg_service.conf").open("a") as file:
        file.write("\ntarget_session_attrs=any\n")
    monkeypatch.setenv("PGSERVICEFILE", str(prod / "pg_service.conf"))
    monkeypatch.setenv("PGSERVICE", "prod")

    recorded = listening("connect_timeout=5")

    assert recorded.status.state == "backing off"
    assert recorded.lines("the server is a standby")


def test_of_two_addresses_of_one_name_it_takes_the_primary(listening, server, standby, monkeypatch):
    """The standby is at the first one. No driver would try the second one by itself: something has answered."""
    look_up = socket.getaddrinfo

    def resolve(host: str, *args: Any, **options: Any) -> list[Any]:
        if host != "localhost":
            return look_up(host, *args, **options)
        return [each for number in ("127.0.0.1", "127.0.0.2") for each in look_up(number, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        proxy = Proxy(*server.address[:2], at=("127.0.0.2", standby.port))
    except OSError as error:
        pytest.skip(f"not applicable: 127.0.0.2 is not an address of this machine: {error}")
    with proxy:
        recorded = listening(standby.address._replace(host="localhost").dsn)
        recorded.until(lambda: recorded.events)

        with Session(*server.address) as session:
            assert recorded.is_on(session)
        assert len(recorded.lines("the server is a standby")) == 1
        assert recorded.listener.probe(PATIENCE).delivering == "yes"
        recorded.listener.stop(PATIENCE)


def test_on_a_standby_it_waits_with_a_pause_and_a_line_for_each_attempt(listening, standby):
    begun = time.monotonic()
    recorded = listening(standby.dsn, pause=0.1)  # does not raise: that passes
    assert recorded.status.state == "backing off"
    recorded.until(lambda: recorded.status.attempts >= 4)
    attempts = recorded.status.attempts

    # Never less than the pauses, however slow the machine is.
    assert time.monotonic() - begun >= 0.1 * (attempts - 1)
    assert all("the server is a standby" in line for line in list(recorded.log))
    recorded.listener.stop(PATIENCE)
    assert (recorded.events, recorded.errors) == ([], [])
    _assert_one_line_each(recorded)


def test_it_listens_as_soon_as_the_standby_is_promoted(listening, server, channel):
    _demote(server)
    recorded = listening(server.dsn)
    recorded.until(lambda: recorded.status.attempts >= 2)

    _promote(server)
    recorded.until(lambda: recorded.events)
    _notify(server, channel, "promoted")

    recorded.until_heard("promoted")
    assert (recorded.gaps, recorded.errors) == ([], [])
    _assert_one_line_each(recorded)


def test_a_server_that_comes_back_as_a_standby_is_waited_for(listening, server, channel):
    recorded = listening(server.dsn)
    _notify(server, channel, "before")
    recorded.until_heard("before")

    _demote(server)
    recorded.until(lambda: recorded.lines("the server is a standby"))
    while_standby = _now()
    assert recorded.status.delivering is False
    _promote(server)
    gap = recorded.until_back()
    _notify(server, channel, "after")

    recorded.until_heard("before", "after")
    assert gap.reason is Reason.CONNECTION_LOST
    assert gap.lost_at < while_standby < gap.restored_at
    _assert_one_line_each(recorded)


def test_a_connect_function_that_leads_to_a_standby_is_asked_again(driver, listening, server, standby, channel):
    leads_to = [server, standby, standby]
    opened = []

    def connect() -> Any:
        to = leads_to.pop(0) if leads_to else server
        opened.append(pgnotify.connect(to.dsn, driver).backend.connection)  # type: ignore[attr-defined]
        return opened[-1]

    recorded = listening(connect)
    with Session(*server.address) as session:
        session.terminate(recorded.status.server_pid)
        gap = recorded.until_back()
        session.notify(channel, "after")

        recorded.until_heard("after")
        assert recorded.is_on(session)
    assert gap.reason is Reason.CONNECTION_LOST
    assert len(recorded.lines("the server is a standby")) == 2
    assert len(opened) == 4
    recorded.listener.stop(PATIENCE)
    assert standby.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") == "1"  # psql's


@pytest.mark.skipif(find_pgbouncer() is None, reason=NOT_INSTALLED)
def test_the_heartbeat_finds_that_the_server_has_become_a_standby(listening, server, channel):
    # No server becomes one without ending its connections; a pooler in transaction mode keeps ours through that.
    with PgBouncer(server.address, "transaction") as pooler:
        recorded = listening(pooler.dsn, heartbeat=2.0)
        _demote(server)
        recorded.until(lambda: recorded.lines("fail-over: NotPrimary: the server has become a standby"))
        while_standby = _now()
        recorded.until(lambda: recorded.status.attempts >= 2)
        assert recorded.gaps == []
        _promote(server)
        gap = recorded.until_back()

        recorded.listener.stop(PATIENCE)

    assert (gap.reason, gap.channels) == (Reason.FAIL_OVER, (channel,))
    assert gap.lost_at < while_standby < gap.restored_at


def _demote(server: TemporaryPostgreSQL) -> None:
    """Have it come back as a standby, which follows nobody."""
    server.stop()
    (server.data_directory / "standby.signal").touch()
    server.start()
    assert _is_standby(server)


def _is_standby(server: TemporaryPostgreSQL) -> bool:
    return server.sql("SELECT pg_is_in_recovery()") == "t"


def _promote(server: TemporaryPostgreSQL) -> None:
    assert server.sql("SELECT pg_promote()") == "t"


def _notify(server: TemporaryPostgreSQL, channel: str, payload: str) -> None:
    with closing(Session(*server.address)) as session:
        session.notify(channel, payload)


def _assert_one_line_each(recorded: Recorded) -> None:
    """Each attempt that failed, each loss and each LISTEN has a line of its own, and nothing else has one."""
    others = ("connecting again", "listening", "stopped")
    said = [line for line in recorded.log if not any(each in line for each in others)]
    attempts = recorded.pauses.attempts
    assert [line.split()[:2] for line in said] == [["attempt", str(attempt)] for attempt in attempts]
    assert attempts == list(range(1, len(attempts) + 1))
    assert len(recorded.lines("connecting again")) == len(recorded.gaps)
    stopped = recorded.log.count("stopped")
    assert len(recorded.log) - len(said) == len(recorded.gaps) + len(recorded.events) + stopped


def _now() -> datetime:
    return datetime.now(timezone.utc)
