"""Which errors are interruptions: a signal handler raised them, and they are not the answer of a server or a driver."""

from __future__ import annotations

import signal
from functools import partial
from types import CodeType

_handler_of = getattr(signal.getsignal, "__wrapped__", signal.getsignal)  # without its enums: 64 signals take 2 µs
_SIGNALS = tuple(map(int, signal.valid_signals()))


def is_interruption(error: BaseException) -> bool:
    """Return whether an error is to end what runs now, and changes nothing: it is not an answer to what we did.

    Every error beyond `Exception` is one, such as KeyboardInterrupt. So is an error that a signal handler raised, such
    as the time limit of a task queue: then the handler's frame is in its traceback. A handler that is no longer
    installed when its error arrives is not recognized.
    """
    if not isinstance(error, Exception):
        return True
    handlers = {_code_of(_handler_of(number)) for number in _SIGNALS} - {None}
    traceback = error.__traceback__
    while traceback is not None and handlers:
        if traceback.tb_frame.f_code in handlers:
            return True
        traceback = traceback.tb_next
    return False


def _code_of(handler: object) -> CodeType | None:
    while isinstance(handler, partial):
        handler = handler.func
    function = getattr(handler, "__func__", handler)  # of a bound method
    code = getattr(function, "__code__", None)
    if code is None and callable(handler):  # an object with __call__; a function in C has none
        code = getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None
