"""PostgreSQL's messages, as they come on a pg8000 connection: read one, and parse many notifications at once.

This module knows their bytes and their bounds. When to read, and what becomes of the connection after a failure, is
decided in `pgnotify.backends.pg8000`.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pg8000.core
from pg8000.exceptions import InterfaceError

from pgnotify.notification import Plain

READY_FOR_QUERY = b"Z"
PARAMETER_STATUS = b"S"
NOTIFICATION = b"A"  # NotificationResponse: Byte1('A') Int32 length, Int32 pid, String channel, String payload
HEAD = struct.Struct("!cI")  # of each message: its code, and its length without the code; a negative one is huge
PID = struct.Struct("!i")

# In bytes, the length itself included. pg8000 believes every length: at -1 it reads for ever, and at 2 GB it asks the
# system for them. The answers to our statements are short, and a notification has 8 kB.
_SHORTEST_MESSAGE = 4
LONGEST_MESSAGE = 16 * 2**20
LONGEST_NOTIFICATION = 8192

# Messages that no server sends to a session that has begun and does not COPY: about authentication (pg8000 would send
# the password again), the key for cancelling, and COPY.
_OUT_OF_PLACE = frozenset({b"R", b"K", b"G", b"H", b"W", b"d", b"c"})

# The errors that bytes cause which are not a message of PostgreSQL's, here or in pg8000's functions for each message.
NO_SUCH_MESSAGE = (ValueError, LookupError, TypeError, AttributeError, struct.error, MemoryError, OverflowError)

_NO_TIME = 1e-6  # seconds; 0 would stand for a socket that does not block


class NotAMessageError(InterfaceError):  # type: ignore[misc]  # pg8000 has no types
    """The server has sent bytes that are not a message of PostgreSQL's, and those that follow cannot be read."""


def read_rest(usock: Any, deadline: float, stream: Any, size: int) -> bytes:
    """Read this many bytes before a moment of `time.monotonic`; the socket's time-out changes.

    The memory grows with the bytes that arrive, and not with those that are announced.
    """
    parts = bytearray()
    while len(parts) < size:
        usock.settimeout(max(deadline - time.monotonic(), _NO_TIME))
        part = stream.read1(size - len(parts))
        if not part:
            raise InterfaceError("the server has closed the connection during a message")
        parts += part
    return bytes(parts)


def read_message(stream: Any, read: Callable[[Any, int], bytes]) -> tuple[bytes, bytes]:
    """Read the code and the body of one message.

    Args:
        stream: the connection's.
        read: takes the stream and the size of the body, and returns this many bytes.

    Raises:
        NotAMessageError: there is no such message, or its length is impossible.
    """
    code, size = HEAD.unpack(pg8000.core._read(stream, HEAD.size))
    if not _SHORTEST_MESSAGE <= size <= LONGEST_MESSAGE or code in _OUT_OF_PLACE:
        raise NotAMessageError(
            f"the server has sent a message {code!r} of {size} bytes; no such message has its place here, "
            f"and none has fewer than {_SHORTEST_MESSAGE} or more than {LONGEST_MESSAGE} bytes"
        )
    return code, read(stream, size - 4)


def is_whole(data: bytes) -> bool:
    """Return whether bytes begin with a whole message, or with none at all: the length is impossible."""
    if len(data) < HEAD.size:
        return False
    _, size = HEAD.unpack_from(data)
    return len(data) > size or not _SHORTEST_MESSAGE <= size <= LONGEST_MESSAGE


def parsed(body: bytes, encoding: str) -> Plain:
    """Return the notification that the body of a message has; see `NO_SUCH_MESSAGE` for the errors."""
    (pid,) = PID.unpack_from(body)
    end = body.index(0, 4)
    if end + 1 >= len(body):
        raise ValueError(f"a notification of {len(body)} bytes has no payload, not even an empty one")
    return (
        body[4:end].decode(encoding, "surrogateescape"),
        body[end + 1 : -1].decode(encoding, "surrogateescape"),
        pid,
    )


def parsed_until_one_fails(raw: Sequence[bytes], encoding: str) -> Iterator[Plain]:
    """Yield the notifications of these bodies, until one of them is impossible."""
    with suppress(*NO_SUCH_MESSAGE):
        for body in raw:
            yield parsed(body, encoding)


def parse_all(data: bytes, batch: list[Plain], encoding: str) -> int:
    """Append the notifications at the head of ``data``; return the bytes of the whole messages.

    It ends before a message that is not a whole notification, for the caller to judge.
    """
    position, size = 0, len(data)
    last = size - 9  # no complete notification begins after it
    sender = data  # of the message before; none yet, and never a match: the data after a head is shorter
    channel, pid, payload_at = "", 0, 0
    while position <= last:
        code, length = HEAD.unpack_from(data, position)
        end_of_payload = position + length  # where its zero byte is
        if code != NOTIFICATION or end_of_payload >= size:
            break
        # Most messages begin with the pid and the channel of the one before: one comparison replaces
        # looking for the end of the name and decoding it.
        if not data.startswith(sender, position + 5):
            end = data.find(0, position + 9)
            if end < 0:
                break
            sender = data[position + 5 : end + 1]
            payload_at = 5 + len(sender)
            (pid,) = PID.unpack_from(sender)
            channel = sender[4:-1].decode(encoding, "surrogateescape")
        payload = data[position + payload_at : end_of_payload].decode(encoding, "surrogateescape")
        if not payload and length < payload_at:  # too short for its own channel
            break
        batch.append((channel, payload, pid))
        position = end_of_payload + 1
    return position
