"""Checks of channel names, payloads, time-outs and options: the one place that knows the limits.

Lengths are counted in bytes of UTF-8. PostgreSQL counts bytes of the *server's* encoding. For a
database in another encoding the limits here can be a little stricter than the server's.
"""

from __future__ import annotations

import math

from pgnotify.errors import ChannelError, PayloadError

MAX_CHANNEL_BYTES = 63  # NAMEDATALEN - 1; LISTEN cuts longer names with only a NOTICE
MAX_PAYLOAD_BYTES = 7999  # NOTIFY_PAYLOAD_MAX_LENGTH - 1; pg_notify refuses 8000 with 22023

_SHOWN_CHARACTERS = 30  # of an offending value in an error message


def check_channel(channel: str, what: str = "channel") -> str:
    """Return ``channel`` if PostgreSQL can listen to it under exactly this name.

    Args:
        channel: the name as written, without quotes around it.
        what: its name in the error message, such as ``"stop_event"``.

    Raises:
        ChannelError: it is empty, has a NUL, more than 63 bytes, or no UTF-8 form.
        TypeError: it is not a string.
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
        TypeError: it is not a string.
    """
    if not isinstance(payload, str):
        raise TypeError(f"payload must be a str, not {type(payload).__name__}")
    size = _size_in_bytes(payload, "payload", PayloadError)
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadError(f"payload {_shown(payload)} has {size} bytes, PostgreSQL takes {MAX_PAYLOAD_BYTES}")
    return payload


def check_timeout(timeout: float | None) -> float | None:
    """Return ``timeout`` in seconds; None and infinity mean to wait for ever.

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


def check_callable(what: str, value: object) -> None:
    """Refuse a value that is neither callable nor None.

    Raises:
        TypeError: it is neither.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{what} must be a function, not {value!r}")


def check_count(what: str, value: int, least: int) -> None:
    """Refuse a value that cannot be a count.

    Raises:
        ValueError: it is less than ``least``.
        TypeError: it is not an int.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{what} must be at least {least}, not {value}")


def check_type(what: str, value: object, *types: type) -> None:
    """Refuse a value that is not an instance of any of these types.

    Raises:
        TypeError: it is of another type.
    """
    if not isinstance(value, types):
        raise TypeError(f"{what} must be a {types[0].__name__}, not {value!r}")


def check_seconds(what: str, value: float | None, may_be_none: bool = False, may_be_zero: bool = False) -> None:
    """Refuse a value that cannot be a duration.

    Raises:
        ValueError: it is negative, infinite or not a number, or 0 without ``may_be_zero``.
        TypeError: it is not a number.
    """
    if value is None and may_be_none:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be a number of seconds, not {type(value).__name__}")
    try:
        seconds = float(value)
    except OverflowError:
        raise ValueError(f"{what} is an integer that no float can hold; it must be finite") from None
    if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not may_be_zero):
        least = "0 or more seconds" if may_be_zero else "positive"
        raise ValueError(f"{what} must be {least} and finite, not {value!r}")


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
