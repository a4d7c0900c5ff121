"""What our own backends promise beyond what every backend does, on each kind of connection.

What every backend promises is `pgnotify.testing.BackendConformance`, see `test_conformance.py`; what is special to a
driver has a module of its own.
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace
from typing import Any

import pytest

import pgnotify
from pgnotify.errors import ConnectionLost
from pgnotify.protocol import Backend
from pgnotify.testing._proxy import notification
from pgnotify.testing._wire import Session
from pgnotify.testing.address import Address
from tests.helpers.backends import collect_payloads, until_lost
from tests.helpers.network import through
from tests.helpers.sending import send_numbers
from tests.helpers.user import User
from tests.helpers.waiting import PATIENCE


@pytest.fixture
def backend(db) -> Backend:
    return pgnotify.wrap(db).backend


def test_it_names_the_versions_of_what_it_is_made_of(backend):
    driver, libpq, protocol = backend.versions

    name, release = driver.split()[:2]
    with suppress(PackageNotFoundError):  # it comes as a distribution of another name
        assert version(name) == release
    assert libpq is None or re.fullmatch(r"\d\d\.\d+", libpq)
    assert re.fullmatch(r"3\.\d", protocol)


# What it costs


class Polls:
    """Counts calls of poll()."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []

    def make(self) -> Any:
        poller = select.poll()
        return SimpleNamespace(register=poller.register, poll=lambda timeout: self._poll(poller, timeout))

    def _poll(self, poller: Any, timeout: float | None) -> Any:
        self.timeouts.append(timeout)
        return poller.poll(timeout)


@pytest.fixture
def polls(monkeypatch) -> Polls:
    counted = Polls()
    monkeypatch.setattr("pgnotify.waiting.select", SimpleNamespace(poll=counted.make, POLLIN=select.POLLIN))
    return counted


def test_a_wait_of_no_time_only_looks(backend, session, channel, polls):
    backend.listen(channel)

    assert backend.wait(0) is False

    assert polls.timeouts == [0]


def test_a_wait_lasts_as_long_as_was_said_and_polls_once(backend, channel, polls):
    backend.listen(channel)
    begun = time.monotonic()

    assert backend.wait(0.15) is False

    assert time.monotonic() - begun >= 0.15
    assert polls.timeouts == [150]


def test_a_fetch_never_waits(backend, channel, polls):
    backend.listen(channel)

    assert backend.fetch() == []

    assert set(polls.timeouts) <= {0}


# Encodings


def test_a_payload_that_the_client_encoding_lacks_ends_the_connection(backend, user, session):
    user.run("SET client_encoding TO LATIN1")
    backend.listen("plain")

    session.notify("plain", "€")  # the server cannot say it, so it goes

    arrived, lost = until_lost(backend)
    assert arrived == []
    assert lost.__cause__ is not None
    with pytest.raises(ConnectionLost):
        backend.fetch()


@pytest.fixture(scope="module")
def latin1(address) -> Iterator[Address]:
    """A database that is not in UTF-8, with the client_encoding that goes with it."""
    with Session(*address) as session:
        session.sql("CREATE DATABASE latin1 TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'")
        session.sql("ALTER DATABASE latin1 SET client_encoding TO LATIN1")
        yield address._replace(database="latin1")
        session.sql("DROP DATABASE latin1 (FORCE)")


@pytest.mark.parametrize("verb", ["listen", "notify"])
def test_what_the_client_encoding_cannot_express_is_refused_and_does_no_harm(latin1, connect, kind, verb):
    user = User(kind, connect(latin1))
    backend = pgnotify.wrap(user.db).backend
    backend.listen("plain")

    with pytest.raises(Exception, match=r"encod|UTF8|codec"):  # the driver's own
        backend.listen("€") if verb == "listen" else backend.notify("plain", "€")

    assert user.run("SELECT 2") == [(2,)]
    backend.notify("plain", "usable")
    assert collect_payloads(backend, 1) == ["usable"]


def test_a_fetch_ends_although_more_has_arrived(connect, address, proxy):
    backend = pgnotify.wrap(connect(through(proxy, address))).backend
    backend.listen("c")
    sent = [str(number) for number in range(3000)]
    proxy.say(b"".join(notification("c", payload.encode()) for payload in sent))
    assert backend.wait(PATIENCE) is True

    first = [each.payload for each in backend.fetch()]

    assert len(first) <= 1000
    assert first + collect_payloads(backend, len(sent) - len(first)) == sent


# How the server stands, in a statement of our own


@pytest.fixture(scope="module")
def unencoded(address) -> Iterator[Address]:
    """A database of which nobody knows the encoding."""
    with Session(*address) as session:
        session.sql("CREATE DATABASE unencoded TEMPLATE template0 ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C'")
        yield address._replace(database="unencoded")
        session.sql("DROP DATABASE unencoded (FORCE)")


def test_utf_8_arrives_where_nobody_knows_the_encoding(unencoded, connect, kind):
    if kind.name.startswith(("sqlalchemy", "django")):
        pytest.skip("not applicable: the wrapper cannot use such a database")
    user = User(kind, connect(unencoded))
    user.run("SET client_encoding TO SQL_ASCII")
    backend = pgnotify.wrap(user.db).backend
    backend.listen("plain")
    with Session(*unencoded) as sender:
        sender.notify("plain", "日本")

    assert collect_payloads(backend, 1) == ["日本"]


LISTEN_TO_LATIN1 = r"""DO $$BEGIN EXECUTE E'LISTEN "caf\xe9"'; END$$"""


@pytest.mark.parametrize("client_encoding", [None, "SQL_ASCII"])
def test_a_check_survives_names_that_nobody_can_decode(unencoded, connect, kind, client_encoding):
    if kind.name.startswith(("sqlalchemy", "django")):
        pytest.skip("not applicable: the wrapper cannot use such a database")
    user = User(kind, connect(unencoded))
    if client_encoding:
        user.run(f"SET client_encoding TO {client_encoding}")
    user.run(LISTEN_TO_LATIN1)
    backend = pgnotify.wrap(user.db).backend

    assert [backend.check().channels for _ in range(2)] == [{"caf\udce9"}] * 2
    assert user.run("SELECT 2") == [(2,)]


@pytest.mark.parametrize(
    ("client_encoding", "name"), [("LATIN1", "café"), ("UTF8", "café"), ("SQL_ASCII", "caf\udce9")]
)
def test_a_check_tells_names_as_they_come_in_the_client_encoding(latin1, connect, kind, client_encoding, name):
    if kind.name.startswith(("sqlalchemy", "django")) and client_encoding == "SQL_ASCII":
        pytest.skip("not applicable: the wrapper cannot use such an encoding")
    user = User(kind, connect(latin1))
    user.run(f"SET client_encoding TO {client_encoding}")
    user.run(LISTEN_TO_LATIN1)

    assert pgnotify.wrap(user.db).backend.check().channels == {name}
    assert user.run("SELECT 2") == [(2,)]


def test_a_check_may_be_the_first_use_and_swallows_nothing(backend, user, session):
    user.run("LISTEN plain")  # by hand, so that nothing of ours has prepared the driver
    session.notify("plain", "before any verb")

    backend.check()

    assert collect_payloads(backend, 1) == ["before any verb"]


# Whose connection it is


def test_two_backends_on_one_connection_see_one_queue(db, session, channel):
    first, second = pgnotify.wrap(db).backend, pgnotify.wrap(db).backend
    first.listen(channel)

    sent = send_numbers(session, channel, 20)
    assert first.wait(20) is True
    assert second.wait(20) is True

    assert collect_payloads(second, 20) == sent
    assert first.wait(0) is False
    assert first.fetch() == []


def test_two_backends_on_one_connection_are_lost_together(db, user, session, channel):
    first, second = pgnotify.wrap(db).backend, pgnotify.wrap(db).backend
    first.listen(channel)
    session.terminate(user.pid)

    until_lost(first)

    with pytest.raises(ConnectionLost):
        second.fetch()


def test_a_second_wrap_goes_on_where_the_first_one_ended(db, session, channel):
    pgnotify.wrap(db).backend.listen(channel)
    session.notify(channel, "between them")

    assert collect_payloads(pgnotify.wrap(db).backend, 1) == ["between them"]


def test_the_proxy_of_a_tracing_library_is_as_good_as_the_connection(db, session, channel):
    wrapt = pytest.importorskip("wrapt")
    backend = pgnotify.wrap(wrapt.ObjectProxy(db)).backend
    backend.listen(channel)

    session.notify(channel, "traced")

    assert collect_payloads(backend, 1) == ["traced"]
    backend.notify(channel, "and back")
    assert collect_payloads(backend, 1) == ["and back"]


def test_wrapping_changes_nothing_and_sends_nothing(db, user, session):
    pid = user.pid
    before = session.sql(f"SELECT query, state_change FROM pg_stat_activity WHERE pid = {pid}")

    pgnotify.wrap(db)

    assert session.sql(f"SELECT query, state_change FROM pg_stat_activity WHERE pid = {pid}") == before


@pytest.mark.parametrize("verb", ["fileno", "server_pid"])
def test_to_ask_one_that_was_invalidated_for_its_descriptor_opens_no_new_connection(db, backend, verb):
    if not hasattr(db, "invalidated"):
        pytest.skip("not applicable: only SQLAlchemy's connect anew by themselves")
    backend.listen("plain")
    db.rollback()
    db.invalidate()

    with pytest.raises(ConnectionLost):
        backend.fileno() if verb == "fileno" else backend.server_pid

    assert db.invalidated


# Prepared statements


def test_a_statement_whose_plan_the_session_has_lost_runs_unprepared_from_then_on(backend, user):
    echo = "SELECT $1::pg_catalog.text"
    assert backend.query(echo, ("a",), prepare=True) == [("a",)]

    user.run("DEALLOCATE ALL")

    for text in ("b", "c"):
        assert backend.query(echo, (text,), prepare=True) == [(text,)]
    assert backend.query("SELECT pg_catalog.count(*)::text FROM pg_catalog.pg_prepared_statements") == [("0",)]
