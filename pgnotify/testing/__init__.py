"""Tools for tests of code that listens or notifies: pgnotify's own tests use them, and yours may.

Importing this package does not import pytest; only `plugin` does. What is decided where:

- A PostgreSQL in memory: `memory` has the server and its faults. `_memory_session` decides what PostgreSQL does with
  LISTEN, NOTIFY and transactions, `_memory_connection` what a driver and its backend do. `_memory_async` does the
  same on an event loop.
- A real PostgreSQL: `finder` decides which installation is used, `postgresql` what is run and when. `_programs` runs
  programs and reads their output. `_guard` is a process of its own that starts the server and cleans up after it;
  `_guard_client` talks to it. `server` decides which server the tests of a process share; `address` describes it.
- Tests of a backend: `conformance` has the promises as tests, `async_conformance` those of an asynchronous backend;
  `check` runs them without pytest.
- Tests of an application: `notifications` expects notifications, `async_notifications` does so on an event loop,
  `sent` records what is sent, also where nothing is ever committed; `plugin` has the fixtures.
- Tools: `_wire` is a PostgreSQL client without a driver, `_scram` authenticates it, `_proxy` breaks network connections
  on request, `nasty` lists difficult names and payloads.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pgnotify.testing._programs import ServerFailed
from pgnotify.testing.address import Address
from pgnotify.testing.conformance import BackendConformance
from pgnotify.testing.finder import NoPostgreSQL, find_postgresql
from pgnotify.testing.memory import MemoryServer
from pgnotify.testing.notifications import Notifications
from pgnotify.testing.postgresql import TemporaryPostgreSQL
from pgnotify.testing.sent import SentNotification, SentNotifications, sent_notifications

if TYPE_CHECKING:
    from pgnotify.testing.async_conformance import AsyncBackendConformance as AsyncBackendConformance
    from pgnotify.testing.async_notifications import AsyncNotifications as AsyncNotifications

# They import asyncio, which few tests need.
_LATER = {"AsyncBackendConformance": "async_conformance", "AsyncNotifications": "async_notifications"}

__all__ = [
    "Address",
    "AsyncBackendConformance",
    "AsyncNotifications",
    "BackendConformance",
    "MemoryServer",
    "NoPostgreSQL",
    "Notifications",
    "SentNotification",
    "SentNotifications",
    "ServerFailed",
    "TemporaryPostgreSQL",
    "find_postgresql",
    "sent_notifications",
]


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    return value
