"""PostgreSQL's messages, as they come on a pg8000 connection.

This module knows their bounds. When to read, and what becomes of the connection after a failure, is
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

from pgnotify.backends._messages import DATA_ROW, HEAD, parsed
from pgnotify.notification import Plain

READY_FOR_QUERY = b"Z"
PARAMETER_STATUS = b"S"

# In bytes, the length itself included. pg8000 believes every length: at -1 it reads for ever, and at 2 GB it asks the
# system for them. Only rows are long.
_SHORTEST_MESSAGE = 4
LONGEST_MESSAGE = 16 * 2**20
_LONGEST_ROW = 2**30  # a server cannot make a longer one

# In bytes: what is asked of the system at once, so that the memory grows with the bytes that arrive.
_PART = 2**20

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


def read_answer(stream: Any) -> tuple[bytes, bytes]:
    """Read the code and the body of one message of the answer to a statement, which may be a long row.

    Raises:
        NotAMessageError: there is no such message, or its length is impossible.
    """
    return read_message(stream, _read_in_parts, _LONGEST_ROW)


def _read_in_parts(stream: Any, size: int) -> bytes:
    if size <= _PART:
        read: bytes = pg8000.core._read(stream, size)
        return read
    parts = bytearray()
    while len(parts) < size:
        parts += pg8000.core._read(stream, min(size - len(parts), _PART))
    return bytes(parts)


def read_message(
    stream: Any, read: Callable[[Any, int], bytes], longest_row: int = LONGEST_MESSAGE
) -> tuple[bytes, bytes]:
    """Read the code and the body of one message.

    Args:
        stream: the connection's.
        read: takes the stream and the size of the body, and returns this many bytes.
        longest_row: the most bytes of a row, the length itself included.

    Raises:
        NotAMessageError: there is no such message, or its length is impossible.
    """
    code, size = HEAD.unpack(pg8000.core._read(stream, HEAD.size))
    longest = longest_row if code == DATA_ROW else LONGEST_MESSAGE
    if not _SHORTEST_MESSAGE <= size <= longest or code in _OUT_OF_PLACE:
        raise NotAMessageError(
            f"the server has sent a message {code!r} of {size} bytes; no such message has its place here, "
            f"and none has fewer than {_SHORTEST_MESSAGE} or more than {longest} bytes"
        )
    return code, read(stream, size - 4)


def is_whole(data: bytes) -> bool:
    """Return whether bytes begin with a whole message, or with none at all: the length is impossible."""
    if len(data) < HEAD.size:
        return False
    _, size = HEAD.unpack_from(data)
    return len(data) > size or not _SHORTEST_MESSAGE <= size <= LONGEST_MESSAGE


def parsed_until_one_fails(raw: Sequence[bytes], encoding: str) -> Iterator[Plain]:
    """Yield the notifications of these bodies, until one of them is impossible."""
    with suppress(*NO_SUCH_MESSAGE):
        for body in raw:
            yield parsed(body, encoding)
