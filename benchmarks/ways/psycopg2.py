"""The ways of psycopg2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pgnotify.testing.address import Address

Loop = Callable[[Callable[[Any], object]], None]


def recipe(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Run the recipe of psycopg2's documentation: select, poll, and take them one by one from the list."""
    import select

    db = _listening(address, channels, stop)

    def loop(callback: Callable[[Any], object]) -> None:
        arg_dict: dict[str, Any] = {}
        while True:
            select.select([db], [], [])
            db.poll()
            while db.notifies:
                notify = db.notifies.pop(0)
                arg_dict["pid"] = notify.pid
                arg_dict["event"] = channel = notify.channel
                arg_dict["extra"] = notify.payload
                callback(arg_dict)
                if channel == stop:
                    return

    return loop


def poll_and_swap(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Poll before waiting, and take the list whole."""
    import select

    db = _listening(address, channels, stop)

    def loop(callback: Callable[[Any], object]) -> None:
        arg_dict: dict[str, Any] = {}
        while True:
            db.poll()
            batch, db.notifies = db.notifies, []
            for notify in batch:
                arg_dict["pid"] = notify.pid
                arg_dict["event"] = channel = notify.channel
                arg_dict["extra"] = notify.payload
                callback(arg_dict)
                if channel == stop:
                    return
            if not batch:
                select.select([db], [], [])

    return loop


def _listening(address: Address, channels: Sequence[str], stop: str) -> Any:
    import psycopg2

    db = psycopg2.connect(address.dsn)
    db.autocommit = True
    with db.cursor() as cursor:
        for channel in (*channels, stop):
            cursor.execute(f'LISTEN "{channel}"')
    return db
