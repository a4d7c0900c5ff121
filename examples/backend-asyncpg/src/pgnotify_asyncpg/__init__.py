"""LISTEN and NOTIFY of pgnotify on asyncpg, for code without an event loop."""

from __future__ import annotations

from pgnotify_asyncpg.backend import wrap
from pgnotify_asyncpg.blocking import BlockingConnection, connect

__all__ = ["BlockingConnection", "connect", "wrap"]
