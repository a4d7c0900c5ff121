"""Try whether notifications of a second session arrive at an idle listener, and how soon.

Only a second session proves anything, and only while the listener is idle: see `pgnotify.listener.probe`.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress

from pgnotify.cli.examination.facts import Delivery
from pgnotify.cli.examination.link import Link
from pgnotify.errors import ConnectionLost
from pgnotify.protocol import health_of

ARRIVAL_SECONDS = 2.0
"""If nothing has arrived after this time, nothing will. It takes 1 ms through loopback."""

MOST_TRIES = 20
"""Behind a pooler, a statement may reach another session than the one before. It is tried this many times."""


def deliver(link: Link, rounds: int, in_recovery: bool | None, behind_pooler: bool) -> Delivery:
    """Listen to a random channel, send to it from a second session, and take back the LISTEN.

    Args:
        link: the connection that listens.
        rounds: how many notifications are sent, one after the other.
        in_recovery: whether the server is a standby; None if that is not known.
        behind_pooler: whether a pooler is in between.

    Raises:
        ConnectionLost: the connection that listens is lost.
    """
    tried = Delivery((), in_recovery=in_recovery, behind_pooler=behind_pooler)
    channel = f"pgnotify doctor {secrets.token_hex(8)}"
    try:
        link.call(lambda backend: backend.listen(channel))
    except ConnectionLost:
        raise
    except Exception as error:
        return tried._replace(refusal=link.reason_of(error))
    if not behind_pooler:
        try:
            return _send_and_see(link, channel, rounds, tried)
        finally:
            with suppress(Exception):  # it ends with the session at the latest
                link.call(lambda backend: backend.unlisten(channel))
    place = _listens_at(link, channel)
    try:
        tried = _send_and_see(link, channel, rounds, tried)
    finally:
        is_gone = place is not None and _unlistened(link, channel, place)
    return tried._replace(left_behind=not is_gone)


def _send_and_see(link: Link, channel: str, rounds: int, tried: Delivery) -> Delivery:
    try:
        with link.another() as second:
            for _ in range(rounds):
                started = time.monotonic()
                payload = secrets.token_hex(8)
                second.call(lambda backend, payload=payload: backend.notify(channel, payload))  # type: ignore[misc]
                if not _arrives(link, channel, payload):
                    return tried._replace(waited=time.monotonic() - started)
                tried = tried._replace(latencies=(*tried.latencies, time.monotonic() - started))
    except Exception as error:
        if not tried.latencies:
            return tried._replace(obstacle=link.reason_of(error))
    return tried


def _arrives(link: Link, channel: str, payload: str) -> bool:
    """Wait for a notification."""
    # Half of the time that is left, so that the LISTEN can be taken back.
    end = time.monotonic() + min(ARRIVAL_SECONDS, link.deadline.left() / 2)
    while (left := end - time.monotonic()) > 0:
        link.backend.wait(left)
        if any(got[:2] == (channel, payload) for got in link.call(lambda backend: backend.fetch())):
            return True
    return False


# A pooler in transaction mode gives the LISTEN to one of its sessions, and perhaps the UNLISTEN to another one. In a
# session that nobody means to listen, the LISTEN would stay for hours, and hold the queue with each transaction.


def _listens_at(link: Link, channel: str) -> int | None:
    """Return the process ID of the session that listens; None if it was not found."""
    for _ in range(MOST_TRIES):
        health = link.call(health_of)
        if health is None or health.channels is None:
            return None
        if channel in health.channels:
            return health.server_pid
    return None


def _unlistened(link: Link, channel: str, pid: int) -> bool:
    """Take the LISTEN back; return whether the session is known to listen no longer."""
    with suppress(Exception):  # the session is lost, or the time is over
        for _ in range(MOST_TRIES):
            link.call(lambda backend: backend.unlisten(channel))
            health = link.call(health_of)
            if health is not None and health.server_pid == pid and channel not in (health.channels or ()):
                return True
    return False
