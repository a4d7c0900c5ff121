"""The ways of this library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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


def listener(kind: Kind) -> Callable[[Address, Sequence[str], str], Loop]:
    """Iterate over a Listener, which also reconnects and checks."""

    def prepare(address: Address, channels: Sequence[str], stop: str) -> Loop:
        made = pgnotify.Listener(lambda: kind.connect(address), *channels, stop)
        made.__enter__()

        def loop(callback: Callable[[Any], object]) -> None:
            call_until(stop, made, callback)
            made.stop()

        return loop

    return prepare


def listener_run(kind: Kind) -> Callable[[Address, Sequence[str], str], Loop]:
    """Subscribe a callback to each channel of a Listener, and run it in this thread."""

    def prepare(address: Address, channels: Sequence[str], stop: str) -> Loop:
        made = pgnotify.Listener(lambda: kind.connect(address))
        subscriptions = [made.subscribe(channel, print) for channel in (*channels, stop)]
        made.__enter__()

        def loop(callback: Callable[[Any], object]) -> None:
            arg_dict: dict[str, Any] = {}

            def call(notification: pgnotify.Notification) -> None:
                arg_dict["pid"] = notification.pid
                arg_dict["event"] = notification.channel
                arg_dict["extra"] = notification.payload
                callback(arg_dict)

            def call_and_stop(notification: pgnotify.Notification) -> None:
                call(notification)
                made.stop()

            for subscription in subscriptions:
                subscription.callback = call
            subscriptions[-1].callback = call_and_stop
            made.run()

        return loop

    return prepare


def fetch(kind: Kind) -> Callable[[Address, Sequence[str], str], Loop]:
    """Wait and fetch by hand, on any number of channels."""

    def prepare(address: Address, channels: Sequence[str], stop: str) -> Loop:
        connection = pgnotify.wrap(kind.connect(address))
        for channel in (*channels, stop):
            connection.listen(channel)

        def loop(callback: Callable[[Any], object]) -> None:
            while not call_until(stop, connection.fetch(), callback):
                connection.wait()

        return loop

    return prepare


def call_until(stop: str, notifications: Iterable[pgnotify.Notification], callback: Callable[[Any], object]) -> bool:
    """Call back for each; return whether one was on the stop channel, which ends it."""
    arg_dict: dict[str, Any] = {}
    for notification in notifications:
        arg_dict["pid"] = notification.pid
        arg_dict["event"] = notification.channel
        arg_dict["extra"] = notification.payload
        callback(arg_dict)
        if notification.channel == stop:
            return True
    return False
