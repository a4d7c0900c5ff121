"""PostgreSQL's messages, for drivers whose stream of bytes is read here: heads, notifications, statements and rows.

This module knows their bytes, and no driver.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence

from pgnotify.notification import Plain

ERROR = b"E"  # ErrorResponse: fields, each Byte1 code and String, until a zero byte
NOTIFICATION = b"A"  # NotificationResponse: Byte1('A') Int32 length, Int32 pid, String channel, String payload
HEAD = struct.Struct("!cI")  # of each message: its code, and its length without the code; a negative one is huge
ROW_DESCRIPTION = b"T"
DATA_ROW = b"D"  # Int16 number of columns, and for each Int32 length, -1 for NULL, and as many bytes
PID = struct.Struct("!i")
_COUNT = struct.Struct("!H")
_LENGTH = struct.Struct("!i")
_NULL = _LENGTH.pack(-1)

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


def message(code: bytes, body: bytes) -> bytes:
    """Return a message."""
    return HEAD.pack(code, len(body) + 4) + body


def query(sql: bytes) -> bytes:
    """Return the message that runs a statement, or several in one transaction."""
    return message(b"Q", sql + b"\0")


def parse(name: bytes, sql: bytes) -> bytes:
    """Return the message that prepares a statement, which is replaced by the next one if its name is empty."""
    return message(b"P", b"%b\0%b\0\0\0" % (name, sql))


def bind_and_execute(name: bytes, values: Sequence[bytes | None]) -> bytes:
    """Return the messages that run a prepared statement with texts, and return its rows as texts."""
    bound = [b"\0%b\0\0\0" % name, _COUNT.pack(len(values))]
    for value in values:
        bound += (_NULL,) if value is None else (_LENGTH.pack(len(value)), value)
    bound.append(b"\0\0")
    return message(b"B", b"".join(bound)) + message(b"D", b"P\0") + message(b"E", bytes(5)) + message(b"S", b"")


def parsed_row(body: bytes, encoding: str) -> tuple[str | None, ...]:
    """Return the columns of a row, from the body of its message.

    Raises:
        ValueError, struct.error: it is not a row.
    """
    (count,) = _COUNT.unpack_from(body)
    row: list[str | None] = []
    position = _COUNT.size
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(body, position)
        position += _LENGTH.size
        if length == -1:
            row.append(None)
            continue
        if not 0 <= length <= len(body) - position:
            raise ValueError(f"a column of {length} bytes in a row of {len(body)}")
        row.append(body[position : position + length].decode(encoding, "surrogateescape"))
        position += length
    return tuple(row)
