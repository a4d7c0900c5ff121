"""A server that says what a test tells it to, and nothing else: for messages that no real one sends."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from tests.helpers.waiting import PATIENCE

TLS_REQUEST = 80877103  # the code in SSLRequest; GSSENCRequest is the next number
AUTHENTICATED = b"R\0\0\0\x08\0\0\0\0"
STARTED = AUTHENTICATED + b"K\0\0\0\x0c\0\0\0\x07\0\0\0\x08" + b"Z\0\0\0\x05I"


def message(code: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """Return a message, whose length may be a lie."""
    return code + struct.pack("!I", (len(body) + 4 if length is None else length) % 2**32) + body


class ScriptedServer:
    """Answers each connection's start with bytes, offers no TLS, and closes or keeps silent; a context manager.

    Args:
        answer: the bytes, or an endless iterable of them, which is sent until the client has gone.
        stay: whether to keep the connection open after the answer.
        offers_tls: whether to say so, and to send the answer in place of a handshake.
    """

    def __init__(
        self, answer: bytes | Callable[[], Iterable[bytes]], stay: bool = False, offers_tls: bool = False
    ) -> None:
        self._answer = answer
        self._stay = stay
        self._offers_tls = offers_tls
        self.requests: list[int] = []
        """The first number of each request that a client began with: a request for encryption, or a version."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent = 0
        """Bytes that a client was sent, in all connections together."""
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._accepting, *self._threads):
            thread.join(PATIENCE)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(PATIENCE)
        with client, suppress(OSError):
            while self._request(client) in (TLS_REQUEST, TLS_REQUEST + 1):
                if self._offers_tls and self.requests[-1] == TLS_REQUEST:
                    client.sendall(b"S")
                    break
                client.sendall(b"N")
            parts: Any = [self._answer] if isinstance(self._answer, bytes) else self._answer()
            for part in parts:
                client.sendall(part)
                self.sent += len(part)
            while self._stay and client.recv(65536):
                pass

    def _request(self, client: socket.socket) -> int:
        (number,) = struct.unpack_from("!i", _startup(client))
        self.requests.append(number)
        return int(number)


def _startup(client: socket.socket) -> bytes:
    head = client.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        raise ConnectionError
    return client.recv(struct.unpack("!i", head)[0] - 4, socket.MSG_WAITALL)


def dripping(data: bytes) -> Iterator[bytes]:
    """Yield bytes one by one, slowly, and the last one again and again."""
    pause = threading.Event()  # nobody sets it
    for each in itertools.chain(data, itertools.repeat(data[-1])):
        yield bytes([each])
        pause.wait(0.02)


def endless_parameters() -> Iterable[bytes]:
    """Yield messages that each report another parameter, without end."""
    for number in itertools.count():
        yield b"".join(message(b"S", b"%d.%d\0%s\0" % (number, each, b"x" * 1000)) for each in range(50))
