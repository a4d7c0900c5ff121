"""A backend on top of a sound one; the mutants derive from it."""

from __future__ import annotations

from typing import Any

import pgnotify
from pgnotify import Backend


class Mutant(Backend):
    """Does the same as the sound backend of the connection; a mutant changes one thing."""

    caught_by: str
    """The test of the conformance class that must fail on it."""
    tries = 1
    """How often that test may be made, if the fault shows only where the machine has time for it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.sound: Any = pgnotify.wrap(connection).backend

    def listen(self, channel):
        self.sound.listen(channel)

    def unlisten(self, channel):
        self.sound.unlisten(channel)

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout, wakeup)

    def fetch(self):
        return self.sound.fetch()

    def fetch_plain(self):
        return self.sound.fetch_plain()

    def fetch_into(self, queue):
        self.sound.fetch_into(queue)

    def notify(self, channel, payload=""):
        self.sound.notify(channel, payload)

    def notify_many(self, notifications):
        self.sound.notify_many(notifications)

    def query(self, sql, parameters=(), prepare=False, joins=False):
        return self.sound.query(sql, parameters, prepare, joins)

    def listen_many(self, channels):
        self.sound.listen_many(channels)

    def unlisten_many(self, channels):
        self.sound.unlisten_many(channels)

    def check(self):
        return self.sound.check()

    @property
    def server_pid(self):
        return self.sound.server_pid

    def fileno(self):
        return self.sound.fileno()

    def release(self):
        self.sound.release()

    def end(self):
        self.sound.end()

    @property
    def pool(self):
        return self.sound.pool

    @property
    def busy(self):
        return self.sound.busy

    @property
    def in_transaction(self):
        return self.sound.in_transaction

    @property
    def DatabaseError(self):
        return self.sound.DatabaseError

    def close(self):
        self.sound.close()
