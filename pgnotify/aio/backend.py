"""The backend that a connection has on an event loop: its own, if it is asynchronous, or one that uses threads."""

from __future__ import annotations

from typing import NamedTuple

from pgnotify.aio.loop import Loop
from pgnotify.aio.threaded import ThreadedBackend
from pgnotify.async_protocol import AsyncBackend
from pgnotify.protocol import Backend
from pgnotify.registry import async_backend_for, backend_for


class Unbound(NamedTuple):
    """The backend of a connection that no event loop uses yet."""

    native: AsyncBackend | None
    """That of an asynchronous connection; otherwise None."""
    blocking: Backend | None
    """That of any other connection."""

    def bound(self, loop: Loop) -> AsyncBackend:
        """Return the backend to use on a loop."""
        if self.native is not None:
            return self.native
        assert self.blocking is not None, "there is one of the two"
        return ThreadedBackend(self.blocking, loop)

    def is_same(self, other: Unbound) -> bool:
        """Return whether both use the same connection."""
        mine, others = self.backend, other.backend
        own = getattr(mine, "connection", None)
        return mine is others or (own is not None and getattr(others, "connection", None) is own)

    @property
    def backend(self) -> object:
        """Whichever of the two it is."""
        return self.blocking if self.native is None else self.native


def unbound(connection: object) -> Unbound:
    """Return the backend of a connection of any kind.

    Raises:
        UnknownBackend, TypeError: no backend fits; see `pgnotify.registry.backend_for`.
    """
    native = async_backend_for(connection)
    return Unbound(native, None) if native is not None else Unbound(None, backend_for(connection))
