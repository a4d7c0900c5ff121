"""The ways of pg8000, whose only own way is to send queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pgnotify.testing.address import Address
from tests.kinds import pg8000_arguments

Loop = Callable[[Callable[[Any], object]], None]


def query_per_wakeup(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Send a query for each wake-up, with a deque that keeps more than the last hundred.

    Also looks every 10 ms: notifications read together with the answer make no socket readable.
    """
    import select
    from collections import deque

    db = _listening(address, channels, stop)

    def loop(callback: Callable[[Any], object]) -> None:
        arg_dict: dict[str, Any] = {}
        waiting: deque[Any] = deque(db.notifications)
        db.notifications = waiting
        while True:
            db.run("SELECT 1")
            while waiting:
                pid, channel, payload = waiting.popleft()
                arg_dict["pid"] = pid
                arg_dict["event"] = channel
                arg_dict["extra"] = payload
                callback(arg_dict)
                if channel == stop:
                    return
            select.select([db._usock], [], [], 0.01)

    return loop


def bulk_parse(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Parse the notifications out of the driver's buffer; handles no other message and no end."""
    import select
    from struct import Struct

    db = _listening(address, channels, stop)
    head = Struct("!cii")

    def loop(callback: Callable[[Any], object]) -> None:
        arg_dict: dict[str, Any] = {}
        stream, usock = db._sock, db._usock
        usock.settimeout(0)
        while True:
            data = stream.peek(1)
            position, size = 0, len(data)
            while position + 9 <= size:
                _, length, pid = head.unpack_from(data, position)
                following = position + 1 + length
                if following > size:
                    break
                end = data.index(0, position + 9)
                arg_dict["pid"] = pid
                arg_dict["event"] = channel = data[position + 9 : end].decode()
                arg_dict["extra"] = data[end + 1 : following - 1].decode()
                position = following
                callback(arg_dict)
                if channel == stop:
                    return
            if position:
                stream.read(position)
            elif data:  # a part of a message: when the rest arrives, it can be read whole
                usock.settimeout(None)
                _deliver_one(stream, arg_dict, callback)
                usock.settimeout(0)
                if arg_dict["event"] == stop:
                    return
            else:
                select.select([usock], [], [])

    return loop


def _deliver_one(stream: Any, arg_dict: dict[str, Any], callback: Callable[[Any], object]) -> None:
    from struct import unpack

    (length,) = unpack("!xi", stream.read(5))
    body = stream.read(length - 4)
    channel, payload, _ = body[4:].split(b"\0")
    (arg_dict["pid"],) = unpack("!i", body[:4])
    arg_dict["event"], arg_dict["extra"] = channel.decode(), payload.decode()
    callback(arg_dict)


def _listening(address: Address, channels: Sequence[str], stop: str) -> Any:
    import pg8000.native

    db = pg8000.native.Connection(*pg8000_arguments(address), ssl_context=False)
    for channel in (*channels, stop):
        db.run(f'LISTEN "{channel}"')
    return db
