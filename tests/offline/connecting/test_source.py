"""Where connections come from: what a connection string is completed with, and that a connection is fresh."""

from __future__ import annotations

import pytest

from pgnotify import registry
from pgnotify.connecting.keywords import KEYWORDS
from pgnotify.connecting.source import Source
from pgnotify.errors import SourceError, UnknownBackend


@pytest.fixture
def dialled(monkeypatch, memory_server):
    """What a driver was called with to connect, each time; and no environment."""
    for variable in filter(None, KEYWORDS.values()):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("PGREQUIRESSL", raising=False)
    calls = []

    def connect(parameters):
        calls.append(parameters)
        return memory_server.connect()

    monkeypatch.setattr("pgnotify.connecting.source.connect_with", lambda driver: connect)
    return calls


def open_from(dsn, name=None, deadline=5.0):
    Source(dsn, None, name, deadline).open()


# A connection string.


def test_a_connection_string_is_completed(dialled):
    open_from("host=db dbname=work")

    assert dialled == [
        {"host": "db", "dbname": "work", "fallback_application_name": "pgnotify", "connect_timeout": "5"}
    ]


def test_a_uri_is_one_too(dialled):
    open_from("postgresql://me@db/work", name="cache")

    [parameters] = dialled
    assert (parameters["user"], parameters["host"], parameters["dbname"]) == ("me", "db", "work")
    assert parameters["fallback_application_name"] == "cache"


@pytest.mark.parametrize(("deadline", "timeout"), [(0.1, "2"), (1, "2"), (2.0, "2"), (2.1, "3"), (30, "30")])
def test_the_deadline_is_rounded_up_to_what_libpq_takes(dialled, deadline, timeout):
    open_from("host=db", deadline=deadline)

    assert dialled[0]["connect_timeout"] == timeout


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("connect_timeout", "90"), ("connect_timeout", "0"), ("fallback_application_name", "mine")],
)
def test_what_the_string_says_counts(dialled, keyword, value):
    open_from(f"host=db {keyword}={value}", name="other", deadline=7)

    assert dialled[0][keyword] == value


def test_what_the_environment_says_counts_and_is_left_to_the_driver(dialled, monkeypatch):
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "60")

    open_from("host=db")

    assert "connect_timeout" not in dialled[0]


@pytest.mark.parametrize("dsn", ["host=a,b", "postgresql://a,b/work"])
def test_of_several_hosts_the_primary_is_wanted(dialled, dsn):
    open_from(dsn)

    assert dialled[0]["target_session_attrs"] == "read-write"


def test_of_several_hosts_in_the_environment_too(dialled, monkeypatch):
    monkeypatch.setenv("PGHOST", "a,b")

    open_from("dbname=work")

    assert dialled[0]["target_session_attrs"] == "read-write"


def test_of_several_hosts_another_one_if_that_is_asked_for(dialled):
    open_from("host=a,b target_session_attrs=any")

    assert dialled[0]["target_session_attrs"] == "any"


def test_of_one_host_the_primary_is_not_asked_for(dialled):
    open_from("host=a")

    assert "target_session_attrs" not in dialled[0]


def test_each_connection_is_dialled_anew_with_parameters_of_its_own(dialled):
    source = Source("host=db", None, None, 5)
    source.open()
    dialled[0].clear()  # a driver may do that

    source.open()

    assert dialled[1]["host"] == "db"


def test_a_connection_string_comes_back_and_is_dialled_here(dialled):
    source = Source("host=db", None, None, 5)

    assert source.can_reconnect
    assert source.from_dsn


def test_a_connection_string_that_cannot_be_read_is_refused_at_once(dialled):
    with pytest.raises(ValueError, match="no_such_keyword"):
        Source("no_such_keyword=1", None, None, 5)


def test_a_driver_that_does_not_exist_is_refused_at_once():
    with pytest.raises(UnknownBackend, match="nosuch"):
        Source("host=db", "nosuch", None, 5)


@pytest.mark.parametrize(("dsn", "wanted"), [("host=db", True), ("host=db keepalives=0", False)])
def test_keepalive_is_wanted_unless_the_string_says_no(dialled, dsn, wanted):
    assert Source(dsn, None, None, 5).keeps_alive is wanted


# A function.


def test_a_function_is_asked_for_each_connection(memory_server):
    source = Source(memory_server.connect, None, None, 5)

    first, second = source.open(), source.open()

    assert first is not second
    assert source.can_reconnect
    assert not source.from_dsn


def test_nothing_is_connected_before_it_is_wanted(memory_server):
    Source(memory_server.connect, None, None, 5)

    assert memory_server.connections == []


def test_a_function_that_returns_the_latest_connection_again_is_refused(memory_server):
    same = memory_server.connect()
    source = Source(lambda: same, None, None, 5)
    source.open()

    with pytest.raises(SourceError, match="same connection again"):
        source.open()


def test_the_latest_connection_is_remembered_though_nobody_else_does(memory_server):
    """Else a new one might have its address, and be taken for it."""
    made = []

    def connect():
        made.append(id(connection := memory_server.connect()))
        return connection

    source = Source(connect, None, None, 5)
    for _ in range(50):
        source.open().close()

    assert len(made) == 50


def test_a_session_besides_is_not_the_latest_one(memory_server):
    same = memory_server.connect()
    source = Source(lambda: same, None, None, 5)
    source.open()

    with pytest.raises(SourceError, match="same connection again"):
        source.open_another()


def test_what_a_function_raises_passes_through():
    with pytest.raises(ZeroDivisionError):
        Source(lambda: 1 / 0, None, None, 5).open()


def test_a_function_that_returns_no_connection_is_refused():
    with pytest.raises(UnknownBackend, match="NoneType"):
        Source(lambda: None, None, None, 5).open()


def test_a_driver_beside_a_function_is_refused():
    with pytest.raises(ValueError, match=r"driver='psycopg' goes with a connection string; a function has its own"):
        Source(lambda: None, "psycopg", None, 5)


# A connection, and what is none.


def test_a_connection_is_always_the_same_and_cannot_come_back(memory_server):
    connection = memory_server.connect()
    source = Source(connection, None, None, 5)

    assert source.open() is source.open() is connection
    assert not source.can_reconnect


def test_a_driver_beside_a_connection_is_refused(memory_server):
    with pytest.raises(ValueError, match="a MemoryConnection has its own"):
        Source(memory_server.connect(), "psycopg", None, 5)


class Pool:
    """As a pool, or an engine: its driver knows it, and what to pass instead."""

    __module__ = "adriver.pool"


def test_what_a_driver_refuses_is_refused_at_once_in_its_words(monkeypatch):
    def wrap(connection):
        raise TypeError(f"pass one connection, not a {type(connection).__name__}: pool.getconn()")

    monkeypatch.setitem(registry._registered, "adriver", wrap)

    with pytest.raises(TypeError, match=r"pass one connection, not a Pool: pool.getconn\(\)"):
        Source(Pool(), None, None, 5)


@pytest.mark.parametrize("source", [None, 5, b"host=db", ["host=db"]])
def test_what_is_nothing_of_these_is_refused_at_once(source):
    with pytest.raises(UnknownBackend):
        Source(source, None, None, 5)
