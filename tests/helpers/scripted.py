"""A server that says what a test tells it to, and nothing else: for messages that no real one sends."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from tests.helpers.waiting import PATIENCE

_TLS_REQUEST = 80877103  # the code in SSLRequest; GSSENCRequest is the next number
AUTHENTICATED = b"R\0\0\0\x08\0\0\0\0"


def message(code: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """Return a message, whose length may be a lie."""
    return code + struct.pack("!I", (len(body) + 4 if length is None else length) % 2**32) + body


class ScriptedServer:
    """Answers each connection's start with bytes, offers no TLS, and closes or keeps silent; a context manager.

    Args:
        answer: the bytes, or an endless iterable of them, which is sent until the client has gone.
        stay: whether to keep the connection open after the answer.
    """

    def __init__(self, answer: bytes | Callable[[], Iterable[bytes]], stay: bool = False) -> None:
        self._answer = answer
        self._stay = stay
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
            while struct.unpack_from("!i", _startup(client))[0] in (_TLS_REQUEST, _TLS_REQUEST + 1):
                client.sendall(b"N")
            parts: Any = [self._answer] if isinstance(self._answer, bytes) else self._answer()
            for part in parts:
                client.sendall(part)
                self.sent += len(part)
            while self._stay and client.recv(65536):
                pass


def _startup(client: socket.socket) -> bytes:
    head = client.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        raise ConnectionError
    return client.recv(struct.unpack("!i", head)[0] - 4, socket.MSG_WAITALL)


def endless_parameters() -> Iterable[bytes]:
    """Yield messages that each report another parameter, without end."""
    for number in itertools.count():
        yield b"".join(message(b"S", b"%d.%d\0%s\0" % (number, each, b"x" * 1000)) for each in range(50))
