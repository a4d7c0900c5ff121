"""Drivers that read notifications along with statements, and must be kept from processing them.

Such a driver would decode notifications, drop them, or pass them to somebody else. So they are diverted,
undecoded, into an inbox. There is one inbox for each connection, however often it is wrapped.
"""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import delitem
from typing import Any

from pgnotify.atomic import then
from pgnotify.backends._per_connection import PerConnection
from pgnotify.backends._steps import BATCH, SteppedBackend, Steps
from pgnotify.notification import Plain

_UNKNOWN = object()


class Inbox:
    """Notifications that were read from a connection and not fetched yet."""

    def __init__(self) -> None:
        self.raw: list[Any] = []
        """As the driver passes them, undecoded."""
        self.decoded: list[Plain] = []
        """Older than those in ``raw``, and not fetched yet."""
        self.channels: set[str] = set()
        self.diverting = False
        self.previous: Any = _UNKNOWN
        """The driver's own receiver, which ours replaces, or is about to."""
        self.wake: Callable[[], object] | None = None
        """Ends a wait on an event loop, for a statement of another task that brings notifications."""


_inboxes = PerConnection(lambda connection: Inbox())


class Collecting(SteppedBackend):
    """A backend whose notifications are diverted from the first listen, wait, fetch or check to the last unlisten."""

    @abc.abstractmethod
    def _receiver(self) -> Any:
        """Return what the driver does with notifications."""

    @abc.abstractmethod
    def _divert(self, receive: Callable[[Any], None]) -> None:
        """Have the driver call ``receive`` for each notification."""

    @abc.abstractmethod
    def _restore(self, previous: Any) -> None:
        """Have the driver do what it did before; ``previous`` comes from `_receiver`."""

    @abc.abstractmethod
    def _move_backlog(self, taker: list[Plain]) -> None:
        """Move the notifications from the driver's own backlog, in one call in C."""

    @abc.abstractmethod
    def _decoded(self, raw: Sequence[Any]) -> list[Plain]:
        """Return the driver's notifications, decoded."""

    def _move(self, inbox: Inbox, queue: deque[Plain]) -> int:
        """Move at most one batch from the inbox into a queue, decoded, and return its size."""
        before = len(queue)
        if inbox.decoded:
            queue.extend(then(inbox.decoded[:], delitem, inbox.decoded, slice(len(inbox.decoded))))
        if inbox.raw:
            batch = inbox.raw[:BATCH]
            queue.extend(then(self._decoded(batch), delitem, inbox.raw, slice(len(batch))))
        return len(queue) - before

    @cached_property
    def _shared_inbox(self) -> Inbox:
        return _inboxes.of(self._connection)

    def _inbox(self) -> Inbox:
        inbox = self._shared_inbox
        if not inbox.diverting:
            if inbox.previous is _UNKNOWN:  # otherwise an interruption came after this
                inbox.previous = self._receiver()
            self._divert(inbox.raw.append)
            self._move_backlog(inbox.decoded)
            inbox.diverting = True
        return inbox

    def _diverting(self) -> Steps[None]:
        self._inbox()  # otherwise the driver takes notifications that come along, and some drivers lose them
        yield from ()

    def _begin_listening(self, channel: str) -> None:
        self._inbox().channels.add(channel)

    def _end_listening(self, channel: str) -> None:
        inbox = self._inbox()
        inbox.channels.discard(channel)
        self._buffered()  # moves notifications that the driver still has into the inbox
        if not inbox.channels:
            self._stop_diverting(inbox)

    def _stop_diverting(self, inbox: Inbox) -> None:
        inbox.diverting = False
        if inbox.previous is not _UNKNOWN:
            self._restore(inbox.previous)
            inbox.previous = _UNKNOWN

    def _drop_arrived(self) -> None:
        inbox = self._shared_inbox
        if inbox.channels:
            return  # another backend on this connection still listens, and fetches them
        try:
            super()._drop_arrived()
        finally:
            inbox.raw.clear()
            inbox.decoded.clear()
            self._stop_diverting(inbox)
