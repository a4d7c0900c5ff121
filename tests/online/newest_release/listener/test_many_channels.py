"""Many channels on every driver: parts of a few each, with an answer of its own for each part."""

from __future__ import annotations

import threading

import pytest

from pgnotify import Connection, connect
from pgnotify.backends._driver import DriverBackend
from tests.helpers.listener_fronts import Listener, blocking_only, both_fronts
from tests.helpers.listeners import Told, listening, next_payloads
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = both_fronts


class OneAtATime:
    """A third party's backend around another one, with the five verbs and close(), and its descriptor."""

    def __init__(self, backend):
        for verb in ("listen", "unlisten", "wait", "fetch", "notify", "close", "fileno"):
            setattr(self, verb, getattr(backend, verb))


@pytest.fixture
def names(channel):
    return [f"{channel} {number}" for number in range(5)]


@pytest.fixture
def parts(monkeypatch):
    """The sizes of the parts in which channels are listened to or unlistened, two at most."""
    for module in ("protocol", "listener.loop", "listener.channels"):
        monkeypatch.setattr(f"pgnotify.{module}.MOST_CHANNELS", 2)
    sizes = []

    def count(verb, original):
        def counting(backend, channels):
            sizes.append((verb, len(channels)))
            original(backend, channels)

        monkeypatch.setattr(DriverBackend, verb, counting)

    count("listen_many", DriverBackend.listen_many)
    count("unlisten_many", DriverBackend.unlisten_many)
    return sizes


def test_channels_are_listened_to_and_unlistened_in_parts(driver, address, session, names, parts):
    told = Told()
    with listening(address.dsn, *names[:3], driver=driver, on_listening=told) as listener:
        assert told.next().channels == tuple(names[:3])
        subscriptions = [listener.subscribe(name, print) for name in names[3:]]
        assert all(each.wait_listening(PATIENCE) for each in subscriptions)
        assert parts[:2] == [("listen_many", 2), ("listen_many", 1)]
        for name in names[:3]:
            session.notify(name, name)
        assert next_payloads(listener, 3) == names[:3]
        for each in subscriptions:
            each.cancel()
        eventually(lambda: listener.status().channels == tuple(names[:3]))

    listened = sum(size for verb, size in parts if verb == "listen_many")
    unlistened = sum(size for verb, size in parts if verb == "unlisten_many")
    assert (listened, unlistened, max(size for _, size in parts)) == (5, 2, 2)


def test_a_stop_between_two_parts_leaves_the_users_connection_without_any(driver, address, names, parts, monkeypatch):
    connection = connect(address.dsn, driver=driver)
    stopped, counting = threading.Event(), DriverBackend.listen_many

    def stopping(backend, channels):
        counting(backend, channels)
        listener.stop(0)
        stopped.set()

    monkeypatch.setattr(DriverBackend, "listen_many", stopping)
    listener = Listener(connection.backend.connection, *names, heartbeat=None)
    listener.run()

    assert stopped.is_set()
    assert parts[0] == ("listen_many", 2)
    assert [verb for verb, _ in parts].count("listen_many") == 1
    assert connection.backend.check().channels == frozenset()
    connection.close()


@blocking_only("inside")
def test_a_backend_that_can_do_only_one_at_a_time_gets_a_deadline_for_each(driver, address, session, names):
    answers = []

    def opened():
        connection = connect(address.dsn, driver=driver)
        return Connection(connection.connection, OneAtATime(connection.backend))

    with listening(opened, *names, heartbeat=None) as listener:
        runner = listener._runner
        answered = runner._answered
        runner._answered = lambda: answers.append(1) or answered()
        subscriptions = [listener.subscribe(f"{name} too", print) for name in names]
        assert all(each.wait_listening(PATIENCE) for each in subscriptions)
        session.notify(names[4], "4")
        assert next_payloads(listener, 1) == ["4"]

    assert len(answers) == 5
