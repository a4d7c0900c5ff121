"""The way of asyncpg, a driver for asyncio only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pgnotify.testing.address import Address

Loop = Callable[[Callable[[Any], object]], None]


def add_listener(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Have the driver call a listener for each notification."""
    import asyncio

    import asyncpg

    events = asyncio.new_event_loop()
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
            await db.add_listener(channel, listener)
        return db

    db = events.run_until_complete(listening())

    def loop(users: Callable[[Any], object]) -> None:
        nonlocal callback
        callback = users
        events.run_until_complete(ended)
        db.terminate()

    return loop
