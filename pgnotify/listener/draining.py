"""What a stop that drains still fetches and delivers, without any I/O."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pgnotify.listener.channels import unlisten
from pgnotify.listener.failure import OnListeningFailed, fetch
from pgnotify.listener.loop import announce
from pgnotify.listener.policy import Policy
from pgnotify.listener.watch import ListenerWatch
from pgnotify.program import actions as p
from pgnotify.program.interruption import is_interruption

# It fetches first without a question to the server, which may no longer answer. If notifications keep arriving, only
# UNLISTEN ends them.
BATCHES_BEFORE_UNLISTEN = 100


def deliver_queue(watch: ListenerWatch, has_time: Callable[[], bool], at_most: int = 1) -> p.Program[None]:
    """Deliver the notifications in the queue, this many at a time, as long as there is time."""
    while watch.queue and has_time():
        yield p.Deliver(at_most)


def fetch_arrived(watch: ListenerWatch, policy: Policy) -> p.Program[None]:
    """Fetch everything that has arrived, unless more keeps arriving."""
    if watch.to_announce is not None:  # queued notifications are older, and those to fetch are newer
        while watch.queue:
            yield p.DELIVER_ONE
        with suppress(OnListeningFailed):  # no further LISTEN will announce it again
            yield from announce(watch)
    for _ in range(BATCHES_BEFORE_UNLISTEN):
        if not (yield from fetch(watch, policy)):
            return


def fetch_after_unlisten(watch: ListenerWatch, policy: Policy) -> p.Program[None]:
    """Fetch the notifications that had arrived when UNLISTEN was answered. No others follow."""
    lost: Exception | None = None
    try:
        yield from unlisten(watch, tuple(watch.in_force))
    except Exception as error:
        if is_interruption(error):
            raise
        lost = error
    while (yield from fetch(watch, policy)):
        pass
    if lost is not None:
        raise lost
