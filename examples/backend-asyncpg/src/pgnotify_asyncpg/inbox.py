"""The inbox between the loop's thread, which reads all the time, and the thread that waits and fetches."""

from __future__ import annotations

import weakref
from collections import deque

import asyncpg

from pgnotify.notification import Notification
from pgnotify.waiting import Wakeup
from pgnotify_asyncpg.blocking import BlockingConnection


class Inbox:
    """The notifications that have arrived on a connection and were not fetched yet."""

    def __init__(self) -> None:
        self.arrived: deque[Notification] = deque()
        self.news = Wakeup()
        """Readable when something has arrived in an empty inbox, and when the connection has ended."""

    async def watch(self, connection: asyncpg.Connection) -> None:
        """Have the end of the connection wake us. It does not by itself: there is no descriptor to look at."""
        connection.add_termination_listener(self.end)

    def receive(self, _: object, pid: int, channel: str, payload: str) -> None:
        """Take a notification: asyncpg's callback, in the loop's thread."""
        self.arrived.append(Notification(channel, payload, pid))
        if len(self.arrived) == 1:  # if there are more, nobody is waiting: see AsyncpgBackend.wait()
            self.news.wake()

    def end(self, _: object) -> None:
        """Wake the waiting thread when the connection ends: asyncpg's callback, which does not say why."""
        self.news.wake()


_inboxes: weakref.WeakKeyDictionary[asyncpg.Connection, Inbox] = weakref.WeakKeyDictionary()


def inbox_of(blocking: BlockingConnection) -> Inbox:
    """Return the one inbox of a connection, however often it is wrapped."""
    inbox = _inboxes.get(blocking.connection)
    if inbox is None:
        inbox = _inboxes[blocking.connection] = Inbox()
        weakref.finalize(blocking.connection, inbox.news.close)
        if not blocking.closed:
            blocking.call(inbox.watch(blocking.connection))
    return inbox
