"""One thread at a time uses a connection; the others wait for it, or ask it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Ownership:
    """Which thread uses a connection, and the condition on which all other threads wait."""

    def __init__(self) -> None:
        # Reentrant, since a signal handler may run while its own thread holds it.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._owner: int | None = None
        """Guarded by `_lock`."""
        self._looping = False
        """Whether the owner runs a loop, and not only a call that ends by itself; guarded by `_lock`."""
        self._last_owner: int | None = None
        self._waiting = 0
        """How many threads wait, or are about to look; guarded by `_lock`."""

    def by_this_thread(self) -> bool:
        """Whether this thread is the owner: then it is in a callback, or in a signal handler."""
        return self._owner == threading.get_ident()

    def by_nobody(self) -> bool:
        """Whether no thread is the owner."""
        return self._owner is None

    def was_last_here(self) -> bool:
        """Whether this thread is the owner, or the latest one."""
        return self._last_owner == threading.get_ident()

    def lock_is_held_here(self) -> bool:
        """Whether this thread holds the lock: then it is in a signal handler, and must not wait for the owner.

        The owner may need the lock to finish.
        """
        held: bool = self._lock._is_owned()  # type: ignore[attr-defined]  # there is no public way to ask
        return held

    def try_to_take(self) -> bool:
        """Make this thread the owner if there is none; return whether that was so."""
        with self._lock:
            if self._owner is not None:
                return False
            self._owner = self._last_owner = threading.get_ident()
            return True

    def take_for_a_loop(self, what: str) -> bool:
        """Make this thread the owner, after calls of other threads that end by themselves.

        Args:
            what: the thing with the loop, for the error.

        Returns:
            False if this thread is the owner already.

        Raises:
            RuntimeError: another thread runs a loop.
        """
        with self._lock:
            if not self.by_this_thread():
                self._wait_for(lambda: self._owner is None or self._looping, None)
            taken = self.try_to_take()
            if not taken and not self.by_this_thread():
                raise RuntimeError(f"{what} is running already, in thread {self._owner}")
            self._looping = True
            return taken

    def release(self, unless: Callable[[], object] = lambda: False) -> bool:
        """Let other threads become the owner.

        Args:
            unless: called under the lock; if it returns something true, this thread stays the owner.

        Returns:
            Whether it was released.
        """
        with self._lock:
            if unless():
                return False
            self._owner, self._looping = None, False
            self.notify()
            return True

    def ask_owner(self, ask: Callable[[], object]) -> bool:
        """Call a function that asks the owner for something, while the owner cannot release; False if there is none."""
        with self._lock:
            if self._owner is None:
                return False
            ask()
            return True

    def notify(self) -> None:
        """Have all threads that wait look again; for any thread that has changed something."""
        if self._waiting:  # a thread that comes to wait after this sees the change itself
            with self._lock:
                self._changed.notify_all()

    def wait(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until another thread makes a predicate true; False if the deadline passed first."""
        with self._lock:
            return self._wait_for(predicate, seconds_until(deadline))

    def _wait_for(self, predicate: Callable[[], bool], seconds: float | None) -> bool:
        self._waiting += 1  # before the first look
        try:
            return self._changed.wait_for(predicate, seconds)
        finally:
            self._waiting -= 1


def seconds_until(deadline: float | None) -> float | None:
    """Return the seconds until a moment of the monotonic clock, at least 0; None for never."""
    if deadline is None:
        return None
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
