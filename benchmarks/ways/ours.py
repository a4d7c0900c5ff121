"""The ways of this library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pgnotify
from pgnotify.testing.address import Address
from tests.kinds import Kind

Loop = Callable[[Callable[[Any], object]], None]


def handler(kind: Kind) -> Callable[[Address, Sequence[str], str], Loop]:
    """Run the documented handler on a kind of connection."""

    def prepare(address: Address, channels: Sequence[str], stop: str) -> Loop:
        (channel,) = channels
        made = pgnotify.NotificationHandler(kind.connect(address), channel, print, stop_event=stop)
        made.listen()

        def loop(callback: Callable[[Any], object]) -> None:
            made.callback = callback
            made()

        return loop

    return prepare


def fetch(kind: Kind) -> Callable[[Address, Sequence[str], str], Loop]:
    """Wait and fetch by hand, on any number of channels."""

    def prepare(address: Address, channels: Sequence[str], stop: str) -> Loop:
        connection = pgnotify.wrap(kind.connect(address))
        for channel in (*channels, stop):
            connection.listen(channel)

        def loop(callback: Callable[[Any], object]) -> None:
            arg_dict: dict[str, Any] = {}
            while True:
                for channel, payload, pid in connection.fetch():
                    arg_dict["pid"] = pid
                    arg_dict["event"] = channel
                    arg_dict["extra"] = payload
                    callback(arg_dict)
                    if channel == stop:
                        return
                connection.wait()

        return loop

    return prepare
