"""What pgnotify is tested with, for the tests of others too. Nothing here imports pytest."""

from __future__ import annotations

from pgnotify.testing._programs import ServerFailed
from pgnotify.testing.finder import NoPostgreSQL, find_postgresql
from pgnotify.testing.postgresql import TemporaryPostgreSQL

__all__ = ["NoPostgreSQL", "ServerFailed", "TemporaryPostgreSQL", "find_postgresql"]
