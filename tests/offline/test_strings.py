"""A connection string in the place of a connection: each function says which others take it, and does not show it."""

from __future__ import annotations

import asyncio

import pytest

import pgnotify
from pgnotify import UnknownBackend
from pgnotify.testing import MemoryServer, Notifications

SECRET = "hunter"
DSN = f"postgresql://joe:{SECRET}@db/shop"

outbox = pgnotify.Outbox()

CALLS = {
    "NotificationHandler": lambda db: pgnotify.NotificationHandler(db, "jobs", print),
    "handler.notify": lambda db: _handler().notify(db),
    "wrap": pgnotify.wrap,
    "notify": lambda db: pgnotify.notify(db, "jobs", "1"),
    "notify_many": lambda db: pgnotify.notify_many(db, [("jobs", "1")]),
    "Outbox.notify": lambda db: outbox.notify(db, "jobs", "1"),
    "Outbox.notify_many": lambda db: outbox.notify_many(db, [("jobs", "1")]),
    "Outbox.install": outbox.install,
    "Outbox.uninstall": outbox.uninstall,
    "Outbox.prune": outbox.prune,
    "Outbox.status": outbox.status,
    "Outbox.rebase": outbox.rebase,
    "Notifications": Notifications,
}
ASYNC_CALLS = {
    "wrap_async": lambda db: _awaiting(pgnotify.wrap_async, db),
    "AsyncNotificationHandler": lambda db: _awaiting(pgnotify.AsyncNotificationHandler, db, "jobs", print),
    "handler.notify": lambda db: _async_handler().notify(db),
    "notify_async": lambda db: pgnotify.notify_async(db, "jobs", "1"),
    "notify_many_async": lambda db: pgnotify.notify_many_async(db, [("jobs", "1")]),
    "Outbox.notify_async": lambda db: outbox.notify_async(db, "jobs", "1"),
    "Outbox.notify_many_async": lambda db: outbox.notify_many_async(db, [("jobs", "1")]),
    "Outbox.install_async": outbox.install_async,
    "Outbox.uninstall_async": outbox.uninstall_async,
    "Outbox.prune_async": outbox.prune_async,
    "Outbox.status_async": outbox.status_async,
    "Outbox.rebase_async": outbox.rebase_async,
}


async def _awaiting(function, *arguments):
    function(*arguments)


def _handler():
    return pgnotify.NotificationHandler(MemoryServer().connect(), "jobs", print)


def _async_handler():
    return pgnotify.AsyncNotificationHandler(MemoryServer().connect(), "jobs", print)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_string_in_the_place_of_a_connection_is_refused_and_not_shown(call):
    with pytest.raises(UnknownBackend) as caught:
        call(DSN)

    assert str(caught.value) == (
        "a str is not a connection: a connection string is for pgnotify.connect() and pgnotify.Listener, which open "
        "one. Pass a connection here"
    )


@pytest.mark.parametrize("call", ASYNC_CALLS.values(), ids=ASYNC_CALLS)
def test_a_string_in_the_place_of_a_connection_is_refused_on_the_event_loop(call):
    with pytest.raises(UnknownBackend, match=r"for pgnotify\.connect_async\(\) and pgnotify\.AsyncListener") as caught:
        asyncio.run(call(DSN))

    assert SECRET not in str(caught.value)
