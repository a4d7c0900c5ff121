"""Expect notifications in a test that is a coroutine: the same collector, which never holds up the event loop."""

from __future__ import annotations

from functools import partial

from pgnotify.aio.loop import Loop
from pgnotify.notification import Notification
from pgnotify.testing.notifications import Notifications, Payload


class AsyncNotifications:
    """Does the same as `Notifications`, and lets the code under test run meanwhile on the event loop.

    Each call waits in a thread. Only asyncio's loops will do.

    Args:
        collector: collects the notifications; its owner closes it.
    """

    def __init__(self, collector: Notifications) -> None:
        self._collector = collector

    async def listen(self, *channels: str) -> None:
        """See `Notifications.listen`."""
        __tracebackhide__ = True
        await Loop().in_thread(self._collector.listen, *channels)

    async def expect(self, channel: str, payload: Payload = None, *, within: float = 1.0) -> Notification:
        """See `Notifications.expect`."""
        __tracebackhide__ = True
        return await Loop().in_thread(partial(self._collector.expect, channel, payload, within=within))

    async def expect_none(self, channel: str | None = None, payload: Payload = None, *, within: float = 0.0) -> None:
        """See `Notifications.expect_none`."""
        __tracebackhide__ = True
        await Loop().in_thread(partial(self._collector.expect_none, channel, payload, within=within))

    @property
    def received(self) -> list[Notification]:
        """See `Notifications.received`."""
        return self._collector.received

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._collector!r}>"
