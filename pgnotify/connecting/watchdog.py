"""One thread that ends calls that take too long. It runs while anything is open that may need it.

It is started when a connection is made, and not by the call that it watches: at the end of a process, when the main
thread has ended, no thread can be started any more (since Python 3.12), and such a call would have no deadline.

It is a thread of the system, with locks of the system, under gevent and eventlet, too: a call may wait in C, and then
no green thread runs.
"""

from __future__ import annotations

import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Generator
from contextlib import suppress
from typing import NamedTuple

from pgnotify.program.forks import forget_after_fork
from pgnotify.program.ownership import Answer
from pgnotify.threads import NativeThread, original, start_native
from pgnotify.waiting import readable_among

_JOIN_SECONDS = 1.0  # it ends at once, unless the system is busy


class Look(NamedTuple):
    """When to look at a call again."""

    seconds: float
    """How long to wait before that; may be infinite."""
    descriptor: int | None = None
    """Look earlier if this becomes readable."""


Patience = Generator[Look, bool, None]
"""Yields the next look, is sent whether its descriptor was readable, and returns when it is time to end the call."""


def until(seconds: float) -> Patience:
    """Be patient for this long."""
    yield Look(seconds)


class Watch:
    """The watch over one call, which either returns by itself or is ended, and never both.

    Args:
        patience: when to look, and when it is over. It runs in the watchdog's thread, and must not block.
        bite: ends the call; returns whether it has.
    """

    def __init__(self, patience: Patience, bite: Callable[[], bool]) -> None:
        self._patience = patience
        self._bite = bite
        self._over: dict[str, str] = {}
        self._bitten: Answer[bool] = Answer(original("_thread", "allocate_lock"))
        self._plan(next(patience))

    def _plan(self, look: Look) -> None:
        self.moment = time.monotonic() + look.seconds
        """When to look next, of the monotonic clock."""
        self.descriptor = look.descriptor
        """Look earlier if this becomes readable."""

    def look(self, seen: bool) -> bool:
        """Look at the call, in the watchdog's thread; return whether to look again.

        Args:
            seen: whether the descriptor was readable.
        """
        try:
            self._plan(self._patience.send(seen))
            return True
        except Exception:  # StopIteration; and when in doubt
            if self._is_over_by("watchdog"):
                bitten = False
                try:
                    bitten = self._bite()
                finally:
                    self._bitten.set_result(bitten)
            return False

    def has_bitten(self) -> bool:
        """End the watch; return whether it has ended the call. A second call returns the same."""
        if self._is_over_by("call"):
            return False
        while not self._bitten.done():  # at this moment it bites
            self._bitten.wait(_JOIN_SECONDS)
        return self._bitten.result()

    def forget_in_child(self) -> None:
        """Let a call that runs in a forked child end by itself."""
        if self._over and not self._bitten.done():
            self._bitten.set_result(False)

    def _is_over_by(self, who: str) -> bool:
        # In C, so that a signal handler that raises leaves no doubt about who was the first.
        return self._over.setdefault("by", who) == who


class Watchdog:
    """Watches calls in a thread of its own, which all of them share.

    Nothing here waits for a lock, because a signal handler may run anything of this during any of it.
    """

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._clients: dict[int, weakref.ref[object]] = {}
        self._thread: threading.Thread | NativeThread | None = None
        self._be_new()
        forget_after_fork(self)

    def _be_new(self) -> None:
        allocate_lock = original("_thread", "allocate_lock")
        self._running = allocate_lock()
        """Held by the thread. If two are started at the same time, one of them ends at once."""
        self._bell = allocate_lock()
        """Released to wake the thread."""
        self._bell.acquire()
        self._looks_at = math.inf
        """Until when the thread sleeps, of the monotonic clock. Infinite while it is awake: then it is always rung."""

    def stay_for(self, client: object) -> None:
        """Have the thread run until `leave`, or until the client is deleted; try that later if there are no threads."""
        key = id(client)
        self._clients[key] = weakref.ref(client, lambda _: self._forget(key))
        with suppress(RuntimeError):  # so the first call that is watched will say
            self._be_running()

    def leave(self, client: object) -> None:
        """End the thread, and wait for that, if this is the last client. A second call does nothing."""
        self._forget(id(client))
        thread = self._thread
        if thread is not None and not self._is_needed() and not sys.is_finalizing():
            with suppress(RuntimeError):  # it was not started; or this is its own thread, which collects garbage
                thread.join(_JOIN_SECONDS)

    def watch(self, watch: Watch) -> None:
        """Watch a call from now on.

        Raises:
            RuntimeError: there are no more threads.
        """
        self._watches.add(watch)
        try:
            self._be_running()
        except RuntimeError:
            self._watches.discard(watch)
            raise
        if watch.moment < self._looks_at:
            self._ring()

    def has_bitten(self, watch: Watch) -> bool:
        """End a watch; return whether it has ended the call. A second call returns the same."""
        self._watches.discard(watch)
        if not self._clients:  # the last one has left before
            self._ring()
        return watch.has_bitten()

    def forget_in_child(self) -> None:
        """Forget the thread. Called in the child after a fork, where it does not exist."""
        for watch in self._watches:
            watch.forget_in_child()
        self._watches.clear()
        self._clients.clear()
        self._thread = None
        self._be_new()

    def _forget(self, key: int) -> None:
        if self._clients.pop(key, None) is not None:
            self._ring()

    def _is_needed(self) -> bool:
        return bool(self._clients or self._watches)

    def _be_running(self) -> None:
        if not self._running.locked():
            self._thread = start_native(self._run, "pgnotify watchdog")

    def _ring(self) -> None:
        with suppress(RuntimeError):  # it was rung, and the thread has not awoken yet
            self._bell.release()

    def _run(self) -> None:
        # The need is checked after the release: a client who sees the lock held just before it is not overlooked.
        while self._is_needed() and self._running.acquire(blocking=False):
            try:
                while self._is_needed():
                    self._look(self._sleep())
            finally:
                self._running.release()

    def _sleep(self) -> Collection[int]:
        """Sleep until a look is due, or the bell rings; return the descriptors that are readable.

        While it watches descriptors, it does not hear the bell. That is never for long.
        """
        watches = list(self._watches)
        moment = min((watch.moment for watch in watches), default=math.inf)
        descriptors = {watch.descriptor for watch in watches if watch.descriptor is not None}
        del watches  # what is over by then is not kept
        self._looks_at = moment
        seconds = min(max(0.0, moment - time.monotonic()), threading.TIMEOUT_MAX)
        readable: Collection[int] = ()
        if descriptors:
            readable = readable_among(descriptors, seconds)
        else:
            self._bell.acquire(timeout=seconds)
        self._looks_at = math.inf
        return readable

    def _look(self, readable: Collection[int]) -> None:
        now = time.monotonic()
        for watch in list(self._watches):
            seen = watch.descriptor in readable
            if (seen or watch.moment <= now) and not watch.look(seen):
                self._watches.discard(watch)


watchdog = Watchdog()
"""That of the process."""
