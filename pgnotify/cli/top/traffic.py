"""The traffic of each channel in numbers: counts, rates, sizes and gaps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from pgnotify.listener.gap import Gap, Listening
from pgnotify.listener.observer import size_of
from pgnotify.notification import Notification


@dataclass
class Channel:
    """The numbers of one channel, since the beginning."""

    notifications: int = 0
    bytes: int = 0
    """The size of all payloads, in bytes of UTF-8."""
    largest: int = 0
    """The size of the largest payload."""
    latest_at: float | None = None
    """When the latest notification arrived, by the clock of `Traffic`; None before the first."""
    gaps: int = 0
    rate: float = 0.0
    """Notifications per second, between the latest two calls of `Traffic.tick`."""
    _ticked: int = field(default=0, repr=False)

    @property
    def mean(self) -> float:
        """The mean size of a payload, in bytes; 0 if there is none."""
        return self.bytes / self.notifications if self.notifications else 0.0


class Traffic:
    """Counts notifications and gaps. It is the `Receiver` of `pgnotify top`.

    Args:
        channels: the channels that are shown, in this order.
        clock: in seconds; only differences mean anything.
    """

    def __init__(self, channels: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.channels = {channel: Channel() for channel in channels}
        self.latest_gap: Gap | None = None
        self.clock = clock
        self._ticked_at = clock()
        self._ends: SimpleQueue[Exception | None] = SimpleQueue()

    def receive(self, notification: Notification) -> None:
        """Count a notification."""
        channel = self.channels[notification.channel]
        size = size_of(notification.payload)
        channel.notifications += 1
        channel.bytes += size
        channel.largest = max(channel.largest, size)
        channel.latest_at = self.clock()

    def listening(self, event: Listening) -> None:
        """Count a gap, for each of its channels."""
        if event.gap is not None:
            self.latest_gap = event.gap
            for channel in event.gap.channels:
                self.channels[channel].gaps += 1

    def tick(self) -> None:
        """Compute the rates since the latest call."""
        now = self.clock()
        seconds = now - self._ticked_at
        for channel in self.channels.values():
            count = channel.notifications
            channel.rate = (count - channel._ticked) / seconds if seconds else 0.0
            channel._ticked = count
        self._ticked_at = now

    def end(self, why: Exception | None) -> None:
        """End `wait`. Any thread may call this.

        Args:
            why: the error that it raises; None if the user wants the end.
        """
        self._ends.put(why)

    def wait(self, seconds: float) -> bool:
        """Wait; return False at the end."""
        try:
            why = self._ends.get(timeout=seconds)
        except Empty:
            return True
        if why is not None:
            raise why
        return False
