"""A backend of pgnotify for a synchronous driver, and the driver: libpq with a thin cover.

- `driver`: the connection that users have.
- `backend`: the five verbs on it, for pgnotify.
"""

from pgnotify_libpq.backend import LibpqBackend, wrap
from pgnotify_libpq.driver import Connection, connect

__all__ = ["Connection", "LibpqBackend", "connect", "wrap"]
