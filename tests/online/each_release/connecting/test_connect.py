"""`pgnotify.connect`: one connection string, the same meaning on every driver."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

import pgnotify
from pgnotify.connecting import conninfo
from pgnotify.registry import DRIVERS, installed_drivers
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from tests.kinds import Address

pytestmark = pytest.mark.drivers(*DRIVERS)

PASSWORD = """p:a@s/s w'or"d\\%41?&=é"""
URI_PASSWORD = "p%3Aa%40s%2Fs%20w'or%22d%5C%2541%3F%26%3D%C3%A9"
QUOTED_PASSWORD = """'p:a@s/s w\\'or"d\\\\%41?&=é'"""


@pytest.fixture(scope="module")
def password_server() -> Iterator[TemporaryPostgreSQL]:
    """A server that requires a password over TCP."""
    try:
        server = TemporaryPostgreSQL(password=PASSWORD)
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with server:
        server.sql('CREATE ROLE "o\'dd @user" LOGIN PASSWORD ' + "'" + PASSWORD.replace("'", "''") + "'")
        yield server


def _query(connection: pgnotify.Connection, sql: str) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = connection.backend.query(sql)  # type: ignore[attr-defined]
    return rows


def test_a_uri_and_pairs_mean_the_same(driver: str, address: Address):
    for dsn in (address.dsn, conninfo.serialize(conninfo.parse(address.dsn))):
        with pgnotify.connect(dsn, driver=driver) as connection:
            assert _query(connection, "SELECT current_database(), current_user") == [("postgres", "postgres")]


def test_a_uri_may_name_the_driver(driver: str, address: Address):
    dsn = address.dsn.replace("postgresql:", f"postgresql+{driver}:", 1)

    with pgnotify.connect(dsn) as connection, pgnotify.connect(address.dsn, driver) as other:
        assert type(connection.connection) is type(other.connection)


def test_a_new_connection_listens_and_notifies(driver: str, address: Address, channel: str):
    with pgnotify.connect(address.dsn, driver=driver) as connection:
        connection.listen(channel)
        connection.notify(channel, "it's")

        assert connection.wait(20)
        assert [(note.channel, note.payload) for note in connection.fetch()] == [(channel, "it's")]


def test_a_new_connection_opens_no_transaction_by_itself(driver: str, address: Address):
    with pgnotify.connect(address.dsn, driver=driver) as connection:
        kinds_of_cursor = getattr(connection.connection, "cursor", None)
        if kinds_of_cursor is None:
            run = getattr(connection.connection, "run", None) or connection.connection.query
            run("SELECT 1")
        else:
            kinds_of_cursor().execute("SELECT 1")

        assert not connection.wait(0)  # a TransactionError otherwise


@pytest.mark.parametrize("name", ["it's me", "a=b", "back\\slash", "two  spaces "])
def test_an_option_goes_through_as_written(driver: str, address: Address, name: str):
    with pgnotify.connect(address.dsn + "?application_name=other", driver=driver, application_name=name) as connection:
        assert _query(connection, "SHOW application_name") == [(name,)]


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://o'dd%20%40user:{URI_PASSWORD}@127.0.0.1:{{port}}/postgres",
        f"user='o\\'dd @user' password={QUOTED_PASSWORD} host=127.0.0.1 port={{port}} dbname=postgres",
    ],
    ids=["URI", "pairs"],
)
def test_odd_characters_in_user_and_password(driver: str, password_server: TemporaryPostgreSQL, dsn: str):
    with pgnotify.connect(dsn.format(port=password_server.port), driver=driver) as connection:
        assert _query(connection, "SELECT current_user") == [("o'dd @user",)]


def test_the_address_of_a_temporary_server_leads_in(driver: str, password_server: TemporaryPostgreSQL):
    for dsn in (password_server.dsn, password_server.address.dsn):
        with pgnotify.connect(dsn, driver=driver) as connection:
            assert _query(connection, "SELECT current_user") == [("postgres",)]


def test_without_its_password_nobody_gets_in(driver: str, password_server: TemporaryPostgreSQL):
    for password in ("wrong", None):
        with pytest.raises(Exception, match=r"(?i)password"):
            pgnotify.connect(password_server.address._replace(password=password).dsn, driver=driver)


def test_a_wrong_password_is_the_drivers_error_and_is_not_shown(driver: str, password_server: TemporaryPostgreSQL):
    dsn = f"postgresql://o'dd%20%40user:s3cret@127.0.0.1:{password_server.port}/postgres"

    with pytest.raises(Exception, match=r"(?i)password authentication failed") as caught:
        pgnotify.connect(dsn, driver=driver)

    assert not isinstance(caught.value, pgnotify.PgNotifyError)
    assert "s3cret" not in str(caught.value)


def test_a_missing_password_is_reported(driver: str, password_server: TemporaryPostgreSQL):
    with pytest.raises(Exception, match=r"(?i)password"):
        pgnotify.connect(f"postgresql://x@127.0.0.1:{password_server.port}/postgres", driver=driver)


def test_a_unix_socket(driver: str, password_server: TemporaryPostgreSQL):
    with pgnotify.connect(password_server.socket_dsn, driver=driver) as connection:
        assert _query(connection, "SELECT inet_client_addr()") == [(None,)]


def test_the_next_host_is_tried_when_one_refuses(driver: str, address: Address):
    with socket.socket() as taken:  # bound and not listening: refuses
        taken.bind(("127.0.0.1", 0))
        there = f"{address.host}:{address.port}"
        dsn = address.dsn.replace(there, f"127.0.0.1:{taken.getsockname()[1]},{there}")
        with pgnotify.connect(dsn, driver=driver) as connection:
            assert _query(connection, "SELECT '1'::pg_catalog.text") == [("1",)]


def test_a_server_that_cannot_be_reached_is_the_drivers_error(driver: str):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Exception, match=r"(?i)refused"):
            pgnotify.connect(f"postgresql://postgres@127.0.0.1:{taken.getsockname()[1]}/postgres", driver=driver)


@pytest.mark.drivers("pg8000")
def test_pg8000_says_where_it_could_not_connect():
    with pytest.raises(Exception, match=r"cannot connect to /nowhere/.s.PGSQL.5432: .*No such file") as caught:
        pgnotify.connect("host=/nowhere", driver="pg8000")

    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_required_tls_is_never_left_out(driver: str, password_server: TemporaryPostgreSQL):
    dsn = f"postgresql://postgres@127.0.0.1:{password_server.port}/postgres?sslmode=require"

    with pytest.raises(Exception, match=r"(?i)SSL"):
        pgnotify.connect(dsn, driver=driver)


def test_a_session_that_is_not_as_wanted_is_refused(driver: str, address: Address):
    with pytest.raises(Exception, match=r"(?i)standby|hot standby"):
        pgnotify.connect(address.dsn + "?target_session_attrs=standby", driver=driver)


def test_a_session_that_is_as_wanted_is_used(driver: str, address: Address):
    with pgnotify.connect(address.dsn, driver=driver, target_session_attrs="read-write") as connection:
        assert _query(connection, "SELECT '1'::pg_catalog.text") == [("1",)]


def test_an_unknown_parameter_is_refused_before_connecting(driver: str):
    with pytest.raises(ValueError, match="application_name"):
        pgnotify.connect("postgresql://127.0.0.1:1/postgres?aplication_name=x", driver=driver)


def test_a_wrong_choice_is_refused(driver: str, address: Address):
    with pytest.raises(Exception, match=r"sslmode|maybe"):
        pgnotify.connect(address.dsn + "?sslmode=maybe", driver=driver)


def test_parameters_that_the_string_leaves_out_come_from_the_environment(
    driver: str, address: Address, monkeypatch: pytest.MonkeyPatch
):
    variables = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD")
    for name, value in zip(variables, map(str, address), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGAPPNAME", "from the environment")

    with pgnotify.connect(driver=driver) as connection:
        assert _query(connection, "SHOW application_name") == [("from the environment",)]


def test_the_first_installed_driver_is_the_default(driver: str, address: Address):
    with pgnotify.connect(address.dsn) as connection, pgnotify.connect(address.dsn, installed_drivers()[0]) as named:
        assert type(connection.connection) is type(named.connection)


def test_connect_timeout_no_longer_applies_once_connected(driver: str, address: Address, channel: str):
    with pgnotify.connect(address.dsn, driver=driver, connect_timeout=2) as connection:
        connection.listen(channel)

        assert not connection.wait(2.5)  # if it were also a time-out of reads, the connection would be dead now
        connection.notify(channel)
        assert connection.wait(20)


@pytest.mark.drivers("pg8000")
def test_a_parameter_that_pg8000_cannot_express_is_an_error(address: Address):
    with pytest.raises(ValueError, match="pg8000 cannot express the connection parameter 'require_auth'"):
        pgnotify.connect(address.dsn, driver="pg8000", require_auth="md5")
    with pytest.raises(ValueError, match="pg8000 cannot express sslnegotiation='direct', only postgres"):
        pgnotify.connect(address.dsn, driver="pg8000", sslnegotiation="direct")


@pytest.mark.drivers("pg8000")
def test_pg8000_sets_keepalives_on_its_socket(address: Address):
    with pgnotify.connect(address.dsn, driver="pg8000", keepalives_idle=7, tcp_user_timeout=1234) as connection:
        plug = connection.connection._usock
        assert plug.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1234


def test_an_unknown_driver_is_refused():
    with pytest.raises(pgnotify.UnknownBackend, match="no driver 'oracle' to connect with; the drivers are psycopg"):
        pgnotify.connect("", driver="oracle")
