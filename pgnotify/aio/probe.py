"""Find out whether notifications arrive, by sending one from a second session, on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Protocol

from pgnotify.aio.loop import start_task
from pgnotify.aio.source import AsyncSource
from pgnotify.connecting.socket_handle import SocketHandle, handle_of
from pgnotify.listener.probe import Probe, ProbeAttempt, no_answer, refusal, verdict
from pgnotify.listener.status import Status
from pgnotify.listener.subscriptions import Subscription
from pgnotify.notification import Notification


class Probed(Protocol):
    """The part of an AsyncListener that is used here."""

    def status(self) -> Status:
        """See `AsyncListener.status`."""

    def subscribe_internally(self, callback: Callable[[Notification], object]) -> Subscription:
        """Subscribe to a channel that nobody else uses, without telling the user."""

    def notify(self) -> None:
        """Have all waiting tasks check again."""

    async def wait_listening(self, subscription: Subscription, timeout: float | None) -> bool:
        """Wait until the LISTEN of a subscription is in force."""

    def wait(self, predicate: Callable[[], object], deadline: float | None) -> Awaitable[bool]:
        """Wait until a predicate is true."""


async def probe(listener: Probed, source: AsyncSource, timeout: float) -> Probe:
    """Do the same as `pgnotify.listener.probe.probe`."""
    if (early := refusal(source, listener.status())) is not None:
        return early
    attempt = ProbeAttempt(listener.notify)
    with listener.subscribe_internally(attempt.take) as subscription:
        if not await listener.wait_listening(subscription, timeout):
            return no_answer(timeout)
        started = time.monotonic()
        sending = start_task(_send(attempt, source, subscription.channel, timeout), "pgnotify probe")
        try:
            await listener.wait(attempt.is_over, started + timeout)
            return verdict(attempt, listener.status(), started, timeout)
        finally:
            sending.cancel()
            await asyncio.wait((sending,))


async def _send(attempt: ProbeAttempt, source: AsyncSource, channel: str, timeout: float) -> None:
    """Open the second session and send."""
    try:
        second = await source.open_another()
        try:
            with ExitStack() as stack:
                if (handle := handle_of(second)) is not None:
                    stack.enter_context(handle)
                    stack.enter_context(handle.deadline(timeout))
                    stack.push(partial(_cut_off, handle))
                await second.notify(channel, attempt.payload)
            attempt.sent = True
        finally:
            await source.discard(second)
    except Exception as error:
        attempt.error = error
    attempt.changed()


def _cut_off(handle: SocketHandle, kind: type[BaseException] | None, *_: object) -> None:
    """End a call that was cancelled. Otherwise the end of the connection would wait for the answer."""
    if kind is not None:
        handle.shut_down()
