"""A listener that feeds a command, from the first attempt to connect, which must succeed, to its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pgnotify.cli.command_line import CannotBegin
from pgnotify.cli.messages import Messages
from pgnotify.errors import PgNotifyError
from pgnotify.listener.gap import Listening
from pgnotify.listener.listener import Listener
from pgnotify.listener.observer import Observer
from pgnotify.listener.options import Options
from pgnotify.notification import Notification
from pgnotify.program.state import ListenerState


class Receiver(Protocol):
    """Takes notifications and events from a listener. The reading thread calls it, so it must be quick."""

    def receive(self, notification: Notification) -> None:
        """Take a notification."""

    def listening(self, event: Listening) -> None:
        """Take the event of a LISTEN, perhaps with a gap."""

    def end(self, why: Exception) -> None:
        """Take the reason why nothing follows."""


@contextmanager
def listening(
    dsn: str,
    channels: list[str],
    driver: str | None,
    messages: Messages,
    receiver: Receiver,
    heartbeat: float | None = Options.heartbeat,
) -> Iterator[Listener]:
    """Listen to channels until the end of the block. The log goes to the messages.

    Raises:
        CannotBegin: a channel, the connection string or the driver is not possible.

    It also raises the error of the first attempt to connect, and the server's if it refuses a channel.
    """
    watch = _Watch(receiver)
    try:
        listener = Listener(dsn, driver=driver, on_listening=receiver.listening, observer=watch, heartbeat=heartbeat)
        subscriptions = [listener.subscribe(channel, receiver.receive) for channel in dict.fromkeys(channels)]
    except (PgNotifyError, ValueError) as error:
        raise CannotBegin(str(error)) from error
    try:
        with messages:
            listener.start()
            if watch.error is not None:
                raise watch.error
            for subscription in subscriptions:
                subscription.wait_listening()
            messages.begin()
            yield listener
    finally:
        listener.stop()


class _Watch(Observer):
    """Remembers the first error, and tells the receiver if the listener ends by itself."""

    def __init__(self, receiver: Receiver) -> None:
        self.error: Exception | None = None
        self._receiver = receiver

    def connect_failed(self, name: str, error: Exception, attempt: int, delay: float | None) -> None:
        self.error = self.error or error

    def state_changed(self, name: str, state: ListenerState) -> None:
        if state in (ListenerState.LOST, ListenerState.CLOSED):
            self._receiver.end(RuntimeError(f"the listener is {state}"))
