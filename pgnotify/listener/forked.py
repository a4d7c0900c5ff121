"""The warning of a forked child that a listener of its parent receives nothing here.

It is logged in a thread of its own. Another thread of the parent may have held a lock at the fork that logging needs,
such as that of a stream that it was writing to. In the child nobody releases that lock, and a fork must not wait for
it. (`logging` renews its own locks after a fork, but not those below: seen with a full pipe and CPython 3.11.)
"""

from __future__ import annotations

import atexit
import logging  # noqa: F401  # see the end of this file
from collections.abc import Callable
from contextlib import suppress

from pgnotify.program.forks import in_each_child
from pgnotify.threads import start_native

# How long the end of a child waits for its warnings, so that a short-lived child gives them, too.
PATIENCE_SECONDS = 1.0

_warnings: list[Callable[[], None]] = []


def warn_aside(warn: Callable[[], None]) -> None:
    """Have a function called that logs a warning, without waiting for it. Called in the child, during the fork."""
    _warnings.append(warn)


def _start_warning() -> None:
    if not _warnings:
        return
    warnings = _warnings.copy()
    _warnings.clear()
    with suppress(RuntimeError):  # no further threads are possible
        # To start a green one, gevent would let the parent's green threads run here, in the child.
        thread = start_native(lambda: [warn() for warn in warnings], "pgnotify warning")
        atexit.register(thread.join, PATIENCE_SECONDS)


# Such functions are called in the order in which they were registered: this one after that of `logging`, imported
# above, which renews the locks. A thread that waits for one of them before that would never be woken.
in_each_child(_start_warning)
