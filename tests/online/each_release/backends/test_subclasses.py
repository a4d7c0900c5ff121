"""Connections of classes of the user's own: they compare, hash and answer as they like, and have any methods."""

from __future__ import annotations

import pytest

import pgnotify
from pgnotify import Listener, NotificationHandler
from tests.helpers.backends import collect_payloads
from tests.helpers.listeners import AT_ONCE, Told, next_payloads

DRIVERS = ("psycopg", "psycopg2", "pg8000", "pg.DB", "pgdb")  # nobody can derive from the class of pg.connect()


def broken(*arguments, **keywords):
    raise AssertionError("a method of the user's was called")


EQUAL = {
    "__eq__": lambda one, other: True,
    "__ne__": lambda one, other: False,
    "__hash__": None,
    "__bool__": lambda one: False,
    "__len__": lambda one: 0,
}
OWN_METHODS = dict.fromkeys(
    ("listen", "unlisten", "notify", "fetch", "check", "query", "getnotify", "execute", "run", "cursor"), broken
)


@pytest.fixture
def open_one(kind, connect, address):
    """Opens a connection whose class has the given attributes, too."""

    def open_one(attributes):
        if kind.driver == "psycopg2":
            return psycopg2_connection(kind, address, attributes)
        db = connect()
        db.__class__ = type("Mine", (type(db),), attributes)
        return db

    return open_one


def psycopg2_connection(kind, address, attributes):
    """Connect with a class of one's own, as the class of an object in C cannot be changed."""
    import psycopg2

    cls = type("Mine", (psycopg2.extensions.connection,), attributes)
    db = psycopg2.connect(address.dsn, connection_factory=cls)
    db.autocommit = not kind.implicit_transactions
    return db


@pytest.mark.drivers(*DRIVERS)
def test_equal_connections_are_not_the_same(open_one, session, channel):
    db, other = open_one(EQUAL), open_one(EQUAL)
    first, second = pgnotify.wrap(db).backend, pgnotify.wrap(other).backend
    first.listen(channel)
    second.listen("other")

    session.notify(channel, "to the first")
    session.notify("other", "to the second")

    assert collect_payloads(second, 1) == ["to the second"]
    assert collect_payloads(first, 1) == ["to the first"]
    assert [backend.check().channels for backend in (first, second)] == [{channel}, {"other"}]
    pgnotify.notify(db, channel, "again")
    assert collect_payloads(pgnotify.wrap(db).backend, 1) == ["again"]
    second.close()
    first.close()


@pytest.mark.drivers(*DRIVERS)
def test_a_handler_tells_equal_connections_apart(open_one, channel):
    received = []
    db, other = open_one(EQUAL), open_one(EQUAL)
    handler = NotificationHandler(db, channel, lambda arg_dict: received.append(arg_dict["extra"]), timeout=0)
    handler.listen()

    handler.notify(other, payload="by the other")
    handler.notify(db, payload="by its own")
    pgnotify.wrap(db).wait(5)
    handler()

    assert sorted(received) == ["by its own", "by the other"]
    assert handler.db is db
    handler.close()
    other.close()


@pytest.mark.drivers(*DRIVERS)
def test_a_listener_comes_back_with_an_equal_connection(open_one, session, channel):
    told = Told()
    with Listener(lambda: open_one(EQUAL), channel, on_listening=told, backoff=AT_ONCE) as listener:
        session.terminate(listener.status().server_pid)
        listener.start()
        assert told.next().gap is None
        assert told.next().gap is not None
        session.notify(channel, "again")

        assert next_payloads(listener, 1) == ["again"]


@pytest.mark.drivers(*DRIVERS)
def test_methods_of_the_users_are_not_called(open_one, session, channel):
    backend = pgnotify.wrap(open_one(OWN_METHODS)).backend
    backend.listen_many([channel, "other"])
    backend.notify(channel, "1")
    backend.notify_many([(channel, "2")])
    session.notify(channel, "3")

    assert collect_payloads(backend, 3) == ["1", "2", "3"]
    assert backend.check().channels == {channel, "other"}
    backend.unlisten(channel)
    backend.unlisten("other")
    backend.close()


@pytest.mark.drivers(*DRIVERS)
def test_a_cursor_method_may_take_no_arguments(open_one, session, channel):
    backend = pgnotify.wrap(open_one({"cursor": lambda db: broken()})).backend
    backend.listen(channel)

    backend.notify(channel, "narrow")

    assert collect_payloads(backend, 1) == ["narrow"]
    backend.close()


def test_a_proxy_of_a_proxy_is_as_good_as_the_connection(db, session, channel):
    wrapt = pytest.importorskip("wrapt")
    backend = pgnotify.wrap(wrapt.ObjectProxy(wrapt.ObjectProxy(db))).backend
    backend.listen(channel)

    backend.notify(channel, "traced twice")

    assert collect_payloads(backend, 1) == ["traced twice"]
    assert backend.check().channels == {channel}
