"""How long a peer has been silent, although a driver reads its socket and does not say what has arrived.

An answer comes behind everything that was sent before it. On a slow link that takes long, and the link is in order.
"""

from __future__ import annotations

import _socket
import array
import socket
import struct
import sys
import time
from collections.abc import Generator

from pgnotify.connecting.watchdog import Look, Patience
from pgnotify.waiting import readable_among

# A peer that sends less than this is silent, or one byte a minute would keep a dead connection alive. What is that slow
# without being dead sends no backlog either, so its answer comes in time.
LEAST_BYTES_PER_SECOND = 100.0
# However much arrives, an answer is not awaited for longer than this many times the silence that is allowed: a peer
# may have lost the question, and go on sending. With 5 s of silence, 1 MB/s bring 300 MB in that time.
LONGEST_ANSWER = 60
_PARTS = 5  # of the silence that is allowed; so it is noticed late by a fifth at most
_LOOK_SECONDS = 0.02
_BYTES_RECEIVED = struct.Struct("=128xQ")  # tcpi_bytes_received, since Linux 4.1
_ENOUGH = sys.maxsize


def until_silent(peer: _socket.socket, seconds: float) -> Patience:
    """Be patient until the peer has been silent for this long, or has sent for far too long.

    Args:
        peer: a socket that another thread reads.
        seconds: the silence that is allowed.
    """
    needed, arrived = max(1.0, LEAST_BYTES_PER_SECOND * seconds), 0
    now = heard_at = time.monotonic()
    ends_at = now + seconds * LONGEST_ANSWER
    while now < min(ends_at, heard_at + seconds):
        arrived += yield from _arriving(peer, min(seconds / _PARTS, heard_at + seconds - now))
        now = time.monotonic()
        # Bytes that the driver has not read yet are not the peer's silence.
        if arrived >= needed or _sees_bytes(peer, _is_readable(peer)):
            heard_at, arrived = now, 0


def _arriving(peer: _socket.socket, seconds: float) -> Generator[Look, bool, int]:
    """Wait this long; return how many bytes have arrived by then, or `_ENOUGH` if only some are seen."""
    before = _bytes_received(peer)
    if before is not None:
        yield Look(seconds)
        return (_bytes_received(peer) or before) - before
    ends_at, seen = time.monotonic() + seconds, False
    yield Look(seconds / 2)  # an answer that is in time is worth no look
    while (left := ends_at - time.monotonic()) > 0:
        look = min(left, _LOOK_SECONDS)
        seen = seen or _sees_bytes(peer, (yield Look(look, peer.fileno())))
        yield Look(look)
    return _ENOUGH if seen else 0


def _bytes_received(peer: _socket.socket) -> int | None:
    """Return how many bytes have ever arrived; None if the system does not count them on such a socket."""
    if sys.platform != "linux":
        return None
    try:
        info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
    except OSError:  # not TCP, or closed
        return None
    return int(_BYTES_RECEIVED.unpack(info)[0]) if len(info) == _BYTES_RECEIVED.size else None


def _sees_bytes(peer: _socket.socket, was_readable: bool) -> bool:
    """Look for bytes that the driver has not read; those that it takes under our eyes count, too."""
    # At its end a socket is readable, and stays so.
    return was_readable and (_unread(peer) > 0 or not _is_readable(peer))


def _is_readable(peer: _socket.socket) -> bool:
    return bool(readable_among((peer.fileno(),), 0))


def _unread(peer: _socket.socket) -> int:
    try:
        import fcntl
        import termios
    except ImportError:  # Windows; a driver that reads finds the end by itself
        return 1
    count = array.array("i", [0])
    fcntl.ioctl(peer.fileno(), termios.FIONREAD, count)
    return count[0]
