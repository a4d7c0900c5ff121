"""A connection that is shut down from outside, and one that a forked child forgets, on every kind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pgnotify import ConnectionLost, wrap
from pgnotify.connecting.socket_handle import SocketHandle
from pgnotify.errors import Unanswered
from tests.helpers.environment import with_address
from tests.helpers.threads import Background, is_in
from tests.helpers.waiting import PATIENCE, eventually

ROOT = Path(__file__).parents[2]

CALLS = {
    "listen": lambda backend, channel: backend.listen(channel),
    "unlisten": lambda backend, channel: backend.unlisten(channel),
    "notify": lambda backend, channel: backend.notify(channel, "x"),
    "wait": lambda backend, channel: backend.wait(None) and backend.fetch(),
}


@pytest.fixture
def frozen(connect, address, proxy):
    """The backend of a connection behind a proxy that has fallen silent."""
    backend = wrap(connect(address._replace(host=proxy.host, port=proxy.port))).backend
    backend.fetch()  # a holder has its connection only after the first call
    proxy.freeze()
    return backend


@pytest.fixture
def socket_handle(frozen):
    with SocketHandle(frozen.fileno()) as made:
        yield made


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_waits_for_the_server_ends_when_the_connection_is_shut_down(frozen, socket_handle, channel, call):
    calling = Background(CALLS[call], frozen, channel)
    eventually(lambda: is_in(calling, call))

    socket_handle.shut_down()

    with pytest.raises(ConnectionLost) as caught:
        calling.ended()
    assert caught.value.__cause__ is not None
    assert not isinstance(caught.value, Unanswered)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_is_not_answered_in_time_is_unanswered(user, frozen, socket_handle, channel, call):
    began = time.monotonic()

    with pytest.raises(Unanswered, match=r"no answer within 0\.2 s") as caught, socket_handle.deadline(0.2):
        CALLS[call](frozen, channel)

    assert isinstance(caught.value.__cause__, (user.driver.Error, OSError))
    assert 0.2 <= time.monotonic() - began < PATIENCE / 2


def test_a_call_that_is_answered_in_time_changes_nothing(connect, channel):
    backend = wrap(connect()).backend
    backend.fetch()

    with SocketHandle(backend.fileno()) as socket_handle, socket_handle.deadline(PATIENCE):
        backend.listen(channel)
        backend.notify(channel, "x")

    backend.wait(PATIENCE)
    assert [note.payload for note in backend.fetch()] == ["x"]
    assert not socket_handle.was_shut_down


# Forks. The child is a complete Python process, because the objects that its interpreter deletes at exit matter.

SCRIPT = textwrap.dedent(
    """
    import gc, os, sys
    from contextlib import suppress

    import pgnotify
    from pgnotify.connecting.socket_handle import SocketHandle
    from tests import kinds
    from tests.helpers.environment import given_address
    from tests.helpers.user import User

    name, forgets, closes = sys.argv[1:]
    address = given_address()
    (kind,) = (kind for kind in kinds.KINDS if kind.name == name)
    connection = kind.connect(address)
    user = User(kind, connection)
    pid = user.pid
    backend = pgnotify.wrap(connection).backend
    backend.fetch()
    socket_handle = SocketHandle(backend.fileno())

    child = os.fork()
    if child == 0:
        if forgets == "True":
            socket_handle.forget_in_child()
        if closes == "True":
            with suppress(Exception):
                connection.close()
        del connection, user, backend
        gc.collect()
        sys.exit(0)

    # Messages of the child are in the same stream, before the answer to our next question.
    assert os.waitpid(child, 0)[1] == 0
    try:
        print("same session" if user.pid == pid else "another session")
    except Exception as error:
        print("lost:", type(error).__name__)
    """
)


def after_a_child(kind, address, *, forgets, closes):
    """Return the parent's report on its session after a child that it had forked has ended."""
    arguments = [kind.name, str(forgets), str(closes)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *arguments],
        env={**with_address(address), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("closes", [True, False], ids=["closing", "ending"])
def test_a_child_that_forgets_leaves_the_session_to_its_parent(kind, address, closes):
    assert after_a_child(kind, address, forgets=True, closes=closes) == "same session"


def test_a_child_that_closes_without_having_forgotten_ends_the_session(kind, address):
    assert after_a_child(kind, address, forgets=False, closes=True).startswith("lost")


# SQLAlchemy closes a connection that is deleted, in any process.
@pytest.mark.drivers("pygresql", "sqlalchemy-psycopg", "sqlalchemy-psycopg2", "sqlalchemy-pg8000", "sqlalchemy-raw")
def test_a_child_that_merely_exits_ends_the_session_if_the_driver_does_not_check_whose_it_is(kind, address):
    assert after_a_child(kind, address, forgets=False, closes=False).startswith("lost")
