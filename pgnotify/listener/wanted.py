"""The channels that a listener is to listen to, and those of them of which the server must be told.

Any thread adds and removes. Each change takes the same time, however many channels there are. The loop takes up only
what has changed, and never looks at all channels for one change.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable
from itertools import islice

from pgnotify.atomic import at_once


class Wanted:
    """The channels to listen to, and which of them are due: for a LISTEN, for an UNLISTEN, or to be told to the user.

    Args:
        channels: those to begin with; duplicates are ignored.
    """

    def __init__(self, *channels: str) -> None:
        self._lock = threading.RLock()  # for signal handlers
        # The values of the dictionaries mean nothing, except for the refused ones.
        self.channels: dict[str, None] = dict.fromkeys(channels)
        """All channels to listen to, in the order in which they were added. Any thread may look up a channel."""
        self.refused: dict[str, Exception] = {}
        """Those of them that the server refuses, each with its error. They are not due. Any thread may look one up."""
        self.due: dict[str, None] = dict(self.channels)
        """The channels to take up, in the order in which they have changed. For some there may be nothing to do, but
        none is ever lacking: a signal handler may come between any two steps here. Any thread may look one up."""
        self._listened: dict[str, None] = {}
        """The channels that the server listens to, as the user knows."""
        self.taken_up: frozenset[str] = frozenset()
        """The channels that the loop is about to listen to or to unlisten. So nothing is known of them."""

    def add(self, channel: str) -> None:
        """Listen to a channel from now on."""
        with self._lock:
            self.due[channel] = None
            self.channels[channel] = None
            if channel in self._listened and channel not in self.taken_up:
                self.due.pop(channel, None)

    def remove(self, channel: str) -> None:
        """Stop listening to a channel. If it is refused, it is tried again when it is added again."""
        with self._lock:
            self.due[channel] = None
            self.channels.pop(channel, None)
            self.refused.pop(channel, None)
            if channel not in self._listened and channel not in self.taken_up:
                self.due.pop(channel, None)

    def all(self) -> tuple[str, ...]:
        """Return all channels to listen to."""
        with self._lock:
            return tuple(self.channels)

    def start_over(self) -> int:
        """Make all channels due, for a new connection, where none is listened to; return how many there are."""
        with self._lock:
            self._listened.clear()
            self.due.clear()
            self.due.update(self.channels)
            return len(self.due)

    def take_up(self, at_most: int) -> tuple[str, ...]:
        """Return the channels that have been due for the longest time. They stay due until `settle`."""
        with self._lock:
            part = tuple(islice(self.due, at_most))
            self.taken_up = frozenset(part)
            return part

    def refuse(self, channel: str, error: Exception) -> None:
        """Record that the server refuses a channel."""
        with self._lock:
            if channel in self.channels:
                self.refused[channel] = error

    def forget_in_child(self) -> None:
        """Take another lock in a forked child, where the old one may be held by a thread that does not exist there."""
        self._lock = threading.RLock()

    def settle(self, channels: Iterable[str], in_force: Container[str]) -> None:
        """Record how the channels are that were taken up. Those that have changed again by then are due, after others.

        Args:
            channels: the channels.
            in_force: those of them that are listened to, and others.
        """
        with self._lock:
            for channel in channels:
                if channel in in_force:
                    self._listened[channel] = None
                else:
                    self._listened.pop(channel, None)
                if (channel in self.channels) is (channel in self._listened or channel in self.refused):
                    self.due.pop(channel, None)
                else:
                    at_once((self.due.pop, (channel, None)), (self.due.__setitem__, (channel, None)))
            self.taken_up = frozenset()
