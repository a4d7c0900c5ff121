"""Messages with impossible lengths, types and contents: an error in bounded time and memory, whatever the driver.

A server may be hostile, and so may be somebody in between. libpq checks lengths by itself; pg8000 believes them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import pgnotify
from pgnotify.connecting import conninfo
from pgnotify.connecting.socket_handle import SocketHandle
from pgnotify.errors import ConnectionLost
from pgnotify.testing._proxy import Proxy, notification
from tests.helpers.backends import until_lost
from tests.helpers.scripted import (
    AUTHENTICATED,
    STARTED,
    TLS_REQUEST,
    ScriptedServer,
    dripping,
    endless_parameters,
    message,
)
from tests.helpers.waiting import PATIENCE

MEGABYTE = 2**20
MOST_MEGABYTES = 64

CODES = [bytes([code]) for code in b"ANSERKTDCZ123ntIsGHWcdvx\0\xff"]
LENGTHS = [-(2**31), -5, -1, 0, 1, 3, 4, 5, 8, 9, 10, 11, 30_000, 2**24, 2**30, 2**31 - 1]
BODIES = [
    *(b"", b"\0", b"\0" * 64, b"\xff" * 64, b"x" * 64, struct.pack("!i", 3), struct.pack("!i", 5) + b"salt"),
    *(b"client_encoding\0bogus\0", b"SERROR\0C42601\0Mwrong\0\0", b"\0\x01n\0" + b"\0" * 18),
]
messages = st.builds(message, st.sampled_from(CODES), st.sampled_from(BODIES), st.sampled_from([None, *LENGTHS]))
NASTY = [
    *(message(b"A", length=length) for length in (-1, 3, 4, 9, 2**31 - 1)),
    message(b"A", b"\0" * 4 + b"no zero"),
    message(b"A", b"\0" * 4 + b"channel\0", length=9),
    notification("channel", b"payload") + message(b"A", b"\0" * 64, length=-1),
    message(b"E", length=-1),
    message(b"D", b"\0\x01" + struct.pack("!i", 2**31 - 1)),
    message(b"R", struct.pack("!i", 3)),  # asks for the password, in the clear
    message(b"Z", b"x"),
    message(b"S", b"client_encoding\0bogus\0"),
    message(b"\0", length=4),
]


def nasty_examples(function: Any) -> Any:
    for each in NASTY:
        function = example(each)(function)
    return function


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Fail if the process has grown by much at any time, where the system can tell."""
    status = Path("/proc/self/status")
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to the present size
    before = _peak_in_megabytes(status)
    yield
    assert _peak_in_megabytes(status) - before < MOST_MEGABYTES


def _peak_in_megabytes(status: Path) -> int:
    if not status.exists():
        return 0
    (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def fetch(backend: Any) -> None:
    backend.wait(PATIENCE)
    for _ in range(3):
        backend.fetch()


OPERATIONS: dict[str, Callable[[Any], object]] = {
    "fetch": fetch,
    "wait": lambda backend: backend.wait(0.01),
    "listen": lambda backend: backend.listen("channel"),
    "unlisten": lambda backend: backend.unlisten("channel"),
    "notify": lambda backend: backend.notify("channel", "payload"),
    "check": lambda backend: backend.check(),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.drivers("psycopg-autocommit", "psycopg2-autocommit", "pg", "pg8000.native")
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages)
@nasty_examples
@example(b"\xff\x00\x00\x00\x04")
def test_no_message_does_more_than_end_the_connection(kind, address, operation: str, said: bytes):
    with Proxy(address.host, address.port) as proxy:
        db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
        backend = pgnotify.wrap(db).backend
        if hasattr(backend, "limit_rest"):
            backend.limit_rest(0.05)
        backend.listen("channel")
        # libpq waits for the rest of a long message as for any answer. The deadline is the Listener's.
        expected = (ConnectionLost, backend.DatabaseError)
        with SocketHandle(backend.fileno()) as handle, bounded_memory(), suppress(*expected):
            proxy.say(said + b"\0" * MEGABYTE * (b"\0" * 64 in said))
            with handle.deadline(0.1):
                OPERATIONS[operation](backend)
                backend.transaction_status()
                backend.fetch()
        with suppress(Exception):  # the driver's, about the loss
            db.close()


@pytest.mark.parametrize("said", NASTY, ids=repr)
@pytest.mark.drivers("pg8000.dbapi")
def test_it_is_the_loss_of_a_connection_of_pg8000(kind, address, proxy, said: bytes):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(db).backend
    backend.limit_rest(0.05)
    backend.listen("channel")

    proxy.say(said + b"\0" * 1000)
    _, lost = until_lost(backend)

    assert lost.__cause__ is not None
    with suppress(Exception):
        db.close()


@pytest.mark.parametrize("said", NASTY, ids=repr)
@pytest.mark.drivers("pg8000.dbapi")
def test_it_is_the_loss_of_a_connection_of_pg8000_during_a_statement(kind, address, proxy, said: bytes):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(db).backend
    backend.limit_rest(0.05)
    backend.listen("channel")

    proxy.say(said + b"\0" * 1000)
    with SocketHandle(backend.fileno()) as handle, pytest.raises(ConnectionLost):
        notify_until_lost(backend, handle)
    with suppress(Exception):
        db.close()


def notify_until_lost(backend: Any, handle: SocketHandle) -> None:
    for _ in range(3):
        with handle.deadline(0.5):
            backend.notify("other")
            backend.fetch()


@pytest.mark.drivers("pg8000")
def test_what_came_before_an_impossible_message_is_fetched_first(kind, address, proxy):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(db).backend
    backend.listen("channel")

    proxy.say(notification("channel", b"last words") + message(b"A", b"\0" * 64, length=-1))
    assert backend.wait(PATIENCE)

    assert [each.payload for each in backend.fetch()] == ["last words"]
    with pytest.raises(ConnectionLost):
        backend.fetch()
    with suppress(Exception):
        db.close()


@pytest.mark.drivers("pg8000")
def test_nothing_that_follows_an_impossible_message_is_taken_for_a_notification(kind, address, proxy):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(db).backend
    backend.listen("channel")

    proxy.say(notification("channel", b"real") + message(b"A", length=-1) + notification("channel", b"forged"))
    with pytest.raises(ConnectionLost):
        backend.notify("other")

    assert [each.payload for each in until_lost(backend)[0]] == ["real"]
    with suppress(Exception):
        db.close()


@pytest.mark.drivers("pg8000")
def test_a_server_is_not_told_the_password_again(kind, address, proxy):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    db.password = b"hunter"
    sent = []
    db._send_message = lambda code, data: sent.append((code, data))
    backend = pgnotify.wrap(db).backend

    proxy.say(message(b"R", struct.pack("!i", 3)))
    until_lost(backend)

    assert sent == []
    db.close()


# Before the session begins.


STARTS = st.sampled_from([b"", AUTHENTICATED, message(b"R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0")])


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STARTS, messages)
@example(b"", message(b"R", length=-1))
@example(b"", message(b"R", length=3))
@example(b"", message(b"R", length=2**31 - 1))
@example(b"", message(b"E", length=-1))
@example(AUTHENTICATED, message(b"S", b"client_encoding\0bogus\0") + message(b"E", b"Mx\0\0"))
@example(AUTHENTICATED, message(b"K", b"x") + message(b"Z", b"I"))
def test_a_failed_start_is_an_error_of_the_driver(driver: str, start: bytes, said: bytes):
    with ScriptedServer(start + said + b"\0" * MEGABYTE * (b"\0" * 64 in said)) as server, bounded_memory():
        dsn = f"host=127.0.0.1 port={server.port} user=u password=p dbname=d sslmode=disable connect_timeout=2"
        try:
            connection = pgnotify.connect(dsn, driver=driver)
        except Exception as error:
            assert errors_of(driver) & {*type(error).__mro__}, error  # noqa: PT017  # any class but these
        else:  # it began, and ended at once
            with suppress(Exception):
                connection.close()


def errors_of(driver: str) -> set[type]:
    if driver == "pg8000":
        import pg8000.exceptions

        return {pg8000.exceptions.Error}
    if driver == "pygresql":
        import pg

        return {pg.Error}
    return {getattr(pytest.importorskip(driver), "Error")}  # noqa: B009


@pytest.mark.drivers("pg8000")
def test_a_server_that_never_ends_its_start_is_left():
    with ScriptedServer(endless_parameters) as server, bounded_memory():
        dsn = f"host=127.0.0.1 port={server.port} user=u sslmode=disable"
        with pytest.raises(pg8000_error(), match="announced"):
            pgnotify.connect(dsn, driver="pg8000")


@pytest.mark.drivers("pg8000")
def test_a_server_that_falls_silent_in_its_start_is_left_after_connect_timeout():
    with ScriptedServer(AUTHENTICATED + b"S\0\0", stay=True) as server:
        dsn = f"host=127.0.0.1 port={server.port} user=u sslmode=disable connect_timeout=1"
        with pytest.raises((pg8000_error(), OSError)):
            pgnotify.connect(dsn, driver="pg8000")


# At which place a server begins to send one byte now and then, each in time for a read.
DRIPS = {
    "TLS": {"answer": partial(dripping, b"\x16\x03\x03\x40\x00\x02"), "offers_tls": True},
    "authentication": {"answer": partial(dripping, message(b"R", b"\0\0\0\x0aSCRAM", length=30_000))},
    "parameters": {"answer": partial(dripping, AUTHENTICATED + message(b"S", b"name\0value", length=30_000))},
    "notices": {"answer": partial(dripping, AUTHENTICATED + message(b"N", b"SNOTICE", length=30_000))},
    "the first query": {"answer": partial(dripping, STARTED + message(b"N", b"SNOTICE", length=30_000))},
    "nowhere, it is silent": {"answer": STARTED, "stay": True},
    "nowhere, it is silent from the start": {"answer": b"", "stay": True, "offers_tls": True},
}


@pytest.mark.drivers("pg8000")
@pytest.mark.parametrize("place", DRIPS)
def test_each_host_has_one_connect_timeout_for_all_that_comes_before_the_session(place: str):
    from pgnotify.backends import pg8000  # below the check that a connect_timeout has no fraction

    with ScriptedServer(**DRIPS[place]) as server:
        dsn = f"host=127.0.0.1,127.0.0.1 port={server.port} user=u password=p target_session_attrs=read-write"
        with pytest.raises(pg8000_error(), match=r"(.* connect_timeout of 0.1 s){2}$"):
            pg8000.connect(conninfo.parse(dsn) | {"connect_timeout": "0.1"})

    # After TLS there is no time for another attempt without it.
    one_host = [TLS_REQUEST] if DRIPS[place].get("offers_tls") else [TLS_REQUEST, 3 << 16]
    assert server.requests == one_host * 2


def pg8000_error() -> type[Exception]:
    import pg8000.exceptions

    error: type[Exception] = pg8000.exceptions.Error
    return error
