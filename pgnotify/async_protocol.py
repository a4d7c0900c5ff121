"""The interface of an asynchronous backend: the verbs of `pgnotify.protocol`, for a driver that runs on an event loop.

A driver that blocks needs none: its `pgnotify.protocol.Backend` serves asyncio, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

from pgnotify.notification import Notification
from pgnotify.protocol import NEVER_LISTENED_TO, Health, cannot_query


class AsyncWakeup(Protocol):
    """Ends a wait on the event loop; see `AsyncBackend.wait`. All methods are for the loop's thread."""

    def wake(self) -> None:
        """End the current wait, or the next one if none is under way."""

    async def wait(self, timeout: float | None) -> bool:
        """Wait until `wake` is called; return False if the timeout, in seconds, passed first."""

    async def wait_readable(self, descriptor: int, timeout: float | None) -> bool:
        """Wait until `wake` is called, or a socket is readable, at its end, or broken.

        The socket is watched through a duplicate of its descriptor, so a driver may watch it as well.
        """


@runtime_checkable
class AsyncBackend(Protocol):
    """LISTEN and NOTIFY on one connection of an asynchronous driver. One task at a time calls it.

    Each promise of `pgnotify.protocol.Backend` holds here, too. In addition, each coroutine may be cancelled at any
    time: the connection stays usable, and nothing that has arrived is lost. The capabilities of `pgnotify.protocol`
    have the same names here. Those that wait for the server are coroutines: ``listen_many``, ``unlisten_many``,
    ``notify_many``, ``query``, ``check``, ``name_session``, ``release`` and ``end``. The others are not:
    ``fetch_plain``, ``fetch_into``, ``has_news``, ``fileno``, ``server_pid``, ``versions``, ``connection``, ``pool``,
    ``busy``, ``in_transaction`` and ``DatabaseError``.
    """

    async def listen(self, channel: str) -> None:
        """Listen to a channel; see `pgnotify.protocol.Backend.listen`."""

    async def unlisten(self, channel: str) -> None:
        """Stop listening to a channel; see `pgnotify.protocol.Backend.unlisten`."""

    async def wait(self, timeout: float | None, wakeup: AsyncWakeup) -> bool:
        """Wait until fetch() may have something to return, or until the wake-up is woken.

        A driver that calls a function for each notification has it call ``wakeup.wake()``, and returns
        ``await wakeup.wait(timeout)``. With a descriptor, it is ``await wakeup.wait_readable(descriptor, timeout)``.

        Args:
            timeout: seconds from now; None and infinity wait for ever, 0 only looks.
            wakeup: what to wait for; each call may have another one.

        Returns:
            False if the timeout passed first. True may be a false alarm. True at once if something is buffered.

        Raises:
            TransactionError: the connection is inside a transaction, where nothing can arrive.
            ConnectionLost: the server is gone; the driver's own error is its __cause__. A wait that is under way
                returns True when the connection ends.
        """

    def fetch(self) -> list[Notification]:
        """Return the notifications that have arrived, without waiting; see `pgnotify.protocol.Backend.fetch`."""

    async def notify(self, channel: str, payload: str = "") -> None:
        """Send a notification; see `pgnotify.protocol.Backend.notify`."""

    async def close(self) -> None:
        """Close the connection; see `pgnotify.protocol.Backend.close`."""


@runtime_checkable
class HasNews(Protocol):
    """A backend that can say at once whether `AsyncBackend.wait` would wait."""

    def has_news(self) -> bool:
        """Return whether `AsyncBackend.wait` would return True at once. It raises the same errors."""


async def listen_to_some(backend: AsyncBackend, channels: tuple[str, ...]) -> tuple[str, ...]:
    """Do the same as `pgnotify.protocol.listen_to_some`."""
    return await _all_or_the_first(backend, "listen", channels)


async def unlisten_some(backend: AsyncBackend, channels: tuple[str, ...]) -> tuple[str, ...]:
    """Do the same as `pgnotify.protocol.unlisten_some`."""
    return await _all_or_the_first(backend, "unlisten", channels)


async def _all_or_the_first(backend: AsyncBackend, verb: str, channels: tuple[str, ...]) -> tuple[str, ...]:
    many = getattr(backend, f"{verb}_many", None)
    if many is not None:
        with suppress(NotImplementedError):  # raised by a backend around another one that cannot
            await many(channels)
            return ()
    await getattr(backend, verb)(channels[0])
    return channels[1:]


async def release(backend: Any) -> None:
    """Do the same as `pgnotify.protocol.release`."""
    if hasattr(backend, "release"):
        await backend.release()


async def end(backend: Any) -> None:
    """Do the same as `pgnotify.protocol.end`."""
    if not hasattr(backend, "end"):
        await backend.close()
        return
    try:
        with suppress(NotImplementedError):
            await backend.end()
    finally:
        with suppress(Exception):  # some drivers refuse to close what is closed
            await backend.close()


async def health_of(backend: Any) -> Health | None:
    """Do the same as `pgnotify.protocol.health_of`."""
    if hasattr(backend, "check"):
        with suppress(NotImplementedError):
            health: Health | None = await backend.check()
            return health
    await backend.unlisten(NEVER_LISTENED_TO)
    return None


async def query(
    backend: Any, sql: str, parameters: Sequence[str | None] = (), prepare: bool = False, joins: bool = False
) -> list[tuple[str | None, ...]]:
    """Do the same as `pgnotify.protocol.query`."""
    if not hasattr(backend, "query"):
        raise cannot_query(backend)
    rows: list[tuple[str | None, ...]] = await backend.query(sql, parameters, prepare, joins)
    return rows


async def name_session(backend: Any, name: str) -> None:
    """Do the same as `pgnotify.protocol.name_session`."""
    if hasattr(backend, "name_session"):
        with suppress(NotImplementedError, getattr(backend, "DatabaseError", NotImplementedError)):
            await backend.name_session(name)
