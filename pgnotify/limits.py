"""What a channel name, a payload and a time-out may be: the one place that knows the limits.

Lengths are counted in bytes of UTF-8. PostgreSQL counts bytes of the *server's* encoding, so for
a database in another encoding the limits here can be a little stricter than its own.
"""

from __future__ import annotations

import math

from pgnotify.errors import ChannelError, PayloadError

MAX_CHANNEL_BYTES = 63  # NAMEDATALEN - 1; LISTEN cuts longer names with a mere NOTICE
MAX_PAYLOAD_BYTES = 7999  # NOTIFY_PAYLOAD_MAX_LENGTH - 1; pg_notify refuses 8000 with 22023

_SHOWN_CHARACTERS = 30  # of an offending value in an error message


def check_channel(channel: str, what: str = "channel") -> str:
    """Return ``channel`` if PostgreSQL can listen to it under exactly this name.

    Args:
        channel: the name as written, without quotes around it.
        what: how the error message calls it, such as ``"stop_event"``.

    Raises:
        ChannelError: it is empty, has a NUL, more than 63 bytes, or no UTF-8 form.
        TypeError: it is no string.
    """
    if not isinstance(channel, str):
        raise TypeError(f"{what} must be a str, not {type(channel).__name__}")
    if not channel:
        raise ChannelError(f"{what} is empty, PostgreSQL needs at least one character")
    size = _size_in_bytes(channel, what, ChannelError)
    if size > MAX_CHANNEL_BYTES:
        raise ChannelError(f"{what} {_shown(channel)} has {size} bytes, PostgreSQL keeps {MAX_CHANNEL_BYTES}")
    return channel


def check_payload(payload: str) -> str:
    """Return ``payload`` if PostgreSQL can carry it whole.

    Raises:
        PayloadError: it has a NUL, more than 7,999 bytes, or no UTF-8 form.
        TypeError: it is no string.
    """
    if not isinstance(payload, str):
        raise TypeError(f"payload must be a str, not {type(payload).__name__}")
    size = _size_in_bytes(payload, "payload", PayloadError)
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadError(f"payload {_shown(payload)} has {size} bytes, PostgreSQL takes {MAX_PAYLOAD_BYTES}")
    return payload


def check_timeout(timeout: float | None) -> float | None:
    """Return ``timeout`` in seconds; None, and infinity too, mean to wait for ever.

    Raises:
        ValueError: it is negative or not a number.
        TypeError: it is neither a number nor None.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds or None, not {type(timeout).__name__}")
    try:
        seconds = float(timeout)
    except OverflowError:
        raise ValueError("timeout is an integer that no float can hold; None waits for ever") from None
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"timeout must be None, 0 or positive seconds, not {timeout!r}")
    return timeout


def _size_in_bytes(value: str, what: str, error: type[ChannelError] | type[PayloadError]) -> int:
    if "\0" in value:
        raise error(f"{what} {_shown(value)} has a NUL, which PostgreSQL cannot store")
    try:
        return len(value.encode())
    except UnicodeEncodeError as surrogate:
        raise error(f"{what} {_shown(value)} has no UTF-8 form: {surrogate.reason}") from surrogate


def _shown(value: str) -> str:
    if len(value) <= _SHOWN_CHARACTERS:
        return repr(value)
    return repr(value[: _SHOWN_CHARACTERS - 1] + "…")
