"""A listener that feeds a command, from the first attempt to connect, which must succeed, to its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgnotify.cli.arrivals import Arrivals
from pgnotify.cli.command_line import CannotBegin
from pgnotify.cli.messages import Messages
from pgnotify.errors import PgNotifyError
from pgnotify.listener.listener import Listener
from pgnotify.listener.observer import Observer
from pgnotify.program.state import ListenerState


@contextmanager
def arriving(dsn: str, channels: list[str], driver: str | None, messages: Messages) -> Iterator[Arrivals]:
    """Listen to channels until the end of the block.

    Raises:
        CannotBegin: a channel, the connection string or the driver is not possible.

    It also raises the error of the first attempt to connect, and the server's if it refuses a channel.
    """
    arrivals = Arrivals(lambda: listener.status().known_good_at)
    watch = _Watch(arrivals)
    try:
        listener = Listener(dsn, driver=driver, on_listening=arrivals.listening, observer=watch)
        subscriptions = [listener.subscribe(channel, arrivals.receive) for channel in dict.fromkeys(channels)]
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
            yield arrivals
    finally:
        listener.stop()


class _Watch(Observer):
    """Remembers the first error, and ends the command if the listener ends by itself."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.error: Exception | None = None
        self._arrivals = arrivals

    def connect_failed(self, name: str, error: Exception, attempt: int, delay: float | None) -> None:
        self.error = self.error or error

    def state_changed(self, name: str, state: ListenerState) -> None:
        if state in (ListenerState.LOST, ListenerState.CLOSED):
            self._arrivals.end(RuntimeError(f"the listener is {state}"))
