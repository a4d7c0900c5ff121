"""Hints that there is work: the latest notification, or the latest gap; see `Listener.wait_or_poll`."""

from __future__ import annotations

from collections import deque
from itertools import islice

from pgnotify.atomic import pops
from pgnotify.listener.gap import Gap
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.status import Counters
from pgnotify.notification import Notification, new


class Hints:
    """The hints of one listener.

    Args:
        mailbox: that of the iteration.
        counters: know the latest gap.
        kind: the class of what is delivered.
    """

    def __init__(self, mailbox: Mailbox, counters: Counters, kind: type[Notification]) -> None:
        self._mailbox = mailbox
        self._kind = kind
        self._counters = counters
        self._seen_gap: Gap | None = None
        """The latest gap that was returned."""
        self.found: Notification | Gap | None = None
        """The hint that was found last. The method that returns it sets this to None."""

    @property
    def are_there(self) -> bool:
        """Whether there is one."""
        return self.found is not None or bool(self._mailbox) or self._has_new_gap

    @property
    def _has_new_gap(self) -> bool:
        return self._counters.latest_gap is not self._seen_gap

    def find_notification(self) -> bool:
        """Find the latest notification before the first overflow; return False if there is none."""
        with self._mailbox.lock:  # the end of the listener clears it
            count = len(self._mailbox.items)
            if count:
                self.found = new(self._kind, self._mailbox.items[count - 1])
                deque(islice(pops(self._mailbox.items), count), maxlen=0)
        return bool(count)

    def find_gap(self) -> None:
        """Find a gap that was not returned yet."""
        if self._has_new_gap:
            self.found = self._seen_gap = self._counters.latest_gap
