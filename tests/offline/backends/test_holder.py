"""A holder of a connection offers the same beyond the verbs as the backend of that connection."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pgnotify import Backend, ConnectionLost
from pgnotify.backends._holder import HolderBackend


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


def test_an_exchange_after_a_listen_to_many_is_told_once(server, connection):
    holder, backend = holding(connection)
    backend.listen_many(["jobs", "stop_jobs"])

    holder.connection = server.connect()

    with pytest.raises(ConnectionLost, match="replaced by a new one"):
        backend.check()
    backend.listen_many(["jobs"])
    assert backend.check().server_pid == holder.connection.pid
    assert backend.fileno() == holder.connection.fileno()


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

    def listen(self, channel):
        """Do nothing."""


def test_what_a_third_partys_backend_does_not_offer_is_said_by_its_name():
    _, backend = holding(object(), lambda _: FiveVerbs())

    for name, call in {
        "listen_many": lambda: backend.listen_many(["jobs"]),
        "notify_many": lambda: backend.notify_many([("jobs", "x")]),
        "check": backend.check,
        "server_pid": lambda: backend.server_pid,
        "fileno": backend.fileno,
    }.items():
        with pytest.raises(NotImplementedError, match=f"FiveVerbs does not offer {name}"):
            call()
