"""A cache that invalidates itself: a notification names the key whose value has changed.

-- Such as in a trigger, or beside each UPDATE, in its transaction:
SELECT pg_catalog.pg_notify('customers', '42');
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

import pgnotify

V = TypeVar("V")


class Cache(Generic[V]):
    """Values by key, each read once, until a notification names its key. After a gap it is empty.

    Args:
        source: where an AsyncListener gets its connections.
        channel: its notifications have a key as their payload.
        read: reads the value of a key.
    """

    def __init__(self, source: Any, channel: str, read: Callable[[str], Awaitable[V]]) -> None:
        self._read = read
        self._values: dict[str, asyncio.Future[V]] = {}
        self._listener = pgnotify.AsyncListener(source, on_listening=self._clear)
        self._listener.subscribe(channel, self._forget)

    async def get(self, key: str) -> V:
        """Return the value of a key.

        While the listener is deaf, each value is read. If a connection dies in silence, the listener finds out with
        its next heartbeat: an old value may be returned for that long.
        """
        if not self._listener.delivering:
            return await self._read(key)
        value = self._values.get(key)
        if value is None:
            # A notification during the read takes this future out of the dict, so a value that is too old is not kept.
            value = self._values[key] = asyncio.ensure_future(self._read(key))
            value.add_done_callback(lambda done: self._forget_failure(key, done))
        return await asyncio.shield(value)  # the reading goes on for others if this caller is cancelled

    def _forget(self, notification: pgnotify.Notification) -> None:
        self._values.pop(notification.payload, None)

    def _clear(self, event: pgnotify.Listening) -> None:
        self._values.clear()  # whatever has changed before, or during a gap, was not told

    def _forget_failure(self, key: str, value: asyncio.Future[V]) -> None:
        if (value.cancelled() or value.exception() is not None) and self._values.get(key) is value:
            del self._values[key]

    async def __aenter__(self) -> Cache[V]:
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._listener.__aexit__(kind, error, traceback)
