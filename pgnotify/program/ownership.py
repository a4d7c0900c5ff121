"""One thread at a time uses a connection. The others wait for it, or ask it to act for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Generic, TypeVar, cast

from pgnotify.program.interruption import is_interruption
from pgnotify.threads import has_no_event_loop, is_event_loop

T = TypeVar("T")


class Ownership:
    """Which thread uses a connection, and the condition on which the other threads wait."""

    def __init__(self) -> None:
        # Reentrant, because a signal handler may run while its own thread holds it.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._owner: int | None = None
        """Guarded by `_lock`."""
        self._looping = False
        """Whether the owner runs a loop, and not only a call that ends by itself; guarded by `_lock`."""
        self._last_owner: int | None = None
        self._waiting = 0
        """How many threads wait, or are about to check; guarded by `_lock`."""

    def forget_in_child(self) -> None:
        """Forget all other threads. Called in the child after a fork, where they do not exist."""
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        if not self.by_this_thread():
            self._owner = None

    def by_this_thread(self) -> bool:
        """Return whether this thread is the owner. If so, it is in a callback or in a signal handler."""
        return self._owner == threading.get_ident()

    def by_nobody(self) -> bool:
        """Return whether no thread is the owner."""
        return self._owner is None

    def by_one_of(self, threads: Collection[int]) -> bool:
        """Return whether one of these threads is the owner."""
        return self._owner in threads

    def was_last_here(self) -> bool:
        """Return whether this thread is the owner, or was the latest one."""
        return self._last_owner == threading.get_ident()

    def cannot_wait(self) -> bool:
        """Return whether this thread must not wait for the owner, which could not finish as long as it waits.

        So it is in a signal handler that runs while this thread holds the lock. The event loop of green threads cannot
        wait either.
        """
        return is_held_here(self._lock) or is_event_loop() or (has_no_event_loop() and not self.by_nobody())

    def try_to_take(self) -> bool:
        """Make this thread the owner if there is none; return False if there is one."""
        with self._lock:
            if self._owner is not None:
                return False
            self._owner = self._last_owner = threading.get_ident()
            return True

    def take_for_a_loop(self, what: str) -> bool:
        """Make this thread the owner. Calls of other threads that end by themselves are waited for.

        Args:
            what: names the object with the loop, in the error message.

        Returns:
            False if this thread is already the owner.

        Raises:
            RuntimeError: another thread runs a loop.
        """
        me = threading.get_ident()
        while True:
            with self._lock:
                is_free = self._owner in (None, me)
                if is_free or self._looping:
                    if not is_free:
                        raise RuntimeError(f"{what} is already running, in thread {self._owner}")
                    taken = self._owner is None
                    self._owner = self._last_owner = me
                    self._looping = True
                    return taken
            self.wait(lambda: self._owner is None or self._looping, None)

    def release(self, unless: Callable[[], object] = lambda: False) -> bool:
        """Let other threads become the owner, if this thread is it. A second call does nothing.

        Args:
            unless: called under the lock. If it returns a true value, this thread stays the owner.

        Returns:
            Whether this thread is no longer the owner.
        """
        with self._lock:
            if self._owner != threading.get_ident():
                return True
            if unless():
                return False
            if self._waiting:  # first: after an exception of a signal handler in here, a second call does it again
                self._changed.notify_all()
            self._owner, self._looping = None, False
            return True

    def ask_owner(self, ask: Callable[[], object]) -> bool:
        """Call a function while there is an owner, which cannot release until it returns.

        Args:
            ask: asks the owner for something.

        Returns:
            False if there is no owner; the function was not called.
        """
        with self._lock:
            if self._owner is None:
                return False
            ask()
            return True

    def notify(self) -> None:
        """Have all waiting threads check again. Any thread calls this after a change."""
        if self._waiting:  # a thread that begins to wait after this sees the change itself
            with self._lock:
                self._changed.notify_all()

    def wait(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until another thread makes a predicate true.

        Args:
            predicate: called under the lock, now and after each `notify`.
            deadline: of the monotonic clock; None waits for ever.

        Returns:
            False if the deadline passed first.
        """
        with self._lock:
            self._waiting += 1  # before the first check
        try:
            return wait_for(self._changed, self._lock, predicate, deadline)
        finally:
            with self._lock:
                self._waiting -= 1


def is_held_here(lock: object) -> bool:
    """Return whether this thread holds a lock, if that is a `threading.RLock`; otherwise False.

    A function that finds so before it takes the lock runs in a signal handler, or in a destructor. It must not wait for
    another thread that may need the lock.
    """
    is_owned = getattr(lock, "_is_owned", None)  # there is no public way to ask
    return is_owned is not None and bool(is_owned())


class Answer(Generic[T]):
    """The answer to the request of a thread, which waits for it.

    Nothing here holds a lock while Python code runs, as `concurrent.futures.Future` does: if a signal handler raised
    there, the lock would stay taken, and the thread would wait for ever.

    Args:
        allocate_lock: makes the lock on which it waits.
    """

    def __init__(self, allocate_lock: Callable[[], threading.Lock] = threading.Lock) -> None:
        self._result: T | None = None
        self._error: BaseException | None = None
        self._is_set = False
        self._bell = allocate_lock()  # released once, when it is set
        self._bell.acquire()

    def set_result(self, result: T) -> None:
        """Answer with a result."""
        self._result, self._is_set = result, True
        self._bell.release()

    def set_exception(self, error: BaseException) -> None:
        """Answer with an error."""
        self._error, self._is_set = error, True
        self._bell.release()

    def done(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def wait(self, seconds: float) -> None:
        """Wait until it is set, or the time has passed. For one thread."""
        self._bell.acquire(timeout=seconds)

    def result(self) -> T:
        """Return the result, or raise the error, after it is set."""
        if self._error is not None:
            raise self._error
        return cast(T, self._result)


def wait_for(
    condition: threading.Condition,
    lock: AbstractContextManager[object],
    predicate: Callable[[], object],
    deadline: float | None,
) -> bool:
    """Wait until a predicate is true; whatever a signal handler raises, the lock is free, and the error comes out.

    Args:
        condition: notified after each change.
        lock: the condition's. A ``with`` of the condition itself may leave it locked.
        predicate: called under the lock, now and after each notification.
        deadline: of the monotonic clock; None waits for ever.

    Returns:
        False if the deadline passed first.
    """
    try:
        with lock:
            return bool(condition.wait_for(predicate, seconds_until(deadline)))
    except RuntimeError as error:
        # If a signal handler raises just when the condition has released the lock, that is released once more.
        interruption = error.__context__
        if interruption is None or not is_interruption(interruption):
            raise
        raise interruption from None


def seconds_until(deadline: float | None) -> float | None:
    """Return the seconds until a moment of the monotonic clock, at least 0; None for never."""
    if deadline is None:
        return None
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
