"""What a Listener is told that cannot be: a clear error at the call, and not a retry loop."""

from __future__ import annotations

import gc
import threading
from operator import methodcaller

import pytest

import pgnotify
from pgnotify import ChannelError, UnknownBackend
from pgnotify.connecting.retryable import sqlstate_of
from pgnotify.errors import SourceError
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from pgnotify.testing.nasty import BAD_CHANNELS
from tests.helpers.listener_fronts import Listener, both_fronts
from tests.helpers.listeners import listening, next_payloads
from tests.helpers.resources import open_descriptors
from tests.helpers.threads import Background
from tests.helpers.user import User
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = both_fronts

WAYS = {
    "start": methodcaller("start"),
    "run": methodcaller("run"),
    "with": methodcaller("__enter__"),
    "iterate": lambda listener: list(listener),
    "wait_listening": lambda listener: listener.subscribe("x", print).wait_listening(),
    "probe": methodcaller("probe"),
}


@pytest.fixture(params=WAYS)
def begin(request):
    """Each way to have a listener connect; in a thread, so that a retry loop fails the test."""

    def begin_in_thread(listener):
        try:
            Background(WAYS[request.param], listener).ended()
        finally:
            assert listener.stop()

    return begin_in_thread


HBA = ['host all "nobody here" 127.0.0.1/32 trust', "host all all 127.0.0.1/32 scram-sha-256"]


@pytest.fixture(scope="module")
def strict_server():
    """A server that wants a password, but not from a role that does not exist."""
    try:
        server = TemporaryPostgreSQL(hba=HBA)
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with server:
        server.sql("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        yield server


# Where to.


def test_a_wrong_password_is_said_at_once(driver, strict_server, begin, caplog):
    dsn = f"postgresql://guarded:s3cret@127.0.0.1:{strict_server.port}/postgres"

    with pytest.raises(Exception, match="password authentication failed") as caught:
        begin(Listener(dsn, "a", driver=driver))

    assert sqlstate_of(caught.value) in ("28P01", None)
    assert "s3cret" not in str(caught.value) + caplog.text


def test_the_right_password_is_taken(driver, strict_server):
    with Listener(
        f"postgresql://guarded:right@127.0.0.1:{strict_server.port}/postgres", "a", driver=driver
    ) as listener:
        assert listener.status().channels == ("a",)


def test_an_unknown_database_is_said_at_once(driver, address, begin):
    with pytest.raises(Exception, match='database "no such" does not exist'):
        begin(Listener(address._replace(database="no such").dsn, "a", driver=driver))


def test_an_unknown_user_is_said_at_once(driver, strict_server, begin):
    with pytest.raises(Exception, match='role "nobody here" does not exist'):
        begin(Listener(strict_server.address._replace(user="nobody here").dsn, "a", driver=driver))


def test_an_unknown_host_is_said_at_once(driver):
    listener = Listener("postgresql://nosuch.invalid/postgres", "a", driver=driver)
    try:
        Background(listener.start).ended()
    except Exception as error:  # each driver has its own
        said = str(error)
    else:
        pytest.skip("not applicable: there is no resolver here to say that there is no such host")
    finally:
        assert listener.stop()
    assert "nosuch.invalid" in said or "not known" in said


def test_an_error_leaves_no_thread_and_no_descriptor_even_if_the_listener_is_kept(driver, address):
    def failed(use):
        listener = Listener(address._replace(database="missing").dsn, "x", driver=driver, workers=3)
        with pytest.raises(Exception, match="does not exist"):
            use(listener)
        return listener

    failed(methodcaller("run"))  # the first use loads modules
    gc.collect()
    threads, descriptors = set(threading.enumerate()), open_descriptors()

    kept = [failed(WAYS[way]) for way in ("start", "run", "iterate", "wait_listening")]

    eventually(lambda: set(threading.enumerate()) <= threads, "all threads have ended")
    gc.collect()
    assert open_descriptors() <= descriptors
    assert [each.status().state for each in kept] == ["idle"] * 4


def test_a_failed_start_may_be_tried_again(driver, address, session, channel):
    address = address._replace(database=f"later_{driver}")
    listener = Listener(address.dsn, channel, driver=driver)
    with pytest.raises(Exception, match="does not exist"):
        listener.start()
    session.sql(f"CREATE DATABASE {address.database}")
    try:
        listener.start()
        assert listener.status().channels == (channel,)
    finally:
        assert listener.stop()
        session.sql(f"DROP DATABASE {address.database} WITH (FORCE)")


def test_a_permanent_error_later_goes_to_on_error_and_is_tried_again(driver, address, session, channel):
    database = f"away_{driver}"
    session.sql(f"CREATE DATABASE {database}")
    errors = []
    listener = Listener(
        address._replace(database=database).dsn,
        channel,
        driver=driver,
        on_error=lambda error, notification: errors.append((error, notification)),
        backoff=pgnotify.Backoff(0.01, 0.01),
    )
    listener.start()
    try:
        session.sql(f"DROP DATABASE {database} WITH (FORCE)")
        eventually(lambda: errors)
        session.sql(f"CREATE DATABASE {database}")
        eventually(lambda: listener.status().state == "listening")
    finally:
        assert listener.stop()
        session.sql(f"DROP DATABASE {database} WITH (FORCE)")
    assert errors[0][1] is None
    assert "does not exist" in str(errors[0][0])


# With what.


def test_a_driver_that_is_none_is_refused(address):
    with pytest.raises(UnknownBackend, match="no driver 'oracle' to connect with; the drivers are psycopg"):
        Listener(address.dsn, "a", driver="oracle")


def test_a_driver_for_something_else_than_a_string_is_refused(driver):
    with pytest.raises(ValueError, match="goes with a connection string"):
        Listener(lambda: None, "a", driver=driver)


@pytest.mark.parametrize("text", ["postgresql://[", "host", "nonsense=1", "postgresql://h/d?sslmod=x"])
def test_a_string_that_is_none_for_connecting_is_refused(driver, text, begin):
    with pytest.raises(ValueError, match=r"\w"):
        begin(Listener(text, "a", driver=driver))


@pytest.mark.parametrize("source", [None, 5, object(), b"postgresql://x/y"])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(UnknownBackend, match="no backend fits a "):
        Listener(source, "a")


@pytest.mark.drivers("psycopg")
@pytest.mark.parametrize("wrapped", [False, True], ids=["itself", "from a function"])
def test_a_psycopg_pool_is_refused(kind, address, wrapped):
    pools = pytest.importorskip("psycopg_pool")
    pool = pools.ConnectionPool(address.dsn, open=False)
    with pytest.raises(TypeError, match=r"pool|connection"):
        Listener((lambda: pool) if wrapped else pool, "a").start()


@pytest.mark.drivers("psycopg2")
@pytest.mark.parametrize("wrapped", [False, True], ids=["itself", "from a function"])
def test_a_psycopg2_pool_is_refused(kind, address, wrapped):
    import psycopg2.pool

    pool = psycopg2.pool.ThreadedConnectionPool(0, 1, address.dsn)
    with pytest.raises(TypeError, match="getconn"):
        Listener((lambda: pool) if wrapped else pool, "a").start()


@pytest.mark.drivers("wrappers")
@pytest.mark.parametrize("wrapped", [False, True], ids=["itself", "from a function"])
def test_an_engine_is_refused(kind, address, wrapped):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine("sqlite://")
    with pytest.raises(TypeError, match=r"engine\.connect"):
        Listener((lambda: engine) if wrapped else engine, "a").start()


@pytest.mark.parametrize(
    ("returned", "says"),
    [(value, "no backend fits a ") for value in (None, 5, [])] + [("postgresql://", "a str is not a connection: ")],
)
def test_a_function_that_returns_no_connection_is_refused(begin, returned, says):
    with pytest.raises(UnknownBackend, match=says):
        begin(Listener(lambda: returned, "a"))


def test_a_function_that_fails_for_good_is_not_called_again(begin):
    calls = []

    def connect():
        calls.append(1)
        raise KeyError("PGPASSWORD") if len(calls) > 1 else NameError("a slip")

    with pytest.raises(NameError, match="a slip"):
        begin(Listener(connect, "a"))
    assert len(calls) == 1


def test_a_connection_that_is_dead_is_said_at_once(db, user, session, begin):
    session.terminate(user.pid)

    with pytest.raises(pgnotify.ConnectionLost):
        begin(Listener(db, "a"))


def test_a_connect_function_that_returns_a_dead_connection_is_said_at_once(kind, connect, session, begin):
    made = []

    def dial():
        made.append(connect())
        session.terminate(User(kind, made[-1]).pid)
        return made[-1]

    with pytest.raises(SourceError, match="already dead"):
        begin(Listener(dial, "a"))
    assert len(made) == 1


@pytest.mark.parametrize("channel", BAD_CHANNELS, ids=ascii)
def test_a_channel_that_cannot_be_is_refused_before_anything_is_opened(channel):
    with pytest.raises((ChannelError, TypeError)):
        Listener(lambda: pytest.fail("it was called"), "good", channel)
    with pytest.raises((ChannelError, TypeError)):
        Listener(lambda: pytest.fail("it was called")).subscribe(channel, print)


@pytest.mark.parametrize(
    "options",
    [
        {"workers": -1},
        {"workers": 1.5},
        {"queue_size": 0},
        {"heartbeat": 0},
        {"heartbeat": float("nan")},
        {"heartbeat": "30"},
        {"answer_timeout": 0},
        {"answer_timeout": float("inf")},
        {"answer_timeout": None},
        {"on_listening": "no function"},
        {"on_error": "rise"},
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_opened(options):
    (name,) = options
    with pytest.raises((ValueError, TypeError), match=name):
        Listener(lambda: pytest.fail("it was called"), "a", **options)


def test_a_channel_that_the_servers_encoding_has_no_letters_for_is_refused_and_the_others_go_on(
    driver, address, session
):
    if not session.sql("SELECT 1 FROM pg_database WHERE datname = 'latin1'"):
        session.sql("CREATE DATABASE latin1 TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'")
    errors = []
    latin1 = address._replace(database="latin1")
    with listening(latin1.dsn, "fine", driver=driver, on_error=lambda *error: errors.append(error)) as listener:
        refused = listener.subscribe("日本", print)
        with pytest.raises(Exception, match="no equivalent in encoding"):
            refused.wait_listening(PATIENCE)

        with pgnotify.connect(latin1.dsn, driver=driver) as sender:
            sender.notify("fine", "goes on")
        assert next_payloads(listener, 1) == ["goes on"]
        assert listener.status().channels == ("fine",)
    ((error, notification),) = errors
    assert (sqlstate_of(error), notification) == ("22P05", None)
