"""Try whether notifications of a second session arrive at a listener that does nothing else, and how soon.

Only a second session proves anything, and only while the listener is idle: see `pgnotify.listener.probe`.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress

from pgnotify.cli.errors import line_of
from pgnotify.cli.examination.facts import Delivery
from pgnotify.cli.examination.link import Link
from pgnotify.connecting.source import Source
from pgnotify.errors import ConnectionLost
from pgnotify.protocol import Backend, health_of

ARRIVAL_SECONDS = 2.0
"""If nothing has arrived after this time, nothing will. It takes 1 ms through loopback."""

MOST_UNLISTENS = 20
"""Behind a pooler, an UNLISTEN may reach another session than the LISTEN did. It is tried this many times."""


def deliver(link: Link, source: Source, rounds: int, in_recovery: bool | None, behind_pooler: bool) -> Delivery:
    """Listen to a random channel, send to it from a second session, and take back the LISTEN.

    Args:
        link: the connection that listens.
        source: where the second one comes from.
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
        return tried._replace(refusal=line_of(error).rstrip("."))
    try:
        tried = _send_and_see(link, source, channel, rounds, tried)
    finally:
        # Without a pooler, the LISTEN ends with the session, whatever happens.
        left_behind = not _unlistened(link, channel) and behind_pooler
    return tried._replace(left_behind=left_behind)


def _send_and_see(link: Link, source: Source, channel: str, rounds: int, tried: Delivery) -> Delivery:
    try:
        with Link(source, link.deadline) as second:
            for _ in range(rounds):
                started = time.monotonic()
                payload = secrets.token_hex(8)
                second.call(lambda backend, payload=payload: backend.notify(channel, payload))  # type: ignore[misc]
                if not _arrives(link, channel, payload):
                    return tried._replace(waited=time.monotonic() - started)
                tried = tried._replace(latencies=(*tried.latencies, time.monotonic() - started))
    except Exception as error:
        if not tried.latencies:
            return tried._replace(obstacle=line_of(error).rstrip("."))
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


def _unlistened(link: Link, channel: str) -> bool:
    """Take the LISTEN back; return whether it is known to be gone."""
    with suppress(Exception):  # the session is lost, or the time is over
        return any(not link.call(lambda backend: _unlisten(backend, channel)) for _ in range(MOST_UNLISTENS))
    return False


def _unlisten(backend: Backend, channel: str) -> bool:
    """Unlisten; return whether the session that answers still listens."""
    backend.unlisten(channel)
    health = health_of(backend)
    return health is not None and channel in (health.channels or ())
