"""The socket of a connection that is opened here for pg8000: how it is made, and which lengths it believes.

pg8000 reads as many bytes as a server announces: for ever at a length below 4, and 2 GB at the longest. It takes any
number of messages before the session begins. So the stream between pg8000 and the socket refuses both.
"""

from __future__ import annotations

import io
import math
import socket
import ssl
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pg8000.exceptions import InterfaceError

from pgnotify.backends._without_libpq import keep_alive
from pgnotify.connecting.hosts import Address

# In bytes, before the session begins: libpq takes no more than 64 kB for a message about authentication and 30 kB for
# each of the others, of which a server sends some twenty.
MOST_AT_START = 2**20

LONGEST_MESSAGE = 2**30
"""In bytes, afterwards: a server cannot make a longer one (MaxAllocSize of its memutils.h)."""


class Stream(io.BufferedRWPair):
    """The buffers between pg8000 and a socket.

    Args:
        raw: the socket's stream, without buffers.
    """

    def __init__(self, raw: Any) -> None:
        super().__init__(raw, raw)
        self._left: float = MOST_AT_START

    def session_has_begun(self) -> None:
        """From now on, limit only the length of each message."""
        self._left = math.inf

    def read(self, size: int | None = -1, /) -> bytes:
        """Return this many bytes, fewer only at the end.

        Raises:
            InterfaceError: there cannot be this many.
        """
        if size is None or not 0 <= size <= min(self._left, LONGEST_MESSAGE):
            raise InterfaceError(
                f"the server has announced {size} bytes of a message, "
                f"and there cannot be fewer than 0 or more than {min(self._left, LONGEST_MESSAGE)}"
            )
        self._left -= size
        return super().read(size)


class _WithStream(socket.socket):
    _stream: Callable[[], Stream | None] = staticmethod(lambda: None)  # no reference, which would be a cycle

    def makefile(self, *args: Any, **kwargs: Any) -> Any:
        """Return a `Stream` in both directions."""
        stream = Stream(super().makefile("rwb", buffering=0))
        self._stream = weakref.ref(stream)
        return stream

    def close(self) -> None:
        """Close the socket and its stream. pg8000 leaves that open, and the descriptor would live on with an error."""
        stream = self._stream()
        self._stream = lambda: None  # the stream closes this socket in turn
        super().close()
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.close()


class PlainSocket(_WithStream):
    """A socket whose stream believes no impossible length."""


class TLSSocket(_WithStream, ssl.SSLSocket):
    """The same through TLS; for `ssl.SSLContext.sslsocket_class`."""


def open_socket(address: Address, given: dict[str, str], timeout: float | None) -> PlainSocket:
    """Connect to an address, with the keepalive that the parameters want.

    Args:
        address: where to.
        given: the connection parameters.
        timeout: seconds to connect, and for each read and write afterwards; None for ever.

    Raises:
        OSError: nobody listens there, or nobody answers.
        ValueError: a parameter about keepalive is not a number.
    """
    path = address.unix_socket
    if path is None:
        plug = socket.create_connection((address.hostaddr or address.host, address.port), timeout)
        own = PlainSocket(plug.family, plug.type, plug.proto, plug.detach())
    else:
        own = PlainSocket(socket.AF_UNIX)
    try:
        own.settimeout(timeout)
        if path is None:
            keep_alive(own, given)
        else:
            own.connect(path)
    except BaseException:
        own.close()
        raise
    return own
