"""A listener's `Status` at one moment, put together from the parts that know it."""

from __future__ import annotations

from pgnotify.listener.delivery import Delivery
from pgnotify.listener.options import Options
from pgnotify.listener.status import Status
from pgnotify.listener.subscriptions import Routes
from pgnotify.program.state import State

# Without a heartbeat, a listener that nobody reads for this long is not taken to deliver.
LONGEST_UNREAD_SECONDS = 30.0


def delivers(options: Options, delivery: Delivery, unread: float) -> bool:
    """Return whether a notification that is sent now should arrive, and reach the user's code soon.

    Args:
        options: the listener's.
        delivery: knows the watch.
        unread: for how many seconds nobody has read.
    """
    return delivery.watch.delivering and unread <= (options.heartbeat or LONGEST_UNREAD_SECONDS)


def snapshot(options: Options, delivery: Delivery, routes: Routes) -> Status:
    """Return the state and the counters at this moment. Any thread may call this; it does not wait."""
    reporter = delivery.reporter
    counters, watch, link = reporter.counters, delivery.watch, delivery.watch.link
    channels = tuple(filter(routes.internal_channel.__ne__, tuple(watch.in_force)))
    unread, known_good = delivery.unread_seconds(), watch.known_good
    stored = watch.stored
    waiting = sum(len(subscription.mailbox) for subscription in routes.subscriptions())
    return Status(
        name=options.title,
        state=counters.state,
        since=counters.since,
        channels=channels,
        notifications=counters.notifications,
        bytes=counters.bytes,
        dropped=counters.dropped,
        queued=len(watch.queue) + len(delivery.mailbox) + waiting,
        gaps=counters.gaps,
        reconnects=counters.reconnects,
        attempts=0 if watch.state is State.LISTENING else watch.attempts,
        delivering=delivers(options, delivery, unread),
        server_pid=link.server_pid,
        behind_pooler=link.behind_pooler,
        ignored=tuple(filter(link.ignored.__contains__, channels)),
        last_error=counters.last_error,
        round_trip=counters.round_trip,
        queue_usage=counters.queue_usage,
        unchecked=counters.unchecked,
        unread=unread,
        known_good_at=None if known_good is None else known_good.lost_at,
        last_error_at=counters.last_error_at,
        callback_errors=counters.callback_errors,
        durable=options.durable,
        standing_by=stored is not None and stored.stands_by,
        held_up=stored is not None and stored.is_held_up,
    )
