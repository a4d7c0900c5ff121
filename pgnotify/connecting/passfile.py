"""The password file, read as libpq reads it (34.16), for a driver that has no libpq.

A file that cannot be read is ignored. So is one that is not a plain file or that others can read, with a warning. No
warning shows any text from the file.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from pathlib import Path

from pgnotify.connecting.hosts import SOCKET_DIRECTORIES, Address

_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
# A backslash makes the next character ordinary. The password ends at the next colon, too, and the rest is ignored.
_PASSWORD = re.compile(rb"(?:\\.|[^:])*", re.DOTALL)


def password_for(address: Address, database: str, user: str, path: Path) -> str | None:
    """Return the password of the first line that fits, or None.

    Bytes that are not UTF-8 are decoded with surrogateescape.
    """
    wanted = [_bytes(each) for each in (_host_in_file(address), str(address.port), database, user)]
    for line in _lines(path):
        password = _password_of(line, wanted)
        if password is not None:
            return password.decode("utf-8", "surrogateescape")
    return None


def _host_in_file(address: Address) -> str:
    host = address.host or address.hostaddr or ""
    return "localhost" if host in SOCKET_DIRECTORIES else host


def _password_of(line: bytes, wanted: list[bytes]) -> bytes | None:
    """Return the password if the four fields before it fit: each is equal, or is an asterisk."""
    if line.startswith(b"#"):
        return None
    for token in wanted:
        rest = _after_field(line, token)
        if rest is None:
            return None
        line = rest
    password = _PASSWORD.match(line)
    return _ESCAPED.sub(rb"\1", password[0]) if password else None


def _after_field(line: bytes, token: bytes) -> bytes | None:
    """Return the text after the first field and its colon, or None if the field does not fit."""
    if line.startswith(b"*:"):
        return line[2:]
    position = 0
    for number in token:
        position += line[position : position + 1] == b"\\"
        if line[position : position + 1] != bytes([number]):
            return None
        position += 1
    return line[position + 1 :] if line[position : position + 1] == b":" else None


def _lines(path: Path) -> list[bytes]:
    try:
        # Opening a pipe would wait for somebody who writes to it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return []
    try:
        if problem := _problem(os.fstat(descriptor)):
            warnings.warn(f"the password file {str(path)!r} is ignored: {problem}", stacklevel=2)
            return []
        with open(descriptor, "rb", closefd=False) as file:
            return [line.rstrip(b"\r\n") for line in file]
    finally:
        os.close(descriptor)


def _problem(found: os.stat_result) -> str | None:
    if not stat.S_ISREG(found.st_mode):
        return "it is not a plain file"
    if os.name != "nt" and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return f"its mode is {stat.S_IMODE(found.st_mode):04o}, so others have access to it; allow 0600 at most"
    return None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
