"""Names and payloads that break careless code: one list for all tests."""

from __future__ import annotations

GOOD_CHANNELS: tuple[str, ...] = (
    "jobs",
    "Hello, World!",  # upper case, a comma, a space: only a quoted name keeps them
    'a"b',  # the quote itself
    '"',
    "it's",
    "back\\slash",
    "%s",  # the drivers' placeholders
    "%",
    "%%",
    "%(name)s",
    "$1",
    ":x",
    "?",
    "{}",
    " ",
    " jobs ",
    "line\nbreak",
    "tab\tand \x7f",
    "a--b",
    "/* b */",
    "a;b",
    "select",  # a keyword
    "日本",
    "Üñ %s :x $1 ?",
    "e\u0301",  # must not become the one character "é"
    "\ufeffjobs",  # a byte order mark is part of the name
    "😀",  # outside the basic plane
    "x" * 63,  # just fits
    "é" * 31 + "x",  # 63 bytes, 32 characters
    "日" * 21,  # 63 bytes, 21 characters
    "x" + "é" * 31,  # 63 bytes, the last two of them one character
    "😀" * 15 + "日",  # 63 bytes, 16 characters
)

BAD_CHANNELS: tuple[str, ...] = (
    "",
    "x" * 64,  # one byte too many
    "é" * 32,  # 64 bytes, though only 32 characters
    "日" * 21 + "x",  # 64 bytes, 22 characters
    "x" * 100_000,
    "\0",
    "a\0b",  # C libraries cut here
    "jobs\0",
    "\ud800",  # a lone surrogate has no UTF-8 form
    "a\udcffb",  # surrogateescape decodes a bad byte to this
)

GOOD_PAYLOADS: tuple[str, ...] = (
    "",
    " ",
    "it's",
    'a"b',
    "'); DROP TABLE jobs; --",
    "back\\slash \\' \\\\",
    "E'\\x41'",
    "$$",
    "$1",
    "%s",
    "%",
    "%%",
    "%(name)s",
    ":x",
    "?",
    "{}",
    "line\nbreak\r\n",
    "\x01\x7f",
    '{"id": 1, "name": "日本"}',
    "日本",
    "e\u0301",
    "\ufeffx",
    "😀",
    "x" * 7_999,  # just fits
    "é" * 3_999 + "x",  # 7,999 bytes, 4,000 characters
    "日" * 2_666 + "x",  # 7,999 bytes, 2,667 characters
    "x" + "é" * 3_999,  # 7,999 bytes, the last two of them one character
    "xyz" + "😀" * 1_999,  # 7,999 bytes, 2,002 characters
)

BAD_PAYLOADS: tuple[str, ...] = (
    "x" * 8_000,  # one byte too many
    "é" * 4_000,  # 8,000 bytes, though only 4,000 characters
    "日" * 2_666 + "xx",
    "x" * 1_000_000,
    "\0",
    "a\0b",  # C libraries cut here
    "\ud800",  # a lone surrogate has no UTF-8 form
    "a\udcffb",  # surrogateescape decodes a bad byte to this
)

# Characters that something on the way may strip, fold, escape, or take for the end of a line or of a text.
_OFTEN_LOST = (
    *map(chr, range(0x01, 0x21)),  # control characters, and the blank
    *map(chr, range(0x7F, 0xA1)),  # the others of Latin-1, and its no-break space
    "\xad",  # a soft hyphen
    "\u0301",  # an accent that combines with the letter before
    "\u1680",
    *map(chr, range(0x2000, 0x2010)),  # blanks, joiners, and marks of direction
    "\u2028",
    "\u2029",
    "\u202e",
    "\u202f",
    "\u205f",
    "\u2060",
    "\u212b",  # Ångström, which NFC makes the letter Å
    "\u3000",
    "\ufb01",  # the ligature fi, which NFKC makes two letters
    "\ufeff",  # the byte order mark
    "\ufffd",  # stands for what cannot be decoded
    "\uffff",  # no character, but valid in UTF-8
    "\U00010000",  # the first that UTF-16 needs two surrogates for
    "\U0010ffff",  # the last of all
    "\r\n",
    "İ",  # its lower case has two characters
    "ß",  # its upper case has, too
)

EDGES: tuple[str, ...] = (*_OFTEN_LOST, *(f"{each}a{each}b{each}" for each in _OFTEN_LOST))
"""Texts that consist of such a character, and texts with one at both ends and inside: names and payloads, too."""
