"""Which errors of real servers and drivers are worth another attempt to connect."""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct

import pytest

import pgnotify
from pgnotify import Backoff, Listener
from pgnotify.connecting.retryable import is_permanent, sqlstate_of
from pgnotify.testing import Address, NoPostgreSQL, ServerFailed, TemporaryPostgreSQL, find_postgresql
from tests.helpers.pooler import NOT_INSTALLED, PgBouncer, find_pgbouncer
from tests.helpers.threads import Background

HBA = [
    "local all all trust",
    "host all scram 127.0.0.1/32 scram-sha-256",
    "host all md5 127.0.0.1/32 md5",
    "host all cleartext 127.0.0.1/32 password",
    "host all rejected 127.0.0.1/32 reject",
    "host all postgres,plain 127.0.0.1/32 scram-sha-256",
    "host all ghost,nologin,limited 127.0.0.1/32 trust",  # nobody gets in as one of these
]
PASSWORD = secrets.token_urlsafe()
"""Of the roles postgres and plain."""
ROLES = f"""
    SET password_encryption = 'scram-sha-256'; CREATE ROLE scram LOGIN PASSWORD 'right'; CREATE ROLE cleartext LOGIN
    PASSWORD 'right'; CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}';
    SET password_encryption = 'md5'; CREATE ROLE md5 LOGIN PASSWORD 'right';
    CREATE ROLE nologin; CREATE ROLE limited LOGIN CONNECTION LIMIT 0; CREATE ROLE rejected LOGIN; CREATE ROLE unheard
    LOGIN; CREATE DATABASE shut; REVOKE CONNECT ON DATABASE shut FROM public; CREATE DATABASE resting;
    ALTER DATABASE resting ALLOW_CONNECTIONS false; CREATE DATABASE limited CONNECTION LIMIT 0
"""
NEVER = Backoff(60.0, 60.0)
SETTINGS = {"max_connections": 4, "superuser_reserved_connections": 1, "max_wal_senders": 0}


@pytest.fixture(scope="module")
def server():
    """A server that refuses most users."""
    try:
        with TemporaryPostgreSQL(settings=SETTINGS, hba=HBA, password=PASSWORD) as started:
            started.sql(ROLES)
            yield started
    except NoPostgreSQL as reason:
        pytest.skip(str(reason))


@pytest.fixture
def error_of(driver):
    """A function that returns the error of an attempt to connect."""

    def attempt(port, **options):
        given = {"host": "127.0.0.1", "user": "postgres", "dbname": "postgres", **options}
        if given["user"] in ("postgres", "plain"):
            given["password"] = PASSWORD
        with pytest.raises(Exception) as caught:  # noqa: PT011  # each driver has its own
            pgnotify.connect(driver=driver, port=port, **given).close()
        return caught.value

    return attempt


def assert_permanent(error):
    assert is_permanent(error, at_start=True), repr(error)
    assert is_permanent(error, at_start=False), repr(error)


def assert_transient(error):
    assert not is_permanent(error, at_start=True), repr(error)
    assert not is_permanent(error, at_start=False), repr(error)


@pytest.mark.parametrize(
    ("options", "sqlstate"),
    [
        ({"user": "scram", "password": "wrong"}, "28P01"),
        ({"user": "md5", "password": "wrong"}, "28P01"),
        ({"user": "cleartext", "password": "wrong"}, "28P01"),
        ({"user": "ghost"}, "28000"),
        ({"user": "nologin"}, "28000"),
        ({"user": "rejected"}, "28000"),
        ({"user": "unheard"}, "28000"),  # has no line in pg_hba.conf
        ({"dbname": "no such"}, "3D000"),
        ({"dbname": "shut", "user": "plain"}, "42501"),
        ({"options": "-c nosuch=1"}, "42704"),
        ({"options": "-c work_mem=much"}, "22023"),
        ({"options": "-c log_min_messages=debug1", "user": "plain"}, "42501"),
        ({"options": "-c shared_buffers=1"}, "55P02"),
        ({"client_encoding": "nonsense"}, "22023"),
        ({"client_encoding": "MULE_INTERNAL"}, "0A000"),
        ({"options": "-X"}, "42601"),
        ({"options": "--nosuch"}, "42601"),
        ({"options": "-c nosuch"}, "42601"),
        ({"options": "-c a..b=1"}, "42602"),
        ({"options": "-c work_mem=1"}, "22023"),
        ({"options": "-c geqo=perhaps"}, "22023"),
    ],
    ids=str,
)
def test_a_server_that_refuses_goes_on_refusing(server, error_of, options, sqlstate):
    error = error_of(server.port, **options)

    assert sqlstate_of(error) in (sqlstate, None)
    assert_permanent(error)


@pytest.mark.parametrize(
    "options",
    [
        {"user": "scram"},
        {"user": "md5"},
        {"user": "cleartext"},
        {"sslmode": "require"},
        {"port": "70000"},
        {"sslmode": "nonsense"},
        {"nonsense": "1"},
        {"connect_timeout": "x"},
        {"keepalives_idle": "1.5"},
        {"ssl_min_protocol_version": "nonsense"},
        {"host": f"/{'x' * 200}"},
        {"service": "nosuch"},
    ],
    ids=str,
)
def test_a_client_that_lacks_something_goes_on_lacking_it(server, error_of, options):
    assert_permanent(error_of(**{"port": server.port, **options}))


@pytest.mark.parametrize(
    "options",
    [
        {"user": "limited"},
        {"dbname": "limited", "user": "plain"},
        {"dbname": "resting", "user": "plain"},
        {"target_session_attrs": "standby"},
        {"target_session_attrs": "read-only"},
    ],
    ids=str,
)
def test_a_server_that_accepts_no_connections_now_may_accept_them_later(server, error_of, options):
    assert_transient(error_of(server.port, **options))


@pytest.mark.parametrize(
    ("statement", "sqlstate"), [("LISTEN TO jobs", "42601"), ("SELECT pg_catalog.nosuch()", "42883")]
)
def test_an_error_of_the_users_function_that_no_repetition_mends_is_raised(server, driver, statement, sqlstate):
    def connect():
        with contextlib.closing(pgnotify.connect(dsn_of(server.port), driver)) as connection:
            connection.backend.query(statement)

    with pytest.raises(Exception) as caught:  # noqa: PT011  # each driver has its own
        Listener(connect, "jobs", backoff=NEVER).start()

    assert sqlstate_of(caught.value) == sqlstate


def test_an_encoding_that_python_has_no_codec_for_is_raised(server, driver):
    with pytest.raises(Exception, match=r"(?i)EUC_?TW"):
        Listener(f"{dsn_of(server.port)}?client_encoding=EUC_TW", "jobs", driver=driver, backoff=NEVER).start()


def dsn_of(port):
    return Address("127.0.0.1", port, password=PASSWORD).dsn


@pytest.mark.skipif(find_pgbouncer() is None, reason=NOT_INSTALLED)
def test_a_refusal_of_a_pooler_is_final_unless_it_is_full(server, error_of, driver):
    options = {"settings": {"max_client_conn": 2}, "databases": {"postgres": f"host=127.0.0.1 port={server.port}"}}
    with PgBouncer(server.address, **options) as pooler:
        for refused in (
            {"dbname": "no such"},
            {"user": "scram", "password": "wrong"},
            {"options": "-c work_mem=1MB"},
            {"replication": "database"},
            {"dbname": "pgbouncer"},
        ):
            assert_permanent(error_of(pooler.port, **refused))
        with contextlib.ExitStack() as held:
            assert_transient(fill(held, pooler.port, "postgres", driver))


def test_a_server_that_is_full_may_have_room_later(server, error_of):
    with contextlib.ExitStack() as held:
        reserved = fill(held, server.port, "plain")
        full = fill(held, server.port, "postgres")

        for error in (reserved, full, error_of(server.port, user="plain"), error_of(server.port)):
            assert_transient(error)


def fill(held, port, user, driver=None):
    """Open connections until one fails, and return the error."""
    try:
        while True:
            dsn = Address("127.0.0.1", port, user=user, password=PASSWORD).dsn
            held.enter_context(pgnotify.connect(dsn, driver))
    except Exception as error:  # each driver has its own
        return error


def test_a_host_that_cannot_be_found_is_a_mistake_at_the_start_only(server, error_of):
    error = error_of(server.port, host="nosuch.invalid")

    if "Temporary failure" in str(error):
        pytest.skip("not applicable: there is no resolver here to say that there is no such host")
    assert is_permanent(error, at_start=True)
    assert not is_permanent(error, at_start=False)


def test_a_port_where_nobody_listens_may_have_somebody_later(error_of, unused_port):
    assert_transient(error_of(unused_port))
    assert_transient(error_of(unused_port, host="/nonexistent"))


@pytest.fixture
def unused_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_peer_that_never_answers_may_answer_later(error_of):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert_transient(error_of(silent.getsockname()[1], connect_timeout=2))


@pytest.mark.parametrize("answer", [b"", b"N", b"NR\0\0\0", b"NR\0\0\0\x08\0\0\0\0", b"HTTP/1.0 400\r\n\r\n"], ids=repr)
@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_peer_that_ends_during_the_handshake_may_answer_later(error_of, answer, end):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        Background(answer_all, listening, answer, end)

        error = error_of(listening.getsockname()[1], gssencmode="disable")

    assert_transient(error)


def answer_all(listening, answer, end):
    """Answer the request for TLS and the message after it, then end the connection."""
    with contextlib.suppress(OSError):  # the listener is closed
        while True:
            client, _ = listening.accept()
            with client, contextlib.suppress(OSError):
                client.settimeout(5)
                client.recv(8)
                client.sendall(answer[:1])
                if answer[1:]:
                    client.recv(1000)
                    client.sendall(answer[1:])
                if end == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_one_of_several_hosts_that_may_come_back_is_enough(server, error_of, unused_port, driver, first):
    ports = f"{unused_port},{server.port}" if first else f"{server.port},{unused_port}"

    error = error_of(ports, host="127.0.0.1,127.0.0.1", user="scram", password="wrong")

    # After a server that refuses, pg8000 and libpq's own connect try no further host, and we hear of no other.
    if str(unused_port) in str(error):
        assert_transient(error)
    else:
        assert_permanent(error)


# A server that speaks another language, if Debian's translations are installed. No locale except C.UTF-8 is needed.


@pytest.fixture(scope="module", params=["de", "ru", "ja", "zh_CN"])
def foreigner(request):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LANGUAGE", request.param)
        environment.setenv("LC_ALL", "C.UTF-8")
        try:
            started = TemporaryPostgreSQL(
                find_postgresql("system"),
                settings={**SETTINGS, "lc_messages": "C.UTF-8"},
                hba=HBA,
                password=PASSWORD,
            )
            started.start()
        except (NoPostgreSQL, ServerFailed) as reason:
            pytest.skip(f"not applicable: {str(reason).splitlines()[0]}")
    with contextlib.closing(started):
        started.sql(ROLES)
        if "database system is ready" in started.log():
            pytest.skip(f"not applicable: the server has no translations into {request.param}")
        yield started


@pytest.mark.parametrize(
    "options",
    [
        {"user": "scram", "password": "wrong"},
        {"user": "ghost"},
        {"user": "unheard"},
        {"dbname": "no such"},
        {"dbname": "shut", "user": "plain"},
        {"options": "-c nosuch=1"},
    ],
    ids=str,
)
def test_a_refusal_is_understood_in_any_language(foreigner, error_of, options):
    assert is_permanent(error_of(foreigner.port, **options), at_start=True)


def test_a_full_server_is_understood_in_any_language(foreigner, error_of):
    with contextlib.ExitStack() as held:
        reserved = fill(held, foreigner.port, "plain")
        full = fill(held, foreigner.port, "postgres")

        for error in (reserved, full, error_of(foreigner.port, user="plain"), error_of(foreigner.port)):
            assert_transient(error)
