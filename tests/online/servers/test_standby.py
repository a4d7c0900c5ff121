"""With a real standby: which of two servers a connection string leads to, before and after a fail-over."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

import pgnotify
from pgnotify.registry import DRIVERS
from pgnotify.testing import NoPostgreSQL, ServerFailed, TemporaryPostgreSQL
from tests.helpers.backends import collect, until_lost
from tests.helpers.standby import Standby
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.drivers(*DRIVERS)


class Pair(NamedTuple):
    """Two servers, and a connection string that has both."""

    standby: Standby
    primary: TemporaryPostgreSQL

    @property
    def dsn(self) -> str:
        """Leads to the standby first."""
        hosts = ",".join(f"{each.host}:{each.port}" for each in self)
        return f"postgresql://postgres:{self.primary.password}@{hosts}/postgres"


@pytest.fixture(scope="module")
def lasting_pair() -> Iterator[Pair]:
    """Two servers for the tests that stop neither."""
    yield from _pair()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two servers for one test, to do with as it likes."""
    yield from _pair()


def _pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        try:
            primary = stack.enter_context(TemporaryPostgreSQL())
        except NoPostgreSQL as error:
            pytest.skip(str(error))
        yield Pair(stack.enter_context(Standby(primary)), primary)


def _port(dsn: str, driver: str, **options: str) -> int:
    """Return the port of the server that is connected to."""
    with pgnotify.connect(dsn, driver, **options) as connection:
        ((port,),) = connection.backend.query("SELECT inet_server_port()")  # type: ignore[attr-defined]
        return int(port)


def _sqlstate(error: Any) -> str | None:
    fields = error.args[0]
    if isinstance(fields, dict):  # pg8000
        return fields["C"]
    return getattr(error, "sqlstate", None) or error.pgcode  # psycopg2


@pytest.mark.parametrize(
    ("wanted", "role"),
    [
        ("any", "standby"),
        ("read-write", "primary"),
        ("primary", "primary"),
        ("read-only", "standby"),
        ("standby", "standby"),
        ("prefer-standby", "standby"),
    ],
)
def test_of_two_hosts_the_one_that_is_as_wanted_is_taken(driver, lasting_pair, wanted, role):
    assert _port(lasting_pair.dsn, driver, target_session_attrs=wanted) == getattr(lasting_pair, role).port


def test_nobody_listens_or_notifies_on_a_standby(driver, lasting_pair, channel):
    with pgnotify.connect(lasting_pair.standby.dsn, driver) as connection:
        for verb in (connection.listen, connection.notify):
            with pytest.raises(Exception, match="during recovery") as caught:
                verb(channel)
            assert _sqlstate(caught.value) == "25006"
            assert not isinstance(caught.value, pgnotify.PgNotifyError)
        connection.unlisten(channel)


def test_the_health_of_a_standby_says_what_it_is(driver, lasting_pair):
    found = {}
    for server in lasting_pair:
        with pgnotify.connect(server.dsn, driver) as connection:
            found[server.port] = connection.backend.check().in_recovery

    assert found == {lasting_pair.standby.port: True, lasting_pair.primary.port: False}


def test_after_a_failover_the_same_string_leads_to_the_new_primary(driver, pair, channel):
    with pgnotify.connect(pair.dsn, driver, target_session_attrs="read-write") as listening:
        listening.listen(channel)
        pair.primary.stop()
        until_lost(listening.backend)
    for wanted in ("primary", "read-write"):
        with pytest.raises(Exception, match=r"(?i)refused"):
            _port(pair.dsn, driver, target_session_attrs=wanted)

    pair.standby.promote()
    for wanted in ("primary", "read-write"):
        assert _port(pair.dsn, driver, target_session_attrs=wanted) == pair.standby.port
    with pytest.raises(Exception, match=r"(?i)refused"):
        _port(pair.dsn, driver, target_session_attrs="standby")


def test_a_connection_to_a_standby_outlives_its_promotion_and_can_listen_then(driver, pair, channel):
    with pgnotify.connect(pair.standby.dsn, driver) as connection:
        before = connection.backend.check()
        pair.primary.stop()
        pair.standby.promote()

        assert not connection.wait(0)
        assert connection.backend.check() == before._replace(in_recovery=False)
        connection.listen(channel)
        connection.notify(channel)
        assert len(collect(connection.backend, 1)) == 1


@pytest.mark.drivers("pg8000")  # libpq asks the system in each PQconnectdb(), where a test cannot come in between
def test_a_name_is_looked_up_anew_for_each_connection(lasting_pair, monkeypatch):
    leads_to, led_to = [lasting_pair.primary, lasting_pair.standby], []
    server_host = lasting_pair.primary.host  # looked up, too: each address of a name is a place of its own

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        assert host in ("database.invalid", server_host)
        server = leads_to.pop(0) if host == "database.invalid" else led_to.pop()
        led_to.append(server)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (server.host, server.port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    dsn = f"postgresql://postgres:{lasting_pair.primary.password}@database.invalid/postgres?sslmode=disable"

    assert [_port(dsn, "pg8000") for _ in range(2)] == [lasting_pair.primary.port, lasting_pair.standby.port]


# The fixture itself.


def test_a_standby_has_caught_up_when_it_has_what_its_primary_has_written(lasting_pair):
    primary, standby = lasting_pair.primary, lasting_pair.standby
    standby.sql("SELECT pg_wal_replay_pause()")
    primary.sql("CREATE TABLE written AS SELECT 42 AS n")
    assert not standby.caught_up()

    standby.sql("SELECT pg_wal_replay_resume()")
    eventually(standby.caught_up)
    assert standby.sql("SELECT n FROM written") == "42"


def test_a_standby_goes_with_its_directory_and_leaves_its_primary_alone(lasting_pair):
    with Standby(lasting_pair.primary) as another:
        directory = another.socket_directory
        assert directory in another.data_directory.parents
        assert another.sql("SELECT pg_is_in_recovery()") == "t"

    assert not directory.exists()
    assert lasting_pair.primary.running


def test_a_standby_of_a_stopped_server_says_that_it_could_not_copy_it(pair):
    pair.primary.stop()

    with pytest.raises(ServerFailed, match=r"(?s)pg_basebackup failed.*Is the server running locally"):
        Standby(pair.primary).start()
