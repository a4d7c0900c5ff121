"""Drivers that read notifications along with statements, and must be kept from processing them.

Such a driver would decode notifications, drop them, or pass them to somebody else. So they are diverted,
undecoded, into an inbox. There is one inbox for each connection, however often it is wrapped.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from pgnotify.backends._driver import BATCH, DriverBackend
from pgnotify.notification import Plain
from pgnotify.protocol import Health


class Inbox:
    """Notifications that were read from a connection and not fetched yet."""

    def __init__(self) -> None:
        self.raw: list[Any] = []
        """As the driver passes them, undecoded."""
        self.decoded: list[Plain] = []
        """Older than those in ``raw``, and not fetched yet."""
        self.death: Exception | None = None
        """Why the connection ended, for a driver that forgets the reason."""
        self.channels: set[str] = set()
        self.diverting = False
        self.previous: Any = None
        """The driver's own receiver, which ours replaces."""


_inboxes: WeakKeyDictionary[Any, Inbox] = WeakKeyDictionary()


class CollectingBackend(DriverBackend):
    """A backend whose notifications are diverted from the first listen, wait, fetch or check to the last unlisten."""

    def check(self) -> Health:
        """See `pgnotify.protocol.ChecksHealth.check`."""
        self._inbox()  # otherwise the driver takes notifications that come along, and some drivers lose them
        return super().check()

    @abc.abstractmethod
    def _divert(self, receive: Callable[[Any], None]) -> Any:
        """Have the driver call ``receive`` for each notification; return what it did before."""

    @abc.abstractmethod
    def _restore(self, previous: Any) -> None:
        """Have the driver do what it did before."""

    @abc.abstractmethod
    def _backlog(self) -> list[Plain]:
        """Take the notifications from the driver's own backlog."""

    @abc.abstractmethod
    def _decoded(self, raw: Sequence[Any]) -> list[Plain]:
        """Return the driver's notifications, decoded."""

    def _decode(self, inbox: Inbox) -> None:
        """Decode at most one batch; a Ctrl-C in between loses nothing."""
        batch = inbox.raw[:BATCH]
        count = len(batch)
        decoded = self._decoded(batch)
        inbox.decoded += decoded
        del inbox.raw[:count]

    @cached_property
    def _shared_inbox(self) -> Inbox:
        return _inboxes.setdefault(self._connection, Inbox())

    def _inbox(self) -> Inbox:
        inbox = self._shared_inbox
        if not inbox.diverting:
            inbox.previous = self._divert(inbox.raw.append)
            inbox.decoded += self._backlog()
            inbox.diverting = True
        return inbox

    def _begin_listening(self, channel: str) -> None:
        self._inbox().channels.add(channel)

    def _end_listening(self, channel: str) -> None:
        inbox = self._inbox()
        inbox.channels.discard(channel)
        self._buffered()  # moves notifications that the driver still has into the inbox
        if not inbox.channels:
            self._restore(inbox.previous)
            inbox.diverting = False
