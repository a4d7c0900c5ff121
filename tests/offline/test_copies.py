"""What can be copied and pickled: errors and values, not what uses a connection."""

from __future__ import annotations

import asyncio
import copy
import importlib
import pickle
import pkgutil
import sqlite3
from datetime import datetime, timezone

import pytest

import pgnotify
from pgnotify import (
    Backoff,
    Gap,
    Listener,
    ListenerState,
    Listening,
    Notification,
    NotificationHandler,
    Probe,
    Reason,
    errors,
    wrap,
)
from pgnotify.errors import unexpected_for
from pgnotify.protocol import Health
from pgnotify.registry import DRIVERS, Driver
from pgnotify.testing import Address, MemoryServer, Notifications, TemporaryPostgreSQL

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "oldest pickle": lambda value: pickle.loads(pickle.dumps(value, 0)),
}


@pytest.fixture(params=WAYS)
def duplicate(request):
    """A way to copy."""
    return WAYS[request.param]


# Errors


def every_error():
    """Yield all exception classes that are defined here, those of drivers' backends excepted."""
    seen = set()
    for module in pkgutil.walk_packages(pgnotify.__path__, "pgnotify."):
        if module.name.startswith(
            ("pgnotify.backends.", "pgnotify.cli", "pgnotify.outbox.django", "pgnotify.__main__")
        ):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, BaseException) and value.__module__.startswith("pgnotify"):
                seen.add(value)
    return sorted(seen, key=lambda each: each.__name__)


def an_error(cls):
    try:
        error = cls("a message")
    except TypeError:  # its arguments are other ones
        error = cls("a message", "a second argument")
    error.note = ["an attribute of the user's"]
    return error


def same(error, other):
    shown = [(type(each), str(each), each.args, vars(each)) for each in (error, other)]
    return shown[0] == shown[1] and error is not other


@pytest.mark.parametrize("cls", every_error(), ids=lambda cls: cls.__name__)
def test_an_error_is_copied_whole(cls, duplicate):
    error = an_error(cls)

    assert same(duplicate(error), error)


def test_an_undecodable_payload_keeps_its_bytes(duplicate):
    error = errors.UndecodablePayload("lost", "jobs", b"\xe9")

    assert same(duplicate(error), error)


class Reduced(Exception):
    """A driver's error that says itself how it is pickled, and what else it has."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.code = "none"

    def __reduce__(self):
        return type(self), self.args, {"state": self.code}

    def __setstate__(self, state):
        self.code = state["state"]


@pytest.mark.parametrize("of_driver", [sqlite3.DatabaseError, Reduced, OSError, pgnotify.PgNotifyError])
def test_an_unexpected_notification_is_copied_with_the_class_of_its_driver(of_driver, duplicate):
    error = unexpected_for(of_driver)("Listening for …")
    error.code = "23505"

    copied = duplicate(error)

    assert same(copied, error)
    assert isinstance(copied, of_driver)


# Values

NOW = datetime.now(timezone.utc)
VALUES = [
    Notification("jobs", "work", 7),
    Gap(Reason.CONNECTION_LOST, NOW, NOW, ("jobs",), 3),
    Listening(("jobs",), None, None),
    Reason.QUEUE_OVERFLOW,
    ListenerState.LISTENING,
    Probe("yes", "it has arrived", 0.1),
    Backoff(0.5, 5.0),
    Health(False, 0.0, 7, frozenset({"jobs"})),
    DRIVERS["psycopg"],
    Address("127.0.0.1", 5432, password="secret"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_is_copied_and_equal(value, duplicate):
    copied = duplicate(value)

    assert copied == value
    assert type(copied) is type(value)


def test_a_status_is_copied_and_equal(duplicate):
    with MemoryServer() as server, Listener(server.connect, "jobs", heartbeat=None) as listener:
        status = listener.status()

    assert duplicate(status) == status


def test_a_member_stays_the_member(duplicate):
    assert duplicate(Reason.FAIL_OVER) is Reason.FAIL_OVER
    assert isinstance(DRIVERS["psycopg"], Driver)


# What uses a connection

USERS = {
    "Listener": lambda server: Listener(server.connect, "jobs"),
    "Subscription": lambda server: Listener(server.connect).subscribe("jobs", print),
    "NotificationHandler": lambda server: NotificationHandler(server.connect(), "jobs", print),
    "Connection": lambda server: wrap(server.connect()),
    "MemoryServer": lambda server: server,
    "MemoryConnection": lambda server: server.connect(),
    "AsyncMemoryConnection": lambda server: asyncio.run(server.connect_async()),
    "Notifications": lambda server: Notifications(server.connect()),
    "TemporaryPostgreSQL": lambda server: TemporaryPostgreSQL(),
}


@pytest.mark.parametrize("user", USERS)
def test_what_uses_a_connection_is_not_copied(user, duplicate):
    with MemoryServer() as server:
        made = USERS[user](server)

        with pytest.raises(TypeError) as refusal:
            duplicate(made)

    assert str(refusal.value) == (
        f"a {user} cannot be copied or pickled: it belongs to one connection, in one process; make another one"
    )


def test_a_subclass_may_say_how_it_is_copied(duplicate):
    assert duplicate(Described("jobs")).event == "jobs"


class Described(NotificationHandler):
    """A handler that is made again, on a connection of its own."""

    def __init__(self, event):
        super().__init__(MemoryServer().connect(), event, print)

    def __reduce__(self):
        return Described, (self.event,)
