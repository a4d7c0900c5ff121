"""PostgreSQL's messages, for drivers whose stream of bytes is read here: their heads, and notifications.

This module knows their bytes, and no driver.
"""

from __future__ import annotations

import struct
from collections import deque

from pgnotify.notification import Plain

ERROR = b"E"  # ErrorResponse: fields, each Byte1 code and String, until a zero byte
NOTIFICATION = b"A"  # NotificationResponse: Byte1('A') Int32 length, Int32 pid, String channel, String payload
HEAD = struct.Struct("!cI")  # of each message: its code, and its length without the code; a negative one is huge
PID = struct.Struct("!i")

LONGEST_NOTIFICATION = 8192
"""In bytes, the length itself included: a payload has less than 8000, and a name less than 64."""


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


def parse_all(data: bytes, batch: list[Plain] | deque[Plain], encoding: str, position: int = 0) -> int:
    """Append the notifications at a position in ``data``; return the position after the last one.

    It ends before a message that is not a whole notification, for the caller to judge.
    """
    size = len(data)
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
