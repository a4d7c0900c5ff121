"""Objects that hold an asynchronous driver's connection and may replace it, such as those of an ORM."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import Any

from pgnotify.async_protocol import AsyncWakeup
from pgnotify.backends._async_driver import release_or_end
from pgnotify.backends._holder import HolderBackend, offered
from pgnotify.protocol import Health


class AsyncHolderBackend(HolderBackend):
    """A backend for the connection that an object holds at the moment; see `HolderBackend`.

    The verbs that wait for the server are coroutines. A subclass says how the holder is closed, and how its connection
    is ended.
    """

    async def listen(self, channel: str) -> None:  # type: ignore[override]  # the same verb, awaited
        """See `pgnotify.protocol.Backend.listen`."""
        await self._now().listen(channel)
        self._channels.add(channel)

    async def listen_many(self, channels: Sequence[str]) -> None:  # type: ignore[override]
        """See `pgnotify.protocol.ListensMany.listen_many`."""
        await offered(self._now(), "listen_many")(channels)
        self._channels.update(channels)

    async def unlisten(self, channel: str) -> None:  # type: ignore[override]
        """See `pgnotify.protocol.Backend.unlisten`."""
        await self._now().unlisten(channel)
        self._channels.discard(channel)

    async def unlisten_many(self, channels: Sequence[str]) -> None:  # type: ignore[override]
        """See `pgnotify.protocol.UnlistensMany.unlisten_many`."""
        await offered(self._now(), "unlisten_many")(channels)
        self._channels.difference_update(channels)

    async def wait(self, timeout: float | None, wakeup: AsyncWakeup) -> bool:  # type: ignore[override]
        """See `pgnotify.async_protocol.AsyncBackend.wait`."""
        has_come: bool = await self._now().wait(timeout, wakeup)
        return has_come

    async def notify(self, channel: str, payload: str = "") -> None:  # type: ignore[override]
        """See `pgnotify.protocol.Backend.notify`."""
        await (await self._now_inside()).notify(channel, payload)

    async def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:  # type: ignore[override]
        """See `pgnotify.protocol.NotifiesMany.notify_many`."""
        await offered(await self._now_inside(), "notify_many")(notifications)

    async def query(  # type: ignore[override]
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> list[tuple[str | None, ...]]:
        """See `pgnotify.protocol.Queries.query`. If it joins, it begins the holder's own transaction."""
        backend = await self._now_inside(joins)
        rows: list[tuple[str | None, ...]] = await offered(backend, "query")(sql, parameters, prepare, joins)
        return rows

    async def check(self) -> Health:  # type: ignore[override]
        """See `pgnotify.protocol.ChecksHealth.check`."""
        health: Health = await offered(self._now(), "check")()
        return health

    async def name_session(self, name: str) -> None:  # type: ignore[override]
        """See `pgnotify.protocol.NamesSession.name_session`."""
        await offered(self._now(), "name_session")(name)

    async def close(self) -> None:  # type: ignore[override]
        """Close the holder. It returns the connection to a pool, so that is released first, or ended."""
        try:
            if self._holds_on():
                await release_or_end(self)
        finally:
            self._channels.clear()
            await self._close()

    async def release(self) -> None:  # type: ignore[override]
        """See `pgnotify.protocol.Releases.release`."""
        await offered(self._held(), "release")()
        self._channels.clear()

    @abc.abstractmethod
    async def _close(self) -> None:
        """Close the holder, unless it is closed."""

    def _now(self) -> Any:
        """Return the asynchronous backend of the connection that is held now."""
        return self._current()

    async def _now_inside(self, joins: bool = False) -> Any:
        """Return the same, in the transaction of the user's block if there is one, or if a statement joins it."""
        return self._now()
