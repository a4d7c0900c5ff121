"""Behind a real PgBouncer: what its modes do to LISTEN, and what of it a client is not told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

import pgnotify
from pgnotify.registry import DRIVERS
from pgnotify.testing._wire import Session, SQLError
from tests.helpers.backends import collect, until_lost
from tests.helpers.environment import with_address
from tests.helpers.pooler import DROPPED, NOT_INSTALLED, PgBouncer, find_pgbouncer
from tests.helpers.waiting import eventually
from tests.kinds import Address

pytestmark = pytest.mark.drivers(*DRIVERS)

Opener = Callable[..., PgBouncer]
OTHER_END_OF_THE_SERVER = "closing because: server conn crashed?"
"""What the log says when a connection to the server has ended, and nobody asked for that."""


@pytest.fixture
def installed() -> None:
    """Skip where there is no PgBouncer."""
    if find_pgbouncer() is None:
        pytest.skip(NOT_INSTALLED)


@pytest.fixture
def pooler(installed: None, address: Address) -> Iterator[Opener]:
    """A function that starts a PgBouncer in front of the server, in a mode, with further settings."""
    with ExitStack() as opened:

        def start(mode: Any, **settings: Any) -> PgBouncer:
            made = PgBouncer(address, mode, settings=settings)
            return opened.enter_context(made)

        yield start


@pytest.fixture
def connect(driver: str) -> Iterator[Callable[..., pgnotify.Connection]]:
    """A function that connects with the driver; what it has opened is closed at the end."""
    with ExitStack() as opened:

        def open_one(dsn: str, **options: str) -> pgnotify.Connection:
            return opened.enter_context(pgnotify.connect(dsn, driver, **options))

        yield open_one


def _query(connection: pgnotify.Connection, sql: str) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = connection.backend.query(sql)  # type: ignore[attr-defined]
    return rows


def _heard(connection: pgnotify.Connection) -> list[tuple[str, str]]:
    return [(note.channel, note.payload) for note in connection.fetch()]


def test_without_a_pooler_the_driver_knows_the_pid_of_the_server(connect, address):
    backend = connect(address.dsn).backend

    assert backend.server_pid == backend.check().server_pid


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_behind_a_pooler_the_server_that_answers_has_another_pid(connect, pooler, mode):
    backend = connect(pooler(mode).dsn).backend

    assert backend.server_pid != backend.check().server_pid


def test_in_session_mode_the_same_server_answers_each_time(connect, pooler):
    opened = pooler("session")
    backend = connect(opened.dsn).backend
    first = backend.check()

    with Session(*opened.address) as other:
        other.sql("BEGIN")
        assert backend.check().server_pid == first.server_pid


def test_in_transaction_mode_another_server_may_answer_each_time(connect, pooler):
    opened = pooler("transaction")
    backend = connect(opened.dsn).backend
    first = backend.check()

    with Session(*opened.address) as other:
        other.sql("BEGIN")  # takes the connection that was used last
        assert backend.check().server_pid != first.server_pid


def test_in_session_mode_notifications_arrive(connect, pooler, session, channel):
    connection = connect(pooler("session").dsn)
    connection.listen(channel)

    session.notify(channel, "it's")

    assert [note.payload for note in collect(connection.backend, 1)] == ["it's"]


def test_in_transaction_mode_listen_succeeds_and_nothing_arrives(connect, pooler, session, channel):
    opened = pooler("transaction")
    connection = connect(opened.dsn)
    connection.listen(channel)

    session.notify(channel)
    eventually(lambda: DROPPED in opened.log())

    assert connection.backend.check().channels == {channel}  # so that does not show it
    assert _heard(connection) == []


def test_in_transaction_mode_what_one_sends_to_oneself_arrives_nevertheless(connect, pooler, channel):
    connection = connect(pooler("transaction").dsn)
    connection.listen(channel)

    connection.notify(channel, "so this does not show it either")

    assert _heard(connection) == [(channel, "so this does not show it either")]


def test_in_transaction_mode_somebody_else_hears_what_one_listens_to(connect, pooler, session, channel):
    opened = pooler("transaction")
    connection = connect(opened.dsn)
    connection.listen(channel)

    with Session(*opened.address) as other:
        other.sql("BEGIN")  # on the only connection to the server
        session.notify(channel, "strayed")
        other.sql("COMMIT")

        assert other.received() == [(channel, "strayed")]
    assert _heard(connection) == []


def test_in_session_mode_the_end_of_the_servers_connection_is_the_end_of_ours(connect, pooler, session, channel):
    connection = connect(pooler("session").dsn)
    connection.listen(channel)

    session.terminate(connection.backend.check().server_pid)

    assert until_lost(connection.backend)[0] == []


def test_in_transaction_mode_the_end_of_the_servers_connection_is_told_to_nobody(connect, pooler, session, channel):
    opened = pooler("transaction")
    connection = connect(opened.dsn)
    connection.listen(channel)
    pid = connection.backend.check().server_pid

    session.terminate(pid)
    eventually(lambda: OTHER_END_OF_THE_SERVER in opened.log())

    assert not connection.wait(0)
    after = connection.backend.check()
    assert (after.channels, after.server_pid == pid) == (frozenset(), False)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_the_end_of_the_pooler_is_a_loss_and_one_connects_again_when_it_is_back(connect, pooler, mode, channel):
    opened = pooler(mode)
    connection = connect(opened.dsn)
    connection.listen(channel)

    opened.stop()
    assert until_lost(connection.backend)[0] == []
    with pytest.raises(Exception, match=r"(?i)refused"):
        connect(opened.dsn)

    opened.start()
    connect(opened.dsn).listen(channel)


def test_connecting_says_nothing_of_the_server_behind_only_a_statement_does(connect, pooler, channel):
    opened = pooler("session", default_pool_size=1, query_wait_timeout=1)  # by default two minutes
    with Session(*opened.address):  # has the pool's only connection eventually it leaves
        connection = connect(opened.dsn)

        with pytest.raises(pgnotify.ConnectionLost):
            connection.listen(channel)


@pytest.mark.parametrize("name", ["application_name", "fallback_application_name", "client_encoding"])
def test_a_pooler_takes_what_is_said_at_the_start(connect, pooler, name):
    connection = connect(pooler("session").dsn, **{name: "LATIN1"})

    shown = _query(connection, f"SHOW {name.removeprefix('fallback_')}")
    assert shown == [("LATIN1",)]


def test_a_pooler_refuses_options_unless_it_is_told_to_ignore_them(connect, pooler):
    with pytest.raises(Exception, match="unsupported startup parameter"):
        connect(pooler("session").dsn, options="-c search_path=pg_catalog")

    ignoring = pooler("session", ignore_startup_parameters="options")
    assert _query(connect(ignoring.dsn, options="-c search_path=pg_catalog"), "SELECT '1'::pg_catalog.text") == [("1",)]


# The fixture itself.

_PARENT = """
import json, signal
from tests.helpers.environment import given_address
from tests.helpers.pooler import PgBouncer
with PgBouncer(given_address()) as pooler:
    print(json.dumps([pooler.port, str(pooler._guard.directory)]), flush=True)
    signal.pause()
"""


@pytest.mark.usefixtures("installed")
def test_a_pooler_and_its_directory_go_even_when_the_tests_are_killed(address):
    command = [sys.executable, "-c", _PARENT]
    environment = with_address(address) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        try:
            port, directory = json.loads(parent.stdout.readline())
            Session(*address._replace(port=port)).close()
        finally:
            parent.send_signal(signal.SIGKILL)

    eventually(lambda: not Path(directory).exists())
    eventually(lambda: not _is_served(address._replace(port=port)))


@pytest.mark.usefixtures("installed")
def test_a_pooler_that_cannot_start_says_why_and_leaves_nothing_behind(address):
    broken = PgBouncer(address, settings={"auth_type": "nonsense"})

    with pytest.raises(RuntimeError, match=r"not ready.*exit code 1"):
        broken.__enter__()

    assert broken._guard is None


def _is_served(address: Address) -> bool:
    with suppress(OSError, SQLError), Session(*address):
        return True
    return False
