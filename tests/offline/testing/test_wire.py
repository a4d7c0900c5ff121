"""The client without a driver, against servers that would have its password, or that only claim to know it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import pytest

from pgnotify.testing._wire import Session, SQLError
from tests.helpers.threads import Background

PASSWORD = "a secret"


def request(number: int, text: bytes = b"") -> bytes:
    """Return an authentication request of the protocol."""
    return b"R" + struct.pack("!ii", len(text) + 8, number) + text


SASL = request(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
READY = b"Z" + struct.pack("!i", 5) + b"I"


def serve(listening: socket.socket, answers: Sequence[bytes]) -> bytes:
    """Send one answer for each message of a client; return all that it sent."""
    connection, _ = listening.accept()
    received = b""
    with connection:
        for answer in answers:
            received += connection.recv(65536)
            connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while more := connection.recv(65536):
            received += more
    return received


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([request(3)], "the server asks for a password, but not with SCRAM-SHA-256"),  # clear text
        ([request(5, b"salt")], "the server asks for a password, but not with SCRAM-SHA-256"),  # MD5
        ([request(10, b"OTHER\0\0")], "the server asks for a password, but not with SCRAM-SHA-256"),
        ([request(11, b"r=x,s=,i=1")], "the server asks for a password, but not with SCRAM-SHA-256"),
        ([SASL, request(0) + READY], "the server does not prove that it knows the password"),
        ([SASL, request(11, b"r=mine,s=c2FsdA==,i=4096")], "does not answer ours"),
        ([SASL, request(12, b"v=") + request(0) + READY], "the server does not prove that it knows the password"),
        ([SASL, SASL], "the server asks for a password, but not with SCRAM-SHA-256"),
    ],
)
def test_a_server_that_does_not_know_the_password_does_not_get_it(answers: list[bytes], message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = Background(serve, listening, answers)

        with pytest.raises(SQLError, match=message):
            Session(*listening.getsockname(), password=PASSWORD)

        assert PASSWORD.encode() not in serving.ended()


def test_without_a_password_the_error_says_that_one_is_needed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = Background(serve, listening, [SASL])

        with pytest.raises(SQLError, match=r"^the server asks for a password$"):
            Session(*listening.getsockname())

        serving.ended()
