from __future__ import annotations

import struct

import pytest

from pgnotify.backends._encodings import encoded
from pgnotify.backends._messages import bind_and_execute, message, parse, parsed_row, query


def row(*columns: bytes | None) -> bytes:
    return struct.pack("!H", len(columns)) + b"".join(map(column, columns))


def column(value: bytes | None) -> bytes:
    return struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value


def test_a_row_has_texts_and_nulls():
    assert parsed_row(row(b"a", None, b"", "é".encode()), "utf-8") == ("a", None, "", "é")
    assert parsed_row(row(), "utf-8") == ()
    assert parsed_row(row(b"a\xe9b"), "utf-8") == ("a\udce9b",)
    assert parsed_row(row(b"a\xe9b"), "latin-1") == ("aéb",)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        row(b"abc")[:-1],
        row(b"abc", b"d")[:-1],
        struct.pack("!H", 2) + row(b"abc")[2:],
        struct.pack("!Hi", 1, -2),
        struct.pack("!Hi", 1, 2**31 - 1),
    ],
)
def test_what_is_not_a_row_is_an_error(body):
    with pytest.raises((ValueError, struct.error)):
        parsed_row(body, "utf-8")


def test_the_messages_of_a_statement_are_postgresqls():
    assert message(b"S", b"") == b"S\0\0\0\4"
    assert query(b"SELECT 1") == b"Q\0\0\0\x0dSELECT 1\0"
    assert parse(b"name", b"SELECT $1") == b"P\0\0\0\x15name\0SELECT $1\0\0\0"
    assert bind_and_execute(b"name", (b"text", None)) == (
        b"B\0\0\0\x1c\0name\0\0\0" b"\0\2" b"\0\0\0\4text" b"\xff\xff\xff\xff" b"\0\0"
        b"D\0\0\0\6P\0"
        b"E\0\0\0\x09\0\0\0\0\0"
        b"S\0\0\0\4"
    )  # fmt: skip


def test_parameters_are_encoded():
    assert encoded(("é", None, ""), "utf-8") == ["é".encode(), None, b""]
    assert encoded(("é", None, "x"), "latin-1") == [b"\xe9", None, b"x"]


@pytest.mark.parametrize(
    ("text", "encoding", "words"),
    [
        ("a\0b", "utf-8", r"parameter \$2 has a NUL at position 1"),
        ("日", "latin-1", "latin-1"),
        ("\ud800", "utf-8", "surrogates"),
        ("¥", "euc_jp", r"in the client_encoding, euc_jp, .* would take the place of '¥' of parameter \$2"),
    ],
)
def test_a_parameter_that_would_not_arrive_is_refused(text, encoding, words):
    with pytest.raises(ValueError, match=words):
        encoded(("good", text), encoding)
