"""Where connections come from: which parameters are added to a connection string, and that a connection is new."""

from __future__ import annotations

import math
import socket
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import pytest

from pgnotify import registry
from pgnotify.aio.source import AsyncSource
from pgnotify.connecting.keywords import KEYWORDS
from pgnotify.connecting.session_name import session_name
from pgnotify.connecting.source import Source
from pgnotify.errors import ConnectionLost, SourceError, UnknownBackend


@pytest.fixture
def connect_calls(monkeypatch, memory_server):
    """The parameters of each call of a driver's connect, with no PG* variable set."""
    for variable in filter(None, KEYWORDS.values()):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("PGREQUIRESSL", raising=False)
    calls = []

    def connect(parameters):
        calls.append(parameters)
        return memory_server.connect()

    monkeypatch.setattr("pgnotify.connecting.source.connect_with", lambda driver: connect)
    return calls


def open_from(dsn, name=None, answer_timeout=5.0):
    Source(dsn, None, name, answer_timeout).open()


# A connection string.


def test_a_connection_string_is_completed(connect_calls):
    open_from("host=db dbname=work")

    assert connect_calls == [
        {"host": "db", "dbname": "work", "fallback_application_name": session_name(None), "connect_timeout": "5"}
    ]


@pytest.mark.parametrize(
    ("dsn", "seconds"),
    [
        ("host=db", 5 * 8),
        ("host=a,b,c connect_timeout=2", 2 * 3 * 8),
        ("hostaddr=127.0.0.1,127.0.0.2", 5 * 2 * 8),
        ("host=db connect_timeout=0", math.inf),
        ("host=db connect_timeout=-1", math.inf),
    ],
)
def test_how_long_the_driver_may_take_follows_from_the_timeout_of_each_host(connect_calls, dsn, seconds):
    source = Source(dsn, None, None, 5.0)

    source.open()

    assert source.connect_seconds == seconds


def test_how_long_a_driver_may_take_follows_from_the_environment(connect_calls, monkeypatch):
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    source = Source("host=db", None, None, 5.0)

    source.open()

    assert source.connect_seconds == 3 * 8


def test_a_uri_is_completed_too(connect_calls):
    open_from("postgresql://me@db/work", name="cache")

    [parameters] = connect_calls
    assert (parameters["user"], parameters["host"], parameters["dbname"]) == ("me", "db", "work")
    assert parameters["fallback_application_name"] == "cache"


@pytest.mark.parametrize(("answer_timeout", "timeout"), [(0.1, "2"), (1, "2"), (2.0, "2"), (2.1, "3"), (30, "30")])
def test_the_answer_timeout_is_rounded_up_to_a_number_that_libpq_accepts(connect_calls, answer_timeout, timeout):
    open_from("host=db", answer_timeout=answer_timeout)

    assert connect_calls[0]["connect_timeout"] == timeout


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("connect_timeout", "90"), ("connect_timeout", "0"), ("fallback_application_name", "mine")],
)
def test_a_parameter_of_the_string_takes_precedence(connect_calls, keyword, value):
    open_from(f"host=db {keyword}={value}", name="other", answer_timeout=7)

    assert connect_calls[0][keyword] == value


def test_a_parameter_of_the_environment_takes_precedence_and_is_left_to_the_driver(connect_calls, monkeypatch):
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "60")

    open_from("host=db")

    assert "connect_timeout" not in connect_calls[0]


@pytest.mark.parametrize("dsn", ["host=a,b", "postgresql://a,b/work"])
def test_with_several_hosts_the_primary_is_wanted(connect_calls, dsn):
    open_from(dsn)

    assert connect_calls[0]["target_session_attrs"] == "read-write"


def test_with_several_hosts_in_the_environment_the_primary_is_wanted(connect_calls, monkeypatch):
    monkeypatch.setenv("PGHOST", "a,b")

    open_from("dbname=work")

    assert connect_calls[0]["target_session_attrs"] == "read-write"


def test_with_several_hosts_the_string_may_ask_for_another_one(connect_calls):
    open_from("host=a,b target_session_attrs=any")

    assert connect_calls[0]["target_session_attrs"] == "any"


def test_with_one_host_the_primary_is_not_asked_for(connect_calls):
    open_from("host=a")

    assert "target_session_attrs" not in connect_calls[0]


@pytest.fixture
def service(monkeypatch, tmp_path, connect_calls):
    """A function that writes the service "prod" to a file, which the environment names."""
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    return lambda *lines: (tmp_path / "services").write_text("\n".join(["[prod]", *lines]))


@pytest.mark.parametrize("hosts", ["host=a,b", "hostaddr=10.0.0.1,10.0.0.2"])
def test_with_several_hosts_in_the_service_file_the_primary_is_wanted(connect_calls, service, monkeypatch, hosts):
    service(hosts)
    open_from("service=prod")
    monkeypatch.setenv("PGSERVICE", "prod")
    open_from("dbname=work")

    assert [each["target_session_attrs"] for each in connect_calls] == ["read-write", "read-write"]
    assert connect_calls[0]["service"] == "prod"  # libpq reads the rest


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("target_session_attrs", "any"), ("connect_timeout", "90"), ("fallback_application_name", "mine")],
)
def test_a_parameter_of_the_service_takes_precedence_and_is_left_to_the_driver(connect_calls, service, keyword, value):
    service("host=a,b", f"{keyword}={value}")

    open_from("service=prod")

    assert keyword not in connect_calls[0]


def test_the_service_file_is_read_again_for_each_connection(connect_calls, service):
    service("host=a")
    source = Source("service=prod", None, None, 5)
    source.open()

    service("host=a,b")
    source.open()

    assert [each.get("target_session_attrs") for each in connect_calls] == [None, "read-write"]


def test_keepalive_may_be_turned_off_in_the_service_file(service):
    service("keepalives=0")

    assert not Source("service=prod", None, None, 5).keeps_alive


def test_a_service_file_that_cannot_be_read_is_refused_at_once(service):
    service("host")

    with pytest.raises(ValueError, match="syntax error in service file"):
        Source("service=prod", None, None, 5)


# A name with several addresses.


@pytest.fixture
def resolver(monkeypatch):
    """The addresses of each name. Others cannot be resolved."""
    known = {}

    def look_up(host, port, **_):
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port)) for number in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def test_after_a_standby_each_address_of_a_name_is_tried_for_the_primary(connect_calls, resolver):
    source = Source("host=db port=6432", None, None, 5)
    resolver["db"] = ["10.0.0.1", "10.0.0.2"]

    source.open()
    source.seeks_primary = True
    source.open()

    assert [each.get("hostaddr") for each in connect_calls] == [None, "10.0.0.1,10.0.0.2"]
    found = connect_calls[1]
    assert (found["host"], found["port"], found["target_session_attrs"]) == ("db,db", "6432,6432", "read-write")


def test_of_several_hosts_each_address_of_each_name_is_tried(connect_calls, resolver):
    resolver |= {"a": ["10.0.0.1", "10.0.0.2"], "b": ["10.0.0.3"]}

    open_from("host=a,b,/tmp,10.0.0.4,nosuch port=1,2,3,4,5")

    [found] = connect_calls
    assert found["host"] == "a,a,b,/tmp,10.0.0.4,nosuch"
    assert found["hostaddr"] == "10.0.0.1,10.0.0.2,10.0.0.3,,,"
    assert found["port"] == "1,1,2,3,4,5"


def test_names_with_one_address_are_left_to_the_driver(connect_calls, resolver):
    resolver |= {"a": ["10.0.0.1"], "b": ["10.0.0.3"]}

    open_from("host=a,b")

    assert connect_calls[0]["host"] == "a,b"
    assert not {"hostaddr", "port"} & connect_calls[0].keys()


def test_after_a_standby_a_name_with_one_address_is_not_asked_for_a_primary(connect_calls, resolver):
    source = Source("host=db", None, None, 5)
    source.seeks_primary = True
    resolver["db"] = ["10.0.0.1"]

    source.open()

    assert not {"hostaddr", "target_session_attrs"} & connect_calls[0].keys()


def test_each_connection_is_opened_with_parameters_of_its_own(connect_calls):
    source = Source("host=db", None, None, 5)
    source.open()
    connect_calls[0].clear()  # a driver may do that

    source.open()

    assert connect_calls[1]["host"] == "db"


def test_a_connection_string_can_reconnect_and_is_opened_here(connect_calls):
    source = Source("host=db", None, None, 5)

    assert source.can_reconnect
    assert source.from_dsn


def test_a_connection_string_that_cannot_be_read_is_refused_at_once(connect_calls):
    with pytest.raises(ValueError, match="no_such_keyword"):
        Source("no_such_keyword=1", None, None, 5)


def test_a_driver_that_does_not_exist_is_refused_at_once():
    with pytest.raises(UnknownBackend, match="nosuch"):
        Source("host=db", "nosuch", None, 5)


@pytest.mark.parametrize(("dsn", "wanted"), [("host=db", True), ("host=db keepalives=0", False)])
def test_keepalive_is_wanted_unless_the_string_says_no(connect_calls, dsn, wanted):
    assert Source(dsn, None, None, 5).keeps_alive is wanted


# A function.


def test_a_function_is_asked_for_each_connection(memory_server):
    source = Source(memory_server.connect, None, None, 5)

    first, second = source.open(), source.open()

    assert first is not second
    assert source.can_reconnect
    assert not source.from_dsn


@pytest.mark.parametrize(("cls", "manager"), [(Source, contextmanager), (AsyncSource, asynccontextmanager)])
def test_the_context_manager_of_a_pool_is_refused_at_once(cls, manager):
    def connection():
        yield

    if cls is AsyncSource:

        async def connection():
            yield

    with pytest.raises(TypeError, match=r"not a _.*GeneratorContextManager, which is a context manager: .* getconn"):
        cls(manager(connection)(), None, None, 5)


def test_nothing_is_connected_before_it_is_wanted(memory_server):
    Source(memory_server.connect, None, None, 5)

    assert memory_server.connections == []


def test_a_function_that_returns_the_latest_connection_again_is_refused(memory_server):
    same = memory_server.connect()
    source = Source(lambda: same, None, None, 5)
    source.open()

    with pytest.raises(SourceError, match="same connection again"):
        source.open()


def test_the_latest_connection_is_held_even_if_nothing_else_refers_to_it(memory_server):
    """Otherwise a new connection could have its address, and be taken for it."""
    made = []

    def connect():
        made.append(id(connection := memory_server.connect()))
        return connection

    source = Source(connect, None, None, 5)
    for _ in range(50):
        source.open().close()

    assert len(made) == 50


def test_an_additional_session_is_not_the_latest_connection(memory_server):
    same = memory_server.connect()
    source = Source(lambda: same, None, None, 5)
    source.open()

    with pytest.raises(SourceError, match="same connection again"):
        source.open_another()


def test_an_error_of_the_function_passes_through():
    with pytest.raises(ZeroDivisionError):
        Source(lambda: 1 / 0, None, None, 5).open()


def test_a_function_that_returns_no_connection_is_refused():
    with pytest.raises(UnknownBackend, match="NoneType"):
        Source(lambda: None, None, None, 5).open()


def test_a_driver_with_a_function_is_refused():
    with pytest.raises(ValueError, match=r"driver= goes with a connection string; a function has its own"):
        Source(lambda: None, "psycopg", None, 5)


# A connection, and other objects.


def test_a_connection_is_always_the_same_and_cannot_reconnect(memory_server):
    connection = memory_server.connect()
    source = Source(connection, None, None, 5)

    assert source.open() is source.open() is connection
    assert not source.can_reconnect


def test_a_driver_with_a_connection_is_refused(memory_server):
    with pytest.raises(ValueError, match="a MemoryConnection has its own"):
        Source(memory_server.connect(), "psycopg", None, 5)


class Pool:
    """Like a pool or an engine: its driver recognizes it, and says what to pass instead."""

    __module__ = "adriver.pool"


def test_an_object_that_a_driver_refuses_is_refused_at_once_in_its_words(monkeypatch):
    def wrap(connection):
        raise TypeError(f"pass one connection, not a {type(connection).__name__}: pool.getconn()")

    monkeypatch.setitem(registry._registered, "adriver", wrap)

    with pytest.raises(TypeError, match=r"pass one connection, not a Pool: pool.getconn\(\)"):
        Source(Pool(), None, None, 5)


@pytest.mark.parametrize("source", [None, 5, b"host=db", ["host=db"]])
def test_any_other_object_is_refused_at_once(source):
    with pytest.raises(UnknownBackend):
        Source(source, None, None, 5)


class NoConnection:
    """What no backend fits, such as a pool of the user's."""

    closed = False

    def close(self):
        self.closed = True


class SmallPool:
    """A pool of one object."""

    def __init__(self, only):
        self.free = [only]

    def getconn(self):
        return self.free.pop()

    def putconn(self, connection):
        self.free.append(connection)


def test_what_no_backend_fits_is_not_closed_but_returned_to_the_pool_that_lent_it():
    other, pool = NoConnection(), SmallPool(NoConnection())

    for function in (lambda: other, pool.getconn, pool.getconn):
        with pytest.raises(UnknownBackend):
            Source(function, None, None, 5.0).open()

    assert not other.closed
    assert len(pool.free) == 1


def test_a_connection_that_is_discarded_ends_and_goes_back_to_the_pool_that_lent_it(server):
    pool = SmallPool(server.connect())
    (only,) = pool.free
    source = Source(partial(pool.getconn), None, None, 5.0)
    backend = source.open()
    assert pool.free == []

    source.discard(backend)
    source.discard(backend)

    assert pool.free == [only]
    with pytest.raises(ConnectionLost):
        only.fetch()
