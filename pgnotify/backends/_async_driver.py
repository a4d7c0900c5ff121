"""The common part of the backends of asynchronous SQL drivers: the verbs, as coroutines."""

from __future__ import annotations

import abc
from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar

from pgnotify.async_protocol import AsyncWakeup
from pgnotify.backends._steps import Rows, SteppedBackend, Steps
from pgnotify.protocol import Health

T = TypeVar("T")


class AsyncDriverBackend(SteppedBackend):
    """A backend over an asynchronous driver that runs SQL."""

    # The verbs.

    async def listen(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.listen`."""
        await self._perform(self.listening((channel,)))

    async def listen_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.ListensMany.listen_many`."""
        await self._perform(self.listening(channels))

    async def unlisten(self, channel: str) -> None:
        """See `pgnotify.protocol.Backend.unlisten`."""
        await self._perform(self.unlistening((channel,)))

    async def unlisten_many(self, channels: Sequence[str]) -> None:
        """See `pgnotify.protocol.UnlistensMany.unlisten_many`."""
        await self._perform(self.unlistening(channels))

    @abc.abstractmethod
    async def wait(self, timeout: float | None, wakeup: AsyncWakeup) -> bool:
        """See `pgnotify.async_protocol.AsyncBackend.wait`."""

    async def notify(self, channel: str, payload: str = "") -> None:
        """See `pgnotify.protocol.Backend.notify`."""
        await self._perform(self.notifying(channel, payload))

    async def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """See `pgnotify.protocol.NotifiesMany.notify_many`."""
        await self._perform(self.notifying_many(notifications))

    async def check(self) -> Health:
        """See `pgnotify.protocol.ChecksHealth.check`."""
        return await self._perform(self.checking())

    async def name_session(self, name: str) -> None:
        """See `pgnotify.protocol.NamesSession.name_session`."""
        await self._perform(self.naming_session(name))

    async def close(self) -> None:
        """See `pgnotify.protocol.Backend.close`. A connection that only returns to a pool is released first."""
        if self._returned:
            return
        if self._closes_for_good():
            await self.end()
            return
        await release_or_end(self)
        self._returned = True
        await self._return_to_pool()

    # Beyond the verbs.

    @abc.abstractmethod
    async def end(self) -> None:
        """See `pgnotify.protocol.Ends.end`."""

    async def release(self) -> None:
        """See `pgnotify.protocol.Releases.release`."""
        await self._perform(self.releasing())

    async def query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> Rows:
        """See `pgnotify.protocol.Queries.query`."""
        try:
            return await self._query(sql, parameters, prepare and self._prepares, joins)
        except self.DatabaseError as error:
            if not self._stops_preparing(sql, error):
                raise
        return await self._query(sql, parameters, False, joins)

    # For a driver's module to implement.

    @abc.abstractmethod
    async def _query(
        self, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
    ) -> Rows:
        """Do the same as `query`. Without parameters, several statements are run as one transaction."""

    # What they share.

    async def _perform(self, steps: Steps[T]) -> T:
        """Run the statements of a verb and return its result."""
        try:
            statement = next(steps)
            while True:
                try:
                    rows = await self._query(*statement)
                except BaseException as error:
                    statement = steps.throw(error)
                else:
                    statement = steps.send(rows)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _return_to_pool(self) -> None:
        await self._connection.close()


async def release_or_end(backend: Any) -> None:
    """Do the same as `pgnotify.backends._driver.release_or_end`."""
    try:
        await backend.release()
    except Exception:
        await backend.end()
    except BaseException:
        await backend.end()
        raise


class OneTurn:
    """Awaited, it lets the event loop do once all that it has to do."""

    def __await__(self) -> Generator[None, None, None]:
        yield
