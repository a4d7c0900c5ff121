"""Drivers that read notifications along with statements, and must be kept from dealing with them.

What such a driver would decode, drop or hand to somebody else is diverted, undecoded, into an inbox.
There is one inbox for each connection, whoever wraps it and however often.
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
    """What was read from a connection and not fetched yet."""

    def __init__(self) -> None:
        self.raw: list[Any] = []
        """As the driver hands it over, undecoded."""
        self.decoded: list[Plain] = []
        """Older than that, and not handed over yet."""
        self.death: Exception | None = None
        """Why the connection is no more, if the driver itself forgets."""
        self.channels: set[str] = set()
        self.diverting = False
        self.previous: Any = None
        """What was in our place before."""


_inboxes: WeakKeyDictionary[Any, Inbox] = WeakKeyDictionary()


class CollectingBackend(DriverBackend):
    """A backend whose notifications are diverted from the first listen, wait, fetch or check to the last unlisten."""

    def check(self) -> Health:
        """See `pgnotify.protocol.ChecksHealth.check`."""
        self._inbox()  # what comes along would be the driver's, and be lost in some
        return super().check()

    @abc.abstractmethod
    def _divert(self, receive: Callable[[Any], None]) -> Any:
        """Have the driver call ``receive`` for each notification; return what it did before."""

    @abc.abstractmethod
    def _restore(self, previous: Any) -> None:
        """Have the driver do what it did before."""

    @abc.abstractmethod
    def _backlog(self) -> list[Plain]:
        """Take what the driver has in a backlog of its own."""

    @abc.abstractmethod
    def _decoded(self, raw: Sequence[Any]) -> list[Plain]:
        """Return what the driver has handed over, decoded."""

    def _decode(self, inbox: Inbox) -> None:
        """Decode a batch at most; if a Ctrl-C comes in between, all of it is still there."""
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
        self._buffered()  # moves what has arrived into the inbox, where the driver has it still
        if not inbox.channels:
            self._restore(inbox.previous)
            inbox.diverting = False
