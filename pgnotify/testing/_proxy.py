"""A TCP proxy on loopback that can break connections in the ways that networks do.

It forwards, slowly if asked, falls silent, cuts a message in the middle, adds bytes to those of the server, and ends a
connection with or without a goodbye. One thread does all the work. A request to it is in force when
its method returns.
"""

from __future__ import annotations

import array
import queue
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

try:
    import fcntl
    import termios
except ImportError:  # Windows
    _HAS_IOCTL = False
else:
    _HAS_IOCTL = True

_BUFFER_BYTES = 256 * 1024
_ANSWER_SECONDS = 20
_GOODBYE_SECONDS = 1
_REST_SECONDS = 0.01  # between two portions of a throttled connection
_FIN_ON_ITS_WAY = (4, 11)  # TCP_FIN_WAIT1 and TCP_CLOSING of Linux' tcp_states.h
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with zero seconds


class Proxy:
    """Forwards each connection that it accepts to one server; a context manager."""

    def __init__(self, host: str, port: int, at: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(at)
        self.host, self.port = self._listener.getsockname()
        self._ours, self._theirs = socket.socketpair()
        self._requests: queue.SimpleQueue[tuple[Callable[[], object], threading.Event]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._ours, selectors.EVENT_READ, self._serve_requests)
        self._links: list[_Link] = []
        self._frozen = False
        self._running = True
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    # Requests, from any other thread.

    def freeze(self) -> None:
        """Silently stop forwarding in both directions, like a black hole; on new connections too."""
        self._ask(lambda: self._freeze(True))

    def blackhole(self) -> None:
        """Stop forwarding on the connections that are open now, until `thaw`; new ones work."""
        self._ask_each(lambda link: link.freeze(True))

    def swallow(self) -> None:
        """Stop forwarding to the server on the connections that are open now, until `thaw`; clients still hear it."""
        self._ask_each(lambda link: link.swallow())

    def thaw(self) -> None:
        """Forward again, beginning with the bytes that were held back."""
        self._ask(lambda: self._freeze(False))

    def pass_only(self, size: int) -> None:
        """Forward this many more bytes from the server, and hold back further ones until `thaw`."""
        self._ask_each(lambda link: link.down.pass_only(size))

    def throttle(self, bytes_per_second: float) -> None:
        """Forward what the server sends at this rate, on the connections that are open now."""
        self._ask_each(lambda link: link.down.throttle(bytes_per_second))

    def say(self, data: bytes) -> None:
        """Send bytes to the client in the server's place, now."""
        self._ask_each(lambda link: link.down.say(data))

    def append(self, data: bytes) -> None:
        """Send bytes to the client directly after the server's next bytes, in one piece with them."""
        self._ask_each(lambda link: link.down.append(data))

    def fin(self) -> None:
        """End the connections with FIN, as a server does when it exits."""
        self._ask_each(lambda link: link.close())

    def reset(self) -> None:
        """End the connections with RST, as a host does that does not know them; clients have got what was sent."""
        self._ask_each(lambda link: link.close(reset=True))

    def record(self) -> None:
        """Record the server's messages from now on, for `answers`. Call it only while the connections are idle."""
        self._ask_each(lambda link: link.down.record())

    @property
    def answers(self) -> int:
        """How many times the server has reported since `record` that it is ready for the next query.

        A client has waited for this many round trips. Changes of direction are not counted, as a
        server may begin to answer before it has the whole request.
        """
        return sum(message_codes(link.down.recorded).count(b"Z") for link in self._links)

    def refuse(self) -> None:
        """Accept no more connections: to new clients the host seems down."""
        self._ask(self._stop_listening)

    def close(self) -> None:
        """End all connections and the thread; may be called twice."""
        if self._thread.is_alive():
            self._ask(self._stop)
            self._thread.join(_ANSWER_SECONDS)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The thread.

    def _ask_each(self, what: Callable[[_Link], object]) -> None:
        self._ask(lambda: list(map(what, self._links)))

    def _ask(self, what: Callable[[], object]) -> None:
        done = threading.Event()
        self._requests.put((what, done))
        self._theirs.send(b"\0")
        if not done.wait(_ANSWER_SECONDS):
            raise TimeoutError(f"the proxy did not answer within {_ANSWER_SECONDS} seconds")

    def _run(self) -> None:
        while self._running:
            for key, events in self._selector.select(self._seconds_of_rest()):
                # It may have been closed by an earlier event of this round.
                if not isinstance(key.fileobj, int) and key.fileobj.fileno() != -1:
                    key.data(events)
            for link in self._links:
                link.go_on()
        for link in self._links:
            link.close()
        for each in (self._ours, self._theirs, self._listener, self._selector):
            each.close()

    def _seconds_of_rest(self) -> float | None:
        """Return in how many seconds a throttled connection may go on; None if there is none that waits for that."""
        moments = [link.down.rests_until for link in self._links if link.down.rests]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _serve_requests(self, _: int) -> None:
        self._ours.recv(1)
        what, done = self._requests.get()
        what()
        done.set()

    def _accept(self, _: int) -> None:
        client, _address = self._listener.accept()
        try:
            server = socket.create_connection(self._target)
        except OSError:  # the server is down
            client.close()
            return
        # Otherwise a few bytes may wait here for the answer to earlier ones, and a reset would drop them.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(self._selector, client, server)
        self._links.append(link)
        link.freeze(self._frozen)

    def _freeze(self, frozen: bool) -> None:
        self._frozen = frozen
        for link in self._links:
            link.freeze(frozen)

    def _stop_listening(self) -> None:
        if self._listener.fileno() != -1:
            self._selector.unregister(self._listener)
            self._listener.close()

    def _stop(self) -> None:
        self._stop_listening()
        self._running = False


class _Link:
    """One client and its server."""

    def __init__(self, selector: selectors.BaseSelector, client: socket.socket, server: socket.socket) -> None:
        self._selector = selector
        self.up = _Direction(client, server, self._update)
        self.down = _Direction(server, client, self._update)
        self._update()

    def freeze(self, frozen: bool) -> None:
        self.up.frozen = self.down.frozen = frozen
        if not frozen:
            self.down.allowance = None
        self.up.write()
        self.down.write()
        self._update()

    def swallow(self) -> None:
        self.up.frozen = True
        self._update()

    def go_on(self) -> None:
        """Forward the next bytes of a throttled connection, if it has rested long enough."""
        if self.down.rests and time.monotonic() >= self.down.rests_until:
            self.down.rests = False
            self.down.write()
            self._update()

    def close(self, reset: bool = False) -> None:
        self.down.rests = False
        for each in (self.down.target, self.down.source):
            if each.fileno() == -1:
                continue
            if each is self.down.target:
                _until_received(each) if reset else _say_goodbye(each)
            if reset:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            with suppress(KeyError):
                self._selector.unregister(each)
            each.close()

    def _update(self) -> None:
        """Watch each end for the events that it can handle now."""
        if self.up.ended or self.down.ended:
            return self.close()
        self._watch(self.up.source, self.up, self.down)
        self._watch(self.down.source, self.down, self.up)
        return None

    def _watch(self, end: socket.socket, reading: _Direction, writing: _Direction) -> None:
        if end.fileno() == -1:
            return
        events = (selectors.EVENT_READ if reading.hungry else 0) | (selectors.EVENT_WRITE if writing.waiting else 0)
        with suppress(KeyError):
            self._selector.unregister(end)
        if events:
            self._selector.register(end, events, lambda happened: self._serve(happened, reading, writing))

    def _serve(self, happened: int, reading: _Direction, writing: _Direction) -> None:
        if happened & selectors.EVENT_WRITE:
            writing.write()
        if happened & selectors.EVENT_READ:
            reading.read()
        self._update()


def _say_goodbye(client: socket.socket) -> None:
    """Send FIN, and return when the other side has received it, where the system can report that."""
    with suppress(OSError):  # the client is gone already
        client.shutdown(socket.SHUT_WR)
    _while(lambda: _unacknowledged(client))


def _until_received(client: socket.socket) -> None:
    """Return when the other side has received every byte, where the system can report that; an RST drops them."""
    _while(lambda: _unsent_bytes(client) > 0)


def _while(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _GOODBYE_SECONDS
    while condition() and time.monotonic() < deadline:
        time.sleep(0.001)  # the system has the state of the connection, but no event for it


def _unsent_bytes(client: socket.socket) -> int:
    if not _HAS_IOCTL:
        return 0
    count = array.array("i", [0])
    with suppress(OSError):
        fcntl.ioctl(client, termios.TIOCOUTQ, count)
    return count[0]


def _unacknowledged(client: socket.socket) -> bool:
    if not hasattr(socket, "TCP_INFO"):
        return False
    return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _FIN_ON_ITS_WAY


class _Direction:
    """The bytes on their way from one end to the other."""

    def __init__(self, source: socket.socket, target: socket.socket, changed: Callable[[], None]) -> None:
        source.setblocking(False)
        self.source, self.target = source, target
        self.frozen = False
        self.allowance: int | None = None
        """How many more bytes may pass; None means any number."""
        self.rate: float | None = None
        """How many bytes may pass in a second; None means any number."""
        self.rests = False
        """Whether nothing passes before `rests_until`, because of the rate."""
        self.rests_until = 0.0
        self.ended = False
        self.recorded = b""
        self._recording = False
        self._held = b""
        self._next = b""
        self._changed = changed

    @property
    def hungry(self) -> bool:
        return not self.frozen and len(self._held) < _BUFFER_BYTES

    @property
    def waiting(self) -> bool:
        return bool(self._held) and not self.frozen and self.allowance != 0 and not self.rests

    def read(self) -> None:
        try:
            data = self.source.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return
        if self._recording:
            self.recorded += data
        self._held += data + self._next
        self._next = b""
        self.write()

    def write(self) -> None:
        if not self.waiting or self.target.fileno() == -1:
            return
        try:
            sent = self.target.send(self._held[: self._portion()])
        except BlockingIOError:
            return
        except OSError:
            self.ended = True
            return
        self._held = self._held[sent:]
        if self.rate is not None:
            self.rests, self.rests_until = True, time.monotonic() + sent / self.rate
        if self.allowance is not None:
            self.allowance -= sent

    def _portion(self) -> int | None:
        """Return how many bytes may pass now; None means any number."""
        if self.rate is None:
            return self.allowance
        portion = max(1, int(self.rate * _REST_SECONDS))
        return portion if self.allowance is None else min(portion, self.allowance)

    def throttle(self, rate: float) -> None:
        self.rate = rate

    def record(self) -> None:
        self._recording, self.recorded = True, b""

    def pass_only(self, size: int) -> None:
        self.allowance = size
        self._changed()

    def say(self, data: bytes) -> None:
        self._held += data
        self.write()
        self._changed()

    def append(self, data: bytes) -> None:
        self._next += data


def notification(channel: str, payload: bytes = b"", pid: int = 4711) -> bytes:
    """Return the protocol message with which PostgreSQL delivers a notification."""
    body = struct.pack("!i", pid) + channel.encode() + b"\0" + payload + b"\0"
    return b"A" + struct.pack("!i", len(body) + 4) + body


def message_codes(said: bytes) -> list[bytes]:
    """Return the codes of the server's messages, in order."""
    codes, position = [], 0
    while position < len(said):
        codes.append(said[position : position + 1])
        position += 1 + struct.unpack_from("!i", said, position + 1)[0]
    return codes
