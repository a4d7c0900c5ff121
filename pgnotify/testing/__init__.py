"""What pgnotify is tested with, for the tests of others too. Nothing here imports pytest."""

from __future__ import annotations

from pgnotify.testing._programs import ServerFailed
from pgnotify.testing.address import Address
from pgnotify.testing.conformance import BackendConformance
from pgnotify.testing.finder import NoPostgreSQL, find_postgresql
from pgnotify.testing.memory import MemoryServer
from pgnotify.testing.notifications import Notifications
from pgnotify.testing.postgresql import TemporaryPostgreSQL

__all__ = [
    "Address",
    "BackendConformance",
    "MemoryServer",
    "NoPostgreSQL",
    "Notifications",
    "ServerFailed",
    "TemporaryPostgreSQL",
    "find_postgresql",
]
