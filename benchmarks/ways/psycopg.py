"""The ways of psycopg 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

from benchmarks.ways import event_loops
from pgnotify.testing.address import Address

Loop = Callable[[Callable[[Any], object]], None]


def notifies(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Iterate as the documentation does; it waits by itself."""
    db = _listening(address, channels, stop)

    def loop(callback: Callable[[Any], object]) -> None:
        arg_dict: dict[str, Any] = {}
        for notify in db.notifies():
            arg_dict["pid"] = notify.pid
            arg_dict["event"] = channel = notify.channel
            arg_dict["extra"] = notify.payload
            callback(arg_dict)
            if channel == stop:
                return

    return loop


def async_notifies(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Iterate over the notifications of an asynchronous connection."""
    import psycopg

    events = event_loops.new()

    async def listening() -> Any:
        db = await psycopg.AsyncConnection.connect(address.dsn, autocommit=True)
        for channel in (*channels, stop):
            await db.execute(f'LISTEN "{channel}"')
        return db

    db = events.run_until_complete(listening())

    async def iterate(callback: Callable[[Any], object]) -> None:
        arg_dict: dict[str, Any] = {}
        async with aclosing(db.notifies()) as arriving:
            async for notify in arriving:
                arg_dict["pid"] = notify.pid
                arg_dict["event"] = channel = notify.channel
                arg_dict["extra"] = notify.payload
                callback(arg_dict)
                if channel == stop:
                    return

    return lambda callback: events.run_until_complete(iterate(callback))


def pgconn_loop(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Read below the connection: takes no lock, and makes only two bytes objects."""
    import select

    db = _listening(address, channels, stop)

    def loop(callback: Callable[[Any], object]) -> None:
        arg_dict: dict[str, Any] = {}
        pgconn = db.pgconn
        while True:
            pgconn.consume_input()
            seen = False
            while notify := pgconn.notifies():
                seen = True
                arg_dict["pid"] = notify.be_pid
                arg_dict["event"] = channel = notify.relname.decode()
                arg_dict["extra"] = notify.extra.decode()
                callback(arg_dict)
                if channel == stop:
                    return
            if not seen:
                select.select([db], [], [])

    return loop


def _listening(address: Address, channels: Sequence[str], stop: str) -> Any:
    import psycopg

    db = psycopg.connect(address.dsn, autocommit=True)
    for channel in (*channels, stop):
        db.execute(f'LISTEN "{channel}"')
    return db
