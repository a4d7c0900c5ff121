"""SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding: a client's side, and the form that a server stores.

The password is never sent, and the server proves that it knows it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from base64 import b64decode, b64encode
from functools import lru_cache

MECHANISM = "SCRAM-SHA-256"
ITERATIONS = 4096  # the least that RFC 7677 allows; more is for passwords that people choose
NONCE_BYTES = 18  # as libpq
SALT_BYTES = 16  # as PostgreSQL
_NO_CHANNEL_BINDING = "n,,"


class ScramError(Exception):
    """The server's message is not valid, names an error, or does not prove that the server knows the password."""


class ScramClient:
    """One login: two messages of ours, each of which answers one of the server's, and a check of its last one.

    Args:
        password: in any form; it is prepared as PostgreSQL does it.
        user: PostgreSQL ignores it, and knows the role from the startup message.
        nonce: for tests; by default a random one.
    """

    def __init__(self, password: str, user: str = "", nonce: str | None = None) -> None:
        self._password = prepared(password)
        self._nonce = nonce or b64encode(secrets.token_bytes(NONCE_BYTES)).decode()
        self._first = f"n={user},r={self._nonce}"
        self._expected: bytes | None = None
        self.verified = False
        """Whether the server has proved that it knows the password."""

    def first(self) -> bytes:
        """Return the first message."""
        return (_NO_CHANNEL_BINDING + self._first).encode()

    def final(self, server_first: bytes) -> bytes:
        """Return the answer to the server's first message.

        Raises:
            ScramError: the message is not valid, or does not answer ours.
        """
        try:
            fields = _fields(server_first)
            nonce, salt, iterations = fields["r"], b64decode(fields["s"], validate=True), int(fields["i"])
        except (KeyError, ValueError) as error:
            raise ScramError("the server's first message of SCRAM is not valid") from error
        if not nonce.startswith(self._nonce) or nonce == self._nonce or iterations < 1:
            raise ScramError("the server's first message of SCRAM does not answer ours")
        without_proof = f"c={b64encode(_NO_CHANNEL_BINDING.encode()).decode()},r={nonce}"
        said = b",".join((self._first.encode(), server_first, without_proof.encode()))
        client_key, stored_key, server_key = _keys(self._password, salt, iterations)
        signature = _hmac(stored_key, said)
        self._expected = _hmac(server_key, said)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{without_proof},p={b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        """Check the server's last message.

        Raises:
            ScramError: it names an error, or the server does not know the password.
        """
        try:
            fields = _fields(server_final)
            proof = b64decode(fields.get("v", ""), validate=True)
        except ValueError as error:
            raise ScramError("the server's last message of SCRAM is not valid") from error
        if "e" in fields:
            raise ScramError(f"the server refuses the login: {fields['e']}")
        if self._expected is None or not hmac.compare_digest(proof, self._expected):
            raise ScramError("the server does not prove that it knows the password")
        self.verified = True


def verifier(password: str, salt: bytes | None = None) -> str:
    """Return the text that PostgreSQL stores for a password. It is accepted wherever a password is set."""
    salt = salt or secrets.token_bytes(SALT_BYTES)
    _, stored_key, server_key = _keys(prepared(password), salt, ITERATIONS)
    encoded = (b64encode(part).decode() for part in (salt, stored_key, server_key))
    return "{}${}:{}${}:{}".format(MECHANISM, ITERATIONS, *encoded)


def prepared(password: str) -> bytes:
    """Return the password as SASLprep (RFC 4013) has it, or unchanged where that is impossible, as PostgreSQL does."""
    if password.isascii():
        return password.encode()
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c))
    normal = unicodedata.normalize("NFKC", mapped)
    return (password if not normal or _is_prohibited(normal) else normal).encode()


_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def _is_prohibited(text: str) -> bool:
    if any(found(character) for character in text for found in _PROHIBITED):
        return True
    right_to_left = [stringprep.in_table_d1(character) for character in text]
    if not any(right_to_left):
        return False
    return any(map(stringprep.in_table_d2, text)) or not (right_to_left[0] and right_to_left[-1])


@lru_cache(maxsize=8)  # all of a server's sessions have the same, which takes longer than all the rest of a login
def _keys(password: bytes, salt: bytes, iterations: int) -> tuple[bytes, bytes, bytes]:
    """Return ClientKey, StoredKey and ServerKey."""
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    client_key = _hmac(salted, b"Client Key")
    return client_key, hashlib.sha256(client_key).digest(), _hmac(salted, b"Server Key")


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _fields(message: bytes) -> dict[str, str]:
    return {part[:1]: part[2:] for part in message.decode().split(",")}
