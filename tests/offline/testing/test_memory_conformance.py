"""The memory server in the class that every backend must pass."""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

from pgnotify.testing import Address, BackendConformance
from pgnotify.testing.memory import DatabaseError, MemoryServer


class Session:
    """A second session on the memory server."""

    def __init__(self, server):
        self._server = server
        self._connection = server.connect()
        self.pid = self._connection.pid
        self.notify = self._connection.notify
        self.close = self._connection.close

    def notify_all(self, channel, payloads):
        self._connection.notify_many((channel, payload) for payload in payloads)

    def terminate(self, pid):
        for connection in self._server.connections:
            if connection.pid == pid:
                self._server.drop_connection(connection)

    def state_of(self, pid):
        return next(("idle" for each in self._server.connections if each.pid == pid), None)


class TestMemory(BackendConformance):
    """A connection to the memory server is its own backend."""

    implicit_transactions = False
    cannot: ClassVar = {
        "sql": "it has no SQL",
        "network": "it has no network",
        "encodings": "it has no bytes",
        "sql_ascii": "it has no bytes",
        "undecodable": "it has no bytes",
        "surrogateescape": "it has no bytes",
        "implicit_transactions": "only begin() begins a transaction",
    }

    def setup_method(self):
        super().setup_method()
        self.address = Address("memory", 0)
        self.server = self._at_end.enter_context(MemoryServer())

    def connect(self, address):
        return self.server.connect()

    def open_session(self, address):
        return Session(self.server)

    def begin(self, connection):
        connection.begin()

    def commit(self, connection):
        connection.commit()

    def rollback(self, connection):
        connection.rollback()

    def fail(self, connection):
        with suppress(DatabaseError):
            connection.fail()

    def pid_of(self, connection):
        return connection.pid
