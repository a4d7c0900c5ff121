"""How tests wait for others without sleeping, and record what a callback receives."""

from __future__ import annotations

import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pgnotify.testing._wire import Session, literal
from pgnotify.testing.conformance import _tools
from tests.helpers.user import User

PATIENCE = _tools.PATIENCE_SECONDS

_SIGNAL = signal.SIGUSR1  # pytest-timeout has SIGALRM
_runs_of_handler = [0]


def eventually(predicate: Callable[[], object], what: str = "") -> None:
    """Return as soon as the predicate is true; fail if it does not become true at all."""
    _tools.until(predicate, f"still not true: {what or predicate}")


def waits(thread: threading.Thread) -> bool:
    """Whether a thread is blocked in a backend's wait(), as its stack says."""
    stack = _stack(thread)
    return "wait_readable" in stack and "wait" in stack and "fetch" not in stack


def waits_for_answer(thread: threading.Thread) -> bool:
    """Whether a thread has asked the loop in another thread for something, and waits until it is done."""
    return "result" in _stack(thread)


def _stack(thread: threading.Thread) -> set[str]:
    frame = sys._current_frames().get(thread.ident or 0)
    names = set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names


class Recorder:
    """A callback that keeps a copy of what it is called with."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any] | None] = []

    def __call__(self, arg_dict: dict[str, Any] | None) -> None:
        self.received.append(None if arg_dict is None else dict(arg_dict))

    @property
    def payloads(self) -> list[str | None]:
        """The payloads in the order of arrival, None for a time-out."""
        return [None if arg_dict is None else arg_dict["extra"] for arg_dict in self.received]

    @property
    def events(self) -> list[str | None]:
        """The channels in the order of arrival, None for a time-out."""
        return [None if arg_dict is None else arg_dict["event"] for arg_dict in self.received]


class Background:
    """A function that runs in a thread; `join` is bounded and raises what the function raised."""

    def __init__(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(function, args, kwargs), daemon=True)
        self.thread.start()

    @property
    def running(self) -> bool:
        """Whether the function has not returned yet."""
        return self.thread.is_alive()

    def join(self) -> None:
        """Wait for the function to return; raise what it raised, fail if it does neither."""
        self.thread.join(PATIENCE)
        if self.running:
            stack = "".join(traceback.format_stack(sys._current_frames()[self.thread.ident or 0]))
            pytest.fail(f"the thread did not end within {PATIENCE:.0f} s; it is here:\n{stack}")
        if self.error is not None:
            raise self.error

    def _run(self, function: Callable[..., object], args: Any, kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except BaseException as error:
            self.error = error


def burst(session: Session, channel: str, count: int, start: int = 0) -> None:
    """Send the payloads "start", "start + 1" and so on, in one transaction."""
    numbers = f"generate_series({start}, {start + count - 1})"
    session.sql(f"SELECT count(pg_notify({literal(channel)}, number::text)) FROM {numbers} AS number")


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
        interrupting.join()
