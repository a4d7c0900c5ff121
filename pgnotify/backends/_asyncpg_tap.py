"""Takes the notifications out of the stream of bytes, before asyncpg reads them.

asyncpg decodes a notification strictly. If that fails it drops it, says nothing, and gives the next statement a wrong
answer or none. It also passes each one on in a call of its own. So an object of our own stands between the transport
and asyncpg's protocol. `asyncio.BaseTransport.set_protocol` is made for this. All other messages pass unchanged, and so
do the notifications that the user's own callbacks listen to.
"""

from __future__ import annotations

import secrets
import weakref
from collections import deque
from collections.abc import Callable, Container
from typing import Any

import asyncpg

from pgnotify.backends._messages import ERROR, HEAD, LONGEST_NOTIFICATION, NOTIFICATION, PID, parse_all
from pgnotify.backends._per_connection import PerConnection
from pgnotify.notification import Plain

_LOOKED_AT = frozenset({NOTIFICATION, ERROR})


class Tap:
    """Stands between a transport and asyncpg's protocol.

    A message may already have begun to arrive when it is put there. So it passes everything on until it sees a mark:
    the last bytes of a row that a statement asks for; see `mark_query`. There the next message begins.

    Args:
        connection: asyncpg's. There is no reference to it, which would be a cycle.
    """

    def __init__(self, connection: Any) -> None:
        self._transport = connection._transport
        self._connection = weakref.ref(connection)
        self._releases: int = connection._pool_release_ctr
        self._settings = connection._protocol and connection._protocol.get_settings()
        self._callbacks: Container[str] = connection._listeners
        """The channels that the user's own callbacks listen to."""
        self._protocol: Any = None
        """asyncpg's; None while nothing stands between."""
        self._mark = b""
        self._tail = b""
        """The last bytes that were passed on, in which the mark may have begun."""
        self.in_step = False
        """Whether it knows where messages begin, so that it takes the notifications out."""
        self._held = b""
        """The beginning of a message that has not arrived in full."""
        self._to_pass = 0
        """How many bytes of a long message are still to come, and pass unread."""
        self._encoding: str | None = None
        self.arrived: deque[Plain] = deque()
        """The notifications, for `fetch_into` to take."""
        self.channels: set[str] = set()
        """The channels that the backends of the connection listen to."""
        self.wake: Callable[[], object] = _nothing
        """Called when notifications have arrived, or the connection has ended."""
        self._fatal: Exception | None = None
        """The server's message about the end of the connection."""
        self._failure: Exception | None = None
        """The transport's error that ended the connection."""

    def install(self) -> str:
        """Stand between the two from now on, and return the text for `mark_query`."""
        if self._is_given_back():
            self._forget()
        if self._protocol is None:
            self._protocol = self._transport.get_protocol()
            self._transport.set_protocol(self)
        text = secrets.token_hex(16)
        self._mark, self._tail = text.encode(), b""
        return text

    def uninstall(self) -> None:
        """Connect the two again. Notifications that have arrived stay. A second call does nothing."""
        if self._protocol is None or self._transport.get_protocol() is not self:
            return  # somebody else stands before us: everything passes
        self.in_step = False
        self._transport.set_protocol(self._protocol)
        held, self._held = self._held, b""
        if held:
            self._protocol.data_received(held)
        self._protocol = None

    def _is_given_back(self) -> bool:
        """Whether the connection went back to its pool, and belongs to somebody else now."""
        connection = self._connection()
        return connection is not None and connection._pool_release_ctr != self._releases

    def _forget(self) -> None:
        """Begin again, for the next user of the connection."""
        connection = self._connection()
        self._releases = self._releases if connection is None else connection._pool_release_ctr
        self.channels.clear()
        self.arrived.clear()
        self.uninstall()

    @property
    def has_ended(self) -> bool:
        """Whether the server has said that it ends the connection. asyncpg learns it from the socket, later."""
        return self._fatal is not None

    def reason_of_loss(self) -> Exception | None:
        """Return the error that ended the connection, if it is known."""
        if self._fatal is not None or self._failure is None:
            return self._fatal
        reason = no_connection(str(self._failure))
        reason.__cause__ = self._failure
        return reason

    # What a transport calls.

    def data_received(self, data: bytes) -> None:
        """Take the notifications, and pass everything else on."""
        if self._is_given_back():
            protocol = self._protocol
            self._forget()
            if self._protocol is None:  # nobody stands before us
                protocol.data_received(data)
                return
        position = 0
        if not self.in_step:
            position = self._look_for_mark(data)
            self._protocol.data_received(data[:position])
            if not self.in_step:
                return
        before = len(self.arrived)
        self._take(self._held + data[position:] if self._held or position else data)
        if len(self.arrived) != before or self._fatal is not None:
            self.wake()

    def eof_received(self) -> Any:
        """Pass it on."""
        return self._protocol.eof_received()

    def connection_made(self, transport: Any) -> None:
        """Pass it on."""
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on, and remember why."""
        self._failure = exc
        self._protocol.connection_lost(exc)
        self.wake()

    def pause_writing(self) -> None:
        """Pass it on."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._protocol.resume_writing()

    # The stream.

    def _look_for_mark(self, data: bytes) -> int:
        """Return how many bytes come before the first message that begins after the mark; all if it is not there."""
        seen = self._tail + data
        found = seen.find(self._mark)
        if found < 0:
            self._tail = seen[1 - len(self._mark) :]
            return len(data)
        self.in_step = True
        self._held, self._to_pass = b"", 0
        return found + len(self._mark) - len(self._tail)

    def _take(self, data: bytes) -> None:
        position = min(self._to_pass, len(data))
        self._to_pass -= position
        if position:
            self._protocol.data_received(data[:position])
        while True:
            position = self._take_notifications(data, position)
            after = self._other_messages(data, position)
            if after == position:
                break
            self._encoding = None  # if one of them was about a parameter
            self._protocol.data_received(data[position:after] if position or after < len(data) else data)
            position = min(after, len(data))
        self._held = data[position:]

    def _take_notifications(self, data: bytes, position: int) -> int:
        """Take all that follow one another; return the position after the last one that is whole."""
        if not self._callbacks:
            return parse_all(data, self.arrived, self._codec(), position)
        batch: list[Plain] = []
        after = parse_all(data, batch, self._codec(), position)
        for plain in batch:
            _, length = HEAD.unpack_from(data, position)
            message = data[position : position + 1 + length]
            is_called_back = plain[0] in self._callbacks
            if is_called_back and _is_utf8(message[HEAD.size + PID.size :]):
                self._protocol.data_received(message)
            if not is_called_back or plain[0] in self.channels:
                self.arrived.append(plain)
            position += 1 + length
        return after

    def _other_messages(self, data: bytes, position: int) -> int:
        """Return the position after all messages that are not notifications and follow one another."""
        unpack, last = HEAD.unpack_from, len(data) - HEAD.size
        while position <= last:  # once for each row of the user's answers
            code, length = unpack(data, position)
            if code in _LOOKED_AT:
                message = data[position : position + 1 + length]
                if code == ERROR:
                    self._fatal = _if_fatal(message[HEAD.size :])
                elif length <= LONGEST_NOTIFICATION and len(message) <= length:
                    break  # its rest follows
                elif parse_all(message, [], "latin-1"):
                    break
            position += length + 1
        if position > len(data):
            self._to_pass = position - len(data)
        return position

    def _codec(self) -> str:
        if self._encoding is None:
            self._encoding = codec_of(self._settings)
        return self._encoding


taps = PerConnection(Tap)


def mark_query(text: str) -> str:
    """Return the statement that asks for a mark. The mark itself is not in it: a server's log messages may quote it."""
    return f"SELECT '{text[:9]}'\n'{text[9:]}'"


def no_connection(why: str) -> Exception:
    """Return asyncpg's error for a connection that has ended."""
    error: Exception = asyncpg.ConnectionDoesNotExistError(why)
    return error


def codec_of(settings: Any) -> str:
    """Return Python's name of the client_encoding; UTF-8 for SQL_ASCII."""
    name: str = settings.get_text_codec().name
    return "utf-8" if name == "ascii" else name


def _if_fatal(body: bytes) -> Exception | None:
    """Return the server's error, if it is one that ends the connection."""
    fields = {field[:1].decode("latin-1"): field[1:].decode(errors="replace") for field in body.split(b"\0") if field}
    if fields.get("V", fields.get("S")) not in ("FATAL", "PANIC"):
        return None
    error: Exception = asyncpg.PostgresError.new(fields)
    return error


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _nothing() -> None:
    pass
