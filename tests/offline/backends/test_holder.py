"""A holder of a connection offers the same beyond the verbs as the backend of that connection."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pgnotify import Backend, ConnectionLost
from pgnotify.backends._holder import HolderBackend
from pgnotify.errors import TransactionError
from pgnotify.protocol import listen_to_all, unlisten_all


def holding(connection, backend_of=lambda connection: connection):
    holder = SimpleNamespace(connection=connection)
    return holder, HolderBackend(holder, lambda holder: holder.connection, backend_of)


@pytest.fixture
def connection(server):
    return server.connect()


def test_it_is_forwarded(connection):
    _, backend = holding(connection)

    backend.listen_many(["jobs", "stop_jobs"])

    assert backend.check() == connection.check()
    assert backend.check().channels == {"jobs", "stop_jobs"}
    assert backend.server_pid == connection.server_pid
    assert backend.fileno() == connection.fileno()

    backend.unlisten_many(["jobs", "unknown"])
    assert backend.check().channels == {"stop_jobs"}


def test_an_exchange_after_a_listen_to_many_is_told_once(server, connection):
    holder, backend = holding(connection)
    backend.listen_many(["jobs", "stop_jobs"])

    holder.connection = server.connect()

    with pytest.raises(ConnectionLost, match="replaced by a new one"):
        backend.check()
    backend.listen_many(["jobs"])
    assert backend.check().server_pid == holder.connection.pid
    assert backend.fileno() == holder.connection.fileno()


def test_an_exchange_after_an_unlisten_of_all_of_many_is_no_loss(server, connection):
    holder, backend = holding(connection)
    backend.listen_many(["jobs", "stop_jobs"])
    backend.unlisten_many(["jobs", "stop_jobs"])

    holder.connection = server.connect()

    assert backend.check().server_pid == holder.connection.pid


def test_an_exchange_after_an_unlisten_of_some_of_many_is_told(server, connection):
    holder, backend = holding(connection)
    backend.listen_many(["jobs", "stop_jobs"])
    backend.unlisten_many(["jobs"])

    holder.connection = server.connect()

    with pytest.raises(ConnectionLost, match="replaced by a new one"):
        backend.unlisten_many(["stop_jobs"])


def test_an_exchange_after_an_unlisten_of_many_that_was_refused_is_told(server, connection):
    holder, backend = holding(connection)
    backend.listen_many(["jobs", "stop_jobs"])
    connection.begin()
    with pytest.raises(TransactionError):
        backend.unlisten_many(["jobs", "stop_jobs"])

    holder.connection = server.connect()

    with pytest.raises(ConnectionLost, match="replaced by a new one"):
        backend.check()


@pytest.mark.parametrize("successor", [None, "another"])
def test_what_was_let_go_of_has_no_descriptor_and_no_pid_of_ours(server, connection, successor):
    holder, backend = holding(connection)

    holder.connection = server.connect() if successor else None

    for asked in (backend.fileno, lambda: backend.server_pid):
        with pytest.raises(ConnectionLost, match=r"closed, or was replaced") as lost:
            asked()
        assert lost.value.__cause__ is not None
    if successor:
        backend.listen("jobs")
        assert backend.fileno() == holder.connection.fileno()


class FiveVerbs(Backend):
    """A third party's backend, which offers nothing more."""

    def __init__(self):
        self.calls = []

    def listen(self, channel):
        self.calls.append(("listen", channel))

    def unlisten(self, channel):
        self.calls.append(("unlisten", channel))


def test_what_a_third_partys_backend_does_not_offer_is_said_by_its_name():
    _, backend = holding(object(), lambda _: FiveVerbs())

    for name, call in {
        "listen_many": lambda: backend.listen_many(["jobs"]),
        "unlisten_many": lambda: backend.unlisten_many(["jobs"]),
        "notify_many": lambda: backend.notify_many([("jobs", "x")]),
        "check": backend.check,
        "server_pid": lambda: backend.server_pid,
        "fileno": backend.fileno,
    }.items():
        with pytest.raises(NotImplementedError, match=f"FiveVerbs does not offer {name}"):
            call()


def test_what_a_third_partys_backend_cannot_do_for_many_is_done_one_by_one():
    theirs = FiveVerbs()
    _, backend = holding(object(), lambda _: theirs)

    listen_to_all(backend, ("jobs", "stop_jobs"))
    unlisten_all(backend, ("jobs", "stop_jobs"))

    assert theirs.calls == [
        ("listen", "jobs"),
        ("listen", "stop_jobs"),
        ("unlisten", "jobs"),
        ("unlisten", "stop_jobs"),
    ]
