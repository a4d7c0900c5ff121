"""Checks of channel names, payloads, time-outs and options: the one place that knows the limits.

Users may pass instances of their own subclasses, such as members of an Enum. Here they become plain values, because a
subclass may compare, hash and print itself in its own way.

Lengths are counted in bytes of UTF-8. PostgreSQL counts bytes of the *server's* encoding. For a
database in another encoding the limits here can be a little stricter than the server's.
"""

from __future__ import annotations

import functools
import math
import types
from typing import Any, TypeVar

from pgnotify.errors import ChannelError, PayloadError

MAX_CHANNEL_BYTES = 63  # NAMEDATALEN - 1; LISTEN cuts longer names with only a NOTICE
MAX_PAYLOAD_BYTES = 7999  # NOTIFY_PAYLOAD_MAX_LENGTH - 1; pg_notify refuses 8000 with 22023
MAX_TEXT_BYTES = 2**30 - 2**13  # MaxAllocSize, less what the row and the statement need beside it

N = TypeVar("N", bound=float)
T = TypeVar("T", bound="float | None")

_SHOWN_CHARACTERS = 30  # of an offending value in an error message

# Flags of a code object, as in `inspect`, which takes longer to import than all of pgnotify.
_COROUTINE = 0x80
_MADE_BY_A_CALL = {_COROUTINE: "a coroutine", 0x200: "an async generator", 0x20: "a generator"}

plain = str.__str__
"""Returns a string as a plain str, without what its class makes of it: the value, for a member of an Enum."""


def plain_number(number: N) -> N:
    """Return a number as a plain int or float, unless it is a bool: the value, for a member of an IntEnum."""
    value: Any = number
    if isinstance(value, bool):
        return number
    result: Any = int.__int__(value) if isinstance(value, int) else float.__float__(value)
    return result  # type: ignore[no-any-return]  # as good as a number of its class


def check_channel(channel: str, what: str = "channel") -> str:
    """Return ``channel``, as a plain str, if PostgreSQL can listen to it under exactly this name.

    Args:
        channel: the name as written, without quotes around it.
        what: its name in the error message, such as ``"stop_event"``.

    Raises:
        ChannelError: it is empty, has a NUL, more than 63 bytes, or no UTF-8 form.
        TypeError: it is not a string.
    """
    if not isinstance(channel, str):
        raise TypeError(f"{what} must be a str, not {type(channel).__name__}")
    channel = plain(channel)
    if not channel:
        raise ChannelError(f"{what} is empty, PostgreSQL needs at least one character")
    size = _size_in_bytes(channel, what, ChannelError)
    if size > MAX_CHANNEL_BYTES:
        raise ChannelError(f"{what} {_shown(channel)} has {size} bytes, PostgreSQL keeps {MAX_CHANNEL_BYTES}")
    return channel


def check_payload(payload: str) -> str:
    """Return ``payload``, as a plain str, if PostgreSQL can carry it whole.

    Raises:
        PayloadError: it has a NUL, more than 7,999 bytes, or no UTF-8 form.
        TypeError: it is not a string.
    """
    if not isinstance(payload, str):
        raise TypeError(f"payload must be a str, not {type(payload).__name__}")
    payload = plain(payload)
    size = _size_in_bytes(payload, "payload", PayloadError)
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadError(f"payload {_shown(payload)} has {size} bytes, PostgreSQL takes {MAX_PAYLOAD_BYTES}")
    return payload


def check_text_payload(payload: str) -> str:
    """Return ``payload``, as a plain str, if PostgreSQL can store it as a text.

    Raises:
        PayloadError: it has a NUL, or no UTF-8 form, or more than 1 GB.
        TypeError: it is not a string.
    """
    if not isinstance(payload, str):
        raise TypeError(f"payload must be a str, not {type(payload).__name__}")
    payload = plain(payload)
    size = _size_in_bytes(payload, "payload", PayloadError)
    if size > MAX_TEXT_BYTES:
        raise PayloadError(f"payload {_shown(payload)} has {size} bytes, PostgreSQL stores {MAX_TEXT_BYTES}")
    return payload


def check_timeout(timeout: float | None) -> float | None:
    """Return ``timeout`` in seconds, as a plain number; None and infinity mean to wait for ever.

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
    return plain_number(timeout)


def is_async(function: object) -> bool:
    """Return whether a call of a function makes a coroutine, as far as that can be known without a call."""
    return _made_by_a_call_of(function) == _MADE_BY_A_CALL[_COROUTINE]


def check_callable(what: str, value: object, may_be_async: bool = False, awaited_by: str = "") -> None:
    """Refuse a value that is neither None nor a function that `check_runs` accepts; see there for the arguments.

    Raises:
        TypeError: it is neither.
    """
    if value is None:
        return
    if not callable(value):
        raise TypeError(f"{what} must be a function, not {value!r}")
    check_runs(what, value, may_be_async, awaited_by)


def check_runs(what: str, function: object, may_be_async: bool = False, awaited_by: str = "") -> None:
    """Refuse a function whose call runs nothing: it only makes a coroutine or a generator, for others to run.

    A wrapper of such a function is not refused, because it may run what it wraps.

    Args:
        what: its name in the error message.
        function: the function.
        may_be_async: whether its coroutines are awaited, so that it may be an async function.
        awaited_by: the class that awaits them, if they are not awaited here.

    Raises:
        TypeError: it is an async function, a generator function, or an object that is called like one.
    """
    makes = _made_by_a_call_of(function)
    is_coroutine_function = makes == _MADE_BY_A_CALL[_COROUTINE]
    if makes is not None and not (may_be_async and is_coroutine_function):
        raise TypeError(
            f"{what} must be a function that runs when it is called, not {name_of(function)}: "
            f"a call only makes {makes}, which nobody would run"
            + (f"; use {awaited_by}, which awaits it" if is_coroutine_function and awaited_by else "")
        )


def name_of(function: object) -> str:
    """Return the name of a function, for messages; that of the class of any other object.

    The repr() of either may have secrets: that of a partial has a password among its arguments.
    """
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__name__", None)
    if callable(function) and isinstance(name, str):
        return f"{name}()"
    cls = type(inner)
    return f"{cls.__module__}.{cls.__qualname__}"


def check_count(what: str, value: int, least: int) -> int:
    """Return a count, as a plain int.

    Raises:
        ValueError: it is less than ``least``.
        TypeError: it is not an int.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{what} must be at least {least}, not {value}")
    return plain_number(value)


def check_text(what: str, value: str | None) -> str | None:
    """Return a string, as a plain str, or None.

    Raises:
        TypeError: it is neither.
    """
    check_type(what, value, str, type(None))
    return None if value is None else plain(value)


def check_type(what: str, value: object, *types: type) -> None:
    """Refuse a value that is not an instance of any of these types.

    Raises:
        TypeError: it is of another type.
    """
    if not isinstance(value, types):
        raise TypeError(f"{what} must be a {types[0].__name__}, not {value!r}")


def check_seconds(what: str, value: T, may_be_none: bool = False, may_be_zero: bool = False) -> T:
    """Return a duration in seconds, as a plain number.

    Raises:
        ValueError: it is negative, infinite or not a number, or 0 without ``may_be_zero``.
        TypeError: it is not a number.
    """
    if value is None and may_be_none:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be a number of seconds, not {type(value).__name__}")
    try:
        seconds = float(value)
    except OverflowError:
        raise ValueError(f"{what} is an integer that no float can hold; it must be finite") from None
    if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not may_be_zero):
        least = "0 or more seconds" if may_be_zero else "positive"
        raise ValueError(f"{what} must be {least} and finite, not {value!r}")
    return plain_number(value)


def _size_in_bytes(value: str, what: str, error: type[ChannelError] | type[PayloadError]) -> int:
    if "\0" in value:
        raise error(f"{what} {_shown(value)} has a NUL, which PostgreSQL cannot store")
    try:
        return len(value.encode())
    except UnicodeEncodeError as surrogate:
        raise error(f"{what} {_shown(value)} has no UTF-8 form: {surrogate.reason}") from surrogate


def _made_by_a_call_of(function: Any) -> str | None:
    """Return which object that still has to be run a call makes; None if the call itself runs."""
    while isinstance(function, (functools.partial, types.MethodType, staticmethod)):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    if not callable(function):
        return None
    for called in (function, type(function).__call__):
        flags = getattr(getattr(called, "__code__", None), "co_flags", 0)
        for flag, makes in _MADE_BY_A_CALL.items():
            if flags & flag:
                return makes
        # The marks of `asyncio` and `inspect`, for what is not an async function, but is called like one.
        if any(type(getattr(called, mark, None)) is object for mark in ("_is_coroutine", "_is_coroutine_marker")):
            return _MADE_BY_A_CALL[_COROUTINE]
    return None


def _shown(value: str) -> str:
    if len(value) <= _SHOWN_CHARACTERS:
        return repr(value)
    return repr(value[: _SHOWN_CHARACTERS - 1] + "…")
