"""Connections of asynchronous drivers, as tests on an event loop open and read them."""

from __future__ import annotations

import importlib
from contextlib import suppress

from pgnotify.aio.loop import Loop
from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.registry import async_backend_for
from tests.helpers.waiting import PATIENCE


class Native:
    """Opens connections of one driver, and closes them at the end.

    Args:
        driver: the name of its backend's module.
        address: where to.
    """

    def __init__(self, driver, address):
        self.driver = driver
        self.address = address
        self.opened = []

    async def connect(self, to=None, **parameters):
        """Return a connection that `pgnotify.connect_async` would open."""
        module = importlib.import_module(f"pgnotify.backends.{self.driver}")
        connection = await module.connect(parameters_of(to or self.address) | parameters)
        self.opened.append(connection)
        return connection

    async def close(self):
        """Close all connections."""
        for connection in self.opened:
            with suppress(Exception):  # the test has closed or broken it
                await connection.close()


def parameters_of(address):
    """Return an address as the parameters of a connection string."""
    return {
        "host": address.host,
        "port": str(address.port),
        "dbname": address.database,
        "user": address.user,
        "password": address.password or "",
    }


async def arrivals(backend, count):
    """Return the payloads of the next notifications, this many or more."""
    wakeup = LoopWakeup(Loop())
    try:
        found = []
        while len(found) < count:
            assert await backend.wait(PATIENCE, wakeup), f"only {found} arrived"
            found += [each.payload for each in backend.fetch()]
        return found
    finally:
        wakeup.forget()


async def nothing_arrives(backend):
    """Fail if something is there, or on its way to us."""
    await backend.check()  # the server sends notifications first
    assert backend.fetch() == []


def backend_of(connection):
    """Return the backend of a connection."""
    return async_backend_for(connection)
