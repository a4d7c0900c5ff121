"""The ways of this library on an event loop, on connections that block and on asynchronous ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import pgnotify
from benchmarks.ways import event_loops
from pgnotify import registry
from pgnotify.testing.address import Address
from tests.kinds import FIRST

Loop = Callable[[Callable[[Any], object]], None]
Prepare = Callable[[Address, Sequence[str], str], Loop]

MANY = 1_000_000_000
"""A queue size that no backlog reaches: the ways are measured with everything delivered, and nothing dropped."""


class AsyncKind(NamedTuple):
    """A kind of connection that an event loop can use."""

    name: str
    driver: str
    modules: tuple[str, ...]
    connect: Callable[[Address], Any]
    """A function or a coroutine function."""


async def _asyncpg(address: Address) -> Any:
    import asyncpg

    return await asyncpg.connect(address.dsn)


async def _psycopg_async(address: Address) -> Any:
    import psycopg

    return await psycopg.AsyncConnection.connect(address.dsn)


KINDS = (
    *(
        AsyncKind(kind.name, kind.driver, kind.modules, kind.connect)
        for kind in FIRST.values()
        if kind.driver in registry.DRIVERS
    ),
    AsyncKind("psycopg_async", "psycopg", ("psycopg",), _psycopg_async),
    AsyncKind("asyncpg", "asyncpg", ("asyncpg",), _asyncpg),
)


def handler(kind: AsyncKind) -> Prepare:
    """Run the documented handler with a function as callback."""
    return _handler(kind, lambda callback: callback)


def handler_awaiting(kind: AsyncKind) -> Prepare:
    """Run the documented handler with a coroutine function as callback."""
    return _handler(kind, _awaited)


def _handler(kind: AsyncKind, wrapped: Callable[[Callable[[Any], object]], Callable[[Any], object]]) -> Prepare:
    def prepare(address: Address, channels: Sequence[str], stop: str) -> Loop:
        (channel,) = channels
        events = event_loops.new()

        async def listening() -> pgnotify.AsyncNotificationHandler:
            db = await opened(kind, address)
            made = pgnotify.AsyncNotificationHandler(db, channel, print, stop_event=stop)
            await made.listen()
            return made

        made = events.run_until_complete(listening())

        def loop(callback: Callable[[Any], object]) -> None:
            made.callback = wrapped(callback)
            events.run_until_complete(made())

        return loop

    return prepare


def _awaited(callback: Callable[[Any], object]) -> Callable[[Any], object]:
    async def coroutine_function(arg_dict: Any) -> None:
        callback(arg_dict)

    return coroutine_function


def listener(kind: AsyncKind) -> Prepare:
    """Iterate over an AsyncListener."""

    def prepare(address: Address, channels: Sequence[str], stop: str) -> Loop:
        events = event_loops.new()
        made = pgnotify.AsyncListener(source(kind, address), *channels, stop, queue_size=MANY)
        events.run_until_complete(made.start())

        async def iterate(callback: Callable[[Any], object]) -> None:
            arg_dict: dict[str, Any] = {}
            async for notification in made:
                arg_dict["pid"] = notification.pid
                arg_dict["event"] = notification.channel
                arg_dict["extra"] = notification.payload
                callback(arg_dict)
                if notification.channel == stop:
                    break
            await made.stop()

        return lambda callback: events.run_until_complete(iterate(callback))

    return prepare


def subscribe(kind: AsyncKind) -> Prepare:
    """Subscribe a function to each channel of an AsyncListener."""
    return _subscribe(kind, lambda call: call, drain=False)


def subscribe_awaiting(kind: AsyncKind) -> Prepare:
    """Subscribe a coroutine function to each channel of an AsyncListener.

    Each has a task of its own, so that on the stop channel may be called before the others are done.
    """
    return _subscribe(kind, _awaited, drain=True)


def _subscribe(
    kind: AsyncKind, wrapped: Callable[[Callable[[Any], object]], Callable[[Any], object]], drain: bool
) -> Prepare:
    def prepare(address: Address, channels: Sequence[str], stop: str) -> Loop:
        events = event_loops.new()
        made = pgnotify.AsyncListener(source(kind, address), queue_size=MANY)
        arg_dict: dict[str, Any] = {}
        users: Callable[[Any], object] = print

        def call(notification: pgnotify.Notification) -> None:
            arg_dict["pid"] = notification.pid
            arg_dict["event"] = notification.channel
            arg_dict["extra"] = notification.payload
            users(arg_dict)

        def call_and_stop(notification: pgnotify.Notification) -> None:
            call(notification)
            made.stop(timeout=None, drain=drain)

        for channel in channels:
            made.subscribe(channel, wrapped(call))
        made.subscribe(stop, wrapped(call_and_stop))
        events.run_until_complete(made.start())

        def loop(callback: Callable[[Any], object]) -> None:
            nonlocal users
            users = callback
            events.run_until_complete(made.run())

        return loop

    return prepare


async def opened(kind: AsyncKind, address: Address) -> Any:
    """Return a new connection of a kind."""
    db = kind.connect(address)
    return await db if hasattr(db, "__await__") else db


def source(kind: AsyncKind, address: Address) -> Callable[[], Any]:
    """Return the source of a listener: a coroutine function if the kind is asynchronous, otherwise a function."""
    return partial(kind.connect, address)
