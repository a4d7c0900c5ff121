"""A signal to the main thread, at a moment of the test's choice."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgnotify.testing._wire import Session
from tests.helpers.threads import Background
from tests.helpers.user import User
from tests.helpers.waiting import eventually

_SIGNAL = signal.SIGUSR1  # pytest-timeout has SIGALRM
_runs_of_handler = [0]


@contextmanager
def on_signal(function: Callable[[], object]) -> Iterator[None]:
    """Call a function in the main thread with each `send_signal`."""

    def run(*_: object) -> None:
        try:
            function()
        finally:
            _runs_of_handler[0] += 1

    signal.signal(_SIGNAL, run)
    try:
        yield
    finally:
        signal.signal(_SIGNAL, signal.SIG_IGN)  # one that comes late, from a test that fails, ends nothing


def send_signal() -> None:
    """Send the signal to the main thread; in there, its handler has run on return."""
    # Not os.kill(): the system may hand that to another thread, and nobody would be interrupted.
    signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)


def run_with_a_signal(user: User, session: Session) -> None:
    """Run a statement of the user's, in the main thread, and have the signal come in its midst."""
    pid, number = user.pid, random.getrandbits(60)
    session.sql(f"SELECT pg_advisory_lock({number})")

    def interrupt() -> None:
        # Where calls are traced, as coverage does: a thread of CPython 3.11 never gets beyond the next call while a
        # signal waits for the main thread, which waits for us.
        sys.settrace(None)
        eventually(lambda: session.sql(f"SELECT FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'advisory'"))
        runs_before = _runs_of_handler[0]
        send_signal()
        if user.kind.interruptible:
            eventually(lambda: _runs_of_handler[0] > runs_before)
        session.sql(f"SELECT pg_advisory_unlock({number})")

    interrupting = Background(interrupt)
    try:
        user.run(f"SELECT pg_advisory_lock({number})")
    finally:
        interrupting.ended()
