"""Texts that do not survive the client_encoding, because Python's codecs put another letter in some places.

Python writes the yen sign in EUC-JP as a backslash. The server gets the other text, and nobody is told.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from contextlib import suppress

from pgnotify.errors import ChannelError, PayloadError


def refuse_changed(encoding: str, channels: Iterable[str], payloads: Iterable[str] = ()) -> None:
    """Refuse texts that become others in an encoding; the driver itself refuses those that it cannot encode.

    Args:
        encoding: Python's name of the client_encoding.
        channels: names of channels.
        payloads: payloads.

    Raises:
        ChannelError, PayloadError: a text would become another one.
    """
    if codecs.lookup(encoding).name == "utf-8":
        return
    for channel in channels:
        if change := _change(encoding, channel):
            raise ChannelError(f"in the client_encoding, {encoding}, {change} of a channel; use UTF8")
    for payload in payloads:
        if change := _change(encoding, payload):
            raise PayloadError(f"in the client_encoding, {encoding}, {change} of a payload; use UTF8")


def encoded(parameters: Iterable[str | None], encoding: str) -> list[bytes | None]:
    """Return parameters as they are sent.

    Raises:
        ValueError: one has a NUL, where some drivers would cut it off, or a letter that the encoding lacks or changes.
    """
    return [
        None if text is None else _encoded(text, f"parameter ${number}", encoding)
        for number, text in enumerate(parameters, start=1)
    ]


def _encoded(text: str, name: str, encoding: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"{name} has a NUL at position {text.index(chr(0))}, and no text of PostgreSQL's may have one")
    if not text.isascii() and codecs.lookup(encoding).name != "utf-8" and (change := _change(encoding, text)):
        raise ValueError(f"in the client_encoding, {encoding}, {change} of {name}; use UTF8")
    return text.encode(encoding)


def _change(encoding: str, text: str) -> str | None:
    """Return which letter of a text becomes which other one; not the whole text, which may be a secret."""
    with suppress(UnicodeError):
        for letter, becomes in zip(text, text.encode(encoding).decode(encoding), strict=False):
            if becomes != letter:
                return f"{becomes!r} would take the place of {letter!r}"
    return None
