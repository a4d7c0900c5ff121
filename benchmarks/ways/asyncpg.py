"""The ways of asyncpg, a driver for asyncio only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.ways import event_loops
from pgnotify.testing.address import Address

Loop = Callable[[Callable[[Any], object]], None]


def add_listener(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Have the driver call a listener for each notification."""
    return _listening(address, channels, stop, lambda listener: listener)


def add_coroutine_listener(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Do the same with a coroutine function as listener: the driver makes a task for each notification."""

    def wrapped(listener: Callable[..., None]) -> Callable[..., object]:
        async def coroutine_function(db: Any, pid: int, channel: str, payload: Any) -> None:
            listener(db, pid, channel, payload)

        return coroutine_function

    return _listening(address, channels, stop, wrapped)


def _listening(
    address: Address,
    channels: Sequence[str],
    stop: str,
    wrapped: Callable[[Callable[..., None]], Callable[..., object]],
) -> Loop:
    import asyncpg

    events = event_loops.new()
    callback: Callable[[Any], object] = print
    arg_dict: dict[str, Any] = {}
    ended = events.create_future()

    def listener(_: Any, pid: int, channel: str, payload: Any) -> None:
        arg_dict["pid"] = pid
        arg_dict["event"] = channel
        arg_dict["extra"] = payload
        callback(arg_dict)
        if channel == stop:
            ended.set_result(None)

    async def listening() -> Any:
        db = await asyncpg.connect(address.dsn)
        for channel in (*channels, stop):
            await db.add_listener(channel, wrapped(listener))
        return db

    db = events.run_until_complete(listening())

    def loop(users: Callable[[Any], object]) -> None:
        nonlocal callback
        callback = users
        events.run_until_complete(ended)
        db.terminate()

    return loop
