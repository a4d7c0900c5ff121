"""What the system is told to see to on a Listener's socket, and that what the user wants there stays."""

from __future__ import annotations

import os
import socket

import pytest

from pgnotify import Observer, wrap
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from tests.helpers.listener_fronts import both_fronts
from tests.helpers.listeners import AT_ONCE, Told, listening, next_payloads
from tests.helpers.resources import few_descriptors
from tests.helpers.waiting import eventually

pytestmark = [
    pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="not applicable: not on this system"),
    both_fronts,
]

NAMES = ["TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"]


def options_of(listener):
    """Return the options of the driver's socket, asked through a duplicate of its descriptor."""
    with socket.socket(fileno=os.dup(listener._runner.backend.fileno())) as duplicate:
        alive = duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        return [alive, *(duplicate.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in NAMES)]


def test_the_system_looks_after_the_connection_too(driver, address, channel):
    with listening(address.dsn, channel, driver=driver, heartbeat=7.5, answer_timeout=2.2) as listener:
        assert options_of(listener) == [1, 8, 3, 3, 7000]


def test_so_it_does_after_a_reconnect(driver, address, session, channel):
    told = Told()
    options = {"heartbeat": 9, "answer_timeout": 4, "on_listening": told, "backoff": AT_ONCE}
    with listening(address.dsn, channel, driver=driver, **options) as listener:
        told.next()
        session.terminate(listener.status().server_pid)
        told.next()

        assert options_of(listener) == [1, 9, 4, 3, 12000]


@pytest.mark.parametrize(
    ("given", "place", "value"),
    [
        ("keepalives_idle=77", 1, 77),
        ("keepalives_interval=11", 2, 11),
        ("keepalives_count=5", 3, 5),
        ("tcp_user_timeout=1234", 4, 1234),
    ],
)
def test_what_the_connection_string_says_stays(driver, address, channel, given, place, value):
    expected = [1, 9, 4, 3, 12000]
    expected[place] = value
    with listening(f"{address.dsn}?{given}", channel, driver=driver, heartbeat=9, answer_timeout=4) as listener:
        assert options_of(listener) == expected


def test_a_connect_function_has_its_sockets_looked_after(kind, address, channel):
    with listening(lambda: kind.connect(address), channel, heartbeat=9, answer_timeout=4) as listener:
        assert options_of(listener) == [1, 9, 4, 3, 12000]


def test_a_unix_socket_needs_nothing(driver, session, channel):
    try:
        server = TemporaryPostgreSQL()
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with server, listening(server.socket_dsn, channel, driver=driver) as listener:
        server.sql(f"SELECT pg_notify('{channel}', '1')")

        assert next_payloads(listener, 1) == ["1"]


def test_a_connection_that_took_the_last_descriptor_is_given_up_and_made_again(kind, address, session, channel):
    opened, told = [], Told()

    class Observing(Observer):
        def state_changed(self, name, state):
            if state == "backing off":
                descriptors.release()

    def connect():
        opened.append(kind.connect(address))
        if len(opened) == 1:
            pids.append(wrap(opened[0]).backend.server_pid)
            descriptors.use_up()
        return opened[-1]

    pids = []
    options = {"on_listening": told, "backoff": AT_ONCE, "observer": Observing(), "heartbeat": 9, "answer_timeout": 4}
    with few_descriptors() as descriptors, listening(connect, channel, **options) as listener:
        told.next()

        assert "Too many open files" in listener.status().last_error
        assert len(opened) == 2
        assert options_of(listener)[:4] == [1, 9, 4, 3]
        eventually(lambda: session.state_of(pids[0]) is None, "the first connection is closed")
        session.notify(channel, "1")
        assert next_payloads(listener, 1) == ["1"]
