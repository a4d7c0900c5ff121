"""The lines of standard input, as payloads, as soon as they come."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator

from pgnotify.cli.command_line import CannotBegin
from pgnotify.limits import MAX_PAYLOAD_BYTES, check_payload

_CHUNK_BYTES = 1 << 16  # a pipe's size
_LINE_END = b"\r\n"


class BadLine(ValueError):
    """A line is not a payload. The message has its number."""


class InputLines:
    """The lines of standard input, without their ends, which are LF or CR LF. The last one need not have an end.

    An empty line is an empty payload.

    Raises:
        CannotBegin: standard input is closed.
    """

    def __init__(self) -> None:
        if sys.stdin is None:
            raise CannotBegin("standard input is closed")
        self._descriptor = sys.stdin.fileno()

    def check(self) -> int | None:
        """Check all lines of a file, and return how many there are; None if it is not a file, and cannot be read twice.

        Raises:
            CannotBegin: one of the lines is not a payload.
        """
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            return None
        begin = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        try:
            return sum(map(len, self))
        except BadLine as error:
            raise CannotBegin(str(error)) from error
        finally:
            os.lseek(self._descriptor, begin, os.SEEK_SET)

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the payloads that are there, at least one, without waiting for more.

        Raises:
            BadLine: one is too long, has a NUL, or is not UTF-8. Those before it were yielded.
        """
        number = 0
        for lines in self._lines():
            payloads: list[str] = []
            try:
                for line in lines:
                    number += 1
                    payloads.append(_payload(line, number))
            except BadLine:
                if payloads:
                    yield payloads
                raise
            yield payloads

    def _lines(self) -> Iterator[list[bytes]]:
        rest = b""
        while chunk := os.read(self._descriptor, _CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MAX_PAYLOAD_BYTES + len(_LINE_END):  # the end of it may never come
                lines, rest = [*lines, rest], b""
            if lines:
                yield lines
        if rest:
            yield [rest]


def _payload(line: bytes, number: int) -> str:
    try:
        return check_payload(line.removesuffix(b"\r").decode())
    except UnicodeDecodeError as error:
        raise BadLine(f"line {number} is not UTF-8: {error.reason} at byte {error.start + 1}") from error
    except ValueError as error:
        raise BadLine(f"line {number}: {error}") from error
