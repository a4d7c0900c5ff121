"""The line that a notification becomes: a plain one for people, or JSON for programs.

Neither has a character that would end the line, or that a terminal obeys, whatever a sender has put into a payload.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple, TypeAlias

from pgnotify.listener.gap import Gap, Listening
from pgnotify.notification import Notification

# Control characters, the separators of lines and paragraphs, characters that turn the direction of the text, and
# surrogates, which have no UTF-8 form.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

_DIM, _CYAN, _RESET = "\x1b[2m", "\x1b[36m", "\x1b[0m"


class Received(NamedTuple):
    """A notification, and when it arrived."""

    at: float
    """Seconds since the epoch."""
    notification: Notification


class Began(NamedTuple):
    """LISTEN has come into force."""

    at: float
    """Seconds since the epoch."""
    event: Listening


Item: TypeAlias = Received | Began
Form: TypeAlias = Callable[[Item], "str | None"]
"""Returns the line of an item, without its end; None if it has none."""


def printable(text: str) -> str:
    r"""Return a text as one line, with escapes such as ``\n`` and ``\x1b`` for the characters that are not shown.

    A byte that could not be decoded becomes ``\xff``, for example. A backslash stays as it is.
    """
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a surrogate escape, PEP 383
        code -= 0xDC00
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def plain(timestamps: bool, colours: bool) -> Form:
    """Return the form for people: channel and payload, separated by a tab.

    Args:
        timestamps: whether the time comes first, with the zone of this machine.
        colours: whether to write the escape sequences of terminals.
    """
    dim, cyan, reset = (_DIM, _CYAN, _RESET) if colours else ("", "", "")

    def line(item: Item) -> str | None:
        if isinstance(item, Began):
            return None  # standard error says that
        channel, payload, _ = item.notification
        when = f"{dim}{_local(item.at)}{reset}\t" if timestamps else ""
        return f"{when}{cyan}{printable(channel)}{reset}\t{printable(payload)}"

    return line


def json_line(item: Item) -> str:
    """Return an object in JSON, whose "type" is "notification", "listening" or "gap"; its moments are in UTC.

    A lone surrogate, as for a byte that could not be decoded, is escaped: the line has a UTF-8 form.
    """
    fields: dict[str, object]
    if isinstance(item, Received):
        fields = {"type": "notification", "time": _utc(item.at), **item.notification._asdict()}
    elif item.event.gap is None:
        fields = {"type": "listening", "time": _utc(item.at), "channels": item.event.channels}
    else:
        fields = {"type": "gap", "time": _utc(item.at), **_fields_of(item.event.gap)}
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(fields, ensure_ascii=False))


def _fields_of(gap: Gap) -> dict[str, object]:
    return {
        "reason": str(gap.reason),
        "lost_at": gap.lost_at.isoformat(timespec="microseconds"),
        "restored_at": gap.restored_at.isoformat(timespec="microseconds"),
        "channels": gap.channels,
        "dropped": gap.dropped,
    }


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds")


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")
