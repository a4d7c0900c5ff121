"""SCRAM-SHA-256 against the example of RFC 7677, and against servers that do not know the password."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from pgnotify.testing._scram import ITERATIONS, ScramClient, ScramError, prepared, verifier

# RFC 7677, section 3.
NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.fixture
def client() -> ScramClient:
    return ScramClient("pencil", user="user", nonce=NONCE)


def test_the_example_of_the_rfc(client: ScramClient) -> None:
    assert client.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert client.final(SERVER_FIRST) == FINAL
    assert client.verified is False

    client.verify(SERVER_FINAL)

    assert client.verified is True


@pytest.mark.parametrize(
    "message",
    [
        b"v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        b"v=",
        b"v=%",
        b"",
        b"\xff",
        b"e=invalid-proof",
        b"e=invalid-proof," + SERVER_FINAL,
    ],
)
def test_a_server_that_does_not_know_the_password_is_refused(client: ScramClient, message: bytes) -> None:
    client.final(SERVER_FIRST)

    with pytest.raises(ScramError):
        client.verify(message)

    assert client.verified is False


def test_a_last_message_before_the_first_is_refused(client: ScramClient) -> None:
    with pytest.raises(ScramError):
        client.verify(SERVER_FINAL)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"e=other-error",
        SERVER_FIRST.replace(b"r=r", b"r=x"),
        SERVER_FIRST.replace(b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", b""),
        SERVER_FIRST.replace(b"i=4096", b"i=0"),
        SERVER_FIRST.replace(b"i=4096", b"i=many"),
        SERVER_FIRST.replace(b",i=4096", b""),
        SERVER_FIRST.replace(b"W22Z", b"W2%"),
        b"\xff" + SERVER_FIRST,
    ],
)
def test_a_first_message_that_does_not_answer_ours_is_refused(client: ScramClient, message: bytes) -> None:
    with pytest.raises(ScramError, match="the server's first message"):
        client.final(message)


def test_a_nonce_is_used_once() -> None:
    assert len({ScramClient("pencil").first() for _ in range(100)}) == 100


def test_the_form_that_a_server_stores_is_that_of_the_rfc_and_not_the_password() -> None:
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", salt, ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")

    keys = ":".join(base64.b64encode(key).decode() for key in (stored, server))
    assert verifier("pencil", salt) == f"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==${keys}"
    assert verifier("pencil") != verifier("pencil")


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        # RFC 4013, section 3.
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u0007\u00e9", "\u0007\u00e9"),  # prohibited; PostgreSQL uses these as they are
        ("\u06271", "\u06271"),
        ("\u00a0", " "),
        ("\u00ad", "\u00ad"),
    ],
)
def test_a_password_is_prepared_as_postgresql_does_it(password: str, expected: str) -> None:
    assert prepared(password) == expected.encode()
