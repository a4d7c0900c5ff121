"""The life of a Listener: which thread reads, from the first connection to the end, and how the others wait for it.

One thread at a time runs the loop: the caller's, or a thread of our own. All other threads only make requests, and
wait.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable

from pgnotify.errors import ConnectionLost, ListenerClosed
from pgnotify.listener.delivery import Delivery
from pgnotify.listener.gap import Gap
from pgnotify.listener.loop import announce_dropped, listener_loop
from pgnotify.listener.mailbox import Overflow
from pgnotify.listener.options import Options
from pgnotify.listener.policy import Policy
from pgnotify.listener.runner import ReconnectingRunner
from pgnotify.listener.shutdown import LOOK_EACH_SECONDS, Shutdown
from pgnotify.listener.subscriptions import Subscription
from pgnotify.listener.watch import ListenerWatch
from pgnotify.listener.workers import Workers
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.program.ownership import Ownership
from pgnotify.program.state import ListenerState


class Lifecycle:
    """Runs the loop, in this thread or in one of its own, until the shutdown.

    Args:
        options: the listener's.
        policy: the loop's.
        runner: performs the loop's actions.
        delivery: receives notifications and events, and knows the watch and the reporter.
        ownership: which thread reads.
    """

    def __init__(
        self,
        options: Options,
        policy: Policy,
        runner: ReconnectingRunner,
        delivery: Delivery,
        ownership: Ownership,
    ) -> None:
        self._title = options.title
        self._worker_count = options.workers
        self._policy = policy
        self._runner = runner
        self._delivery = delivery
        self._watch = delivery.watch
        self._reporter = delivery.reporter
        self._ownership = ownership
        self._process = os.getpid()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self.shutdown = Shutdown(policy, runner, delivery, ownership)
        _alive.add(self)

    # Reading.

    def run(self) -> None:
        """Read in this thread until the listener is stopped; see `Listener.run`."""
        self.check_open()
        if not self._read():
            raise RuntimeError("another thread already reads this listener")
        self.shutdown.raise_failure()

    def enter(self) -> None:
        """Connect and listen, however many attempts that takes; see `Listener.__enter__`."""
        self.check_open()
        self.wait_until(lambda: self._watch.is_settled, None)

    def start(self) -> None:
        """Read in a thread of its own; see `Listener.start`."""
        self.check_open()
        with self._starting:
            if self._thread is not None or not self._ownership.by_nobody():
                raise RuntimeError("a thread already reads this listener")
            thread = threading.Thread(target=self._serve, name=f"{self._title} listener", daemon=True)
            thread.start()
            self._thread = thread
        self._ownership.wait(lambda: self._was_attempted() or self.shutdown.is_over, None)
        failure = self.shutdown.failure
        if failure is not None and self._has_never_worked():
            thread.join()
            self.shutdown.failure = self._thread = None
            self._reporter.enter(ListenerState.IDLE)
            raise failure
        self.shutdown.at_exit(self.stop)

    def connect(self, deadline: float | None = None) -> None:
        """Try to connect at least once before a deadline; raise the error if another attempt cannot help."""
        self.wait_until(self._was_attempted, deadline)

    def _was_attempted(self) -> bool:
        return self._watch.is_settled or self._reporter.has_failed

    def _has_never_worked(self) -> bool:
        """Return whether `start` raises an error of the first attempt, which then does not end the listener."""
        return not self._watch.ever_listened and not self._reporter.has_failed

    @property
    def reads_here(self) -> bool:
        """Whether this thread reads. If so, it is in a callback or in a signal handler."""
        return self._ownership.by_this_thread()

    def wait_until(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until a predicate is true, or the listener has ended. Read here if no other thread does.

        Returns:
            False if the deadline passed first, or the listener was stopped.

        Raises:
            RuntimeError: this thread reads, and so cannot wait for itself.

        It also raises the error that has ended the listener.
        """
        while not predicate():
            self.check_process()
            self.shutdown.raise_failure()
            if self.shutdown.has_ended:
                return False
            if not self.is_read() or self._ownership.by_this_thread():
                self._read(predicate, deadline)
            else:
                self._ownership.wait(lambda: predicate() or self.shutdown.is_over or not self.is_read(), deadline)
            if deadline is not None and time.monotonic() >= deadline:
                return predicate()
        return True

    def _read(self, until: Callable[[], bool] = lambda: False, deadline: float | None = None) -> bool:
        """Run the loop in this thread; see `listener_loop`. End the listener if that was requested.

        Returns:
            False if another thread reads; then nothing was done.
        """
        if self._ownership.by_this_thread():
            raise RuntimeError("called in the thread that reads, which cannot wait for itself")
        try:  # try_to_take() is inside, too: a Ctrl-C may come right after it
            if not self._ownership.try_to_take():
                return False
            self._run(until, deadline)
            return True
        finally:
            if self._ownership.by_this_thread():
                self._ownership.release()

    def _run(self, until: Callable[[], bool], deadline: float | None) -> None:
        if self._worker_count and self._delivery.workers is None:
            self._delivery.workers = Workers(
                self._worker_count, self._title, self._call_in_worker, self._announce_from_worker
            )
        try:
            stopped = self._runner.run(listener_loop(self._watch, self._policy, until, deadline), self._delivery)
        except Exception as error:
            if error is self._reporter.raised:
                self.shutdown.failure = error
                self.shutdown.end()
            raise
        if stopped:
            self.shutdown.end()

    def _serve(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self.shutdown.fail(error)
            if not self._has_never_worked():  # otherwise start() raises it
                self._reporter.ended_by(error)
                self.shutdown.end(drain_workers=isinstance(error, ConnectionLost))  # workers deliver the rest
        self._ownership.notify()

    # Requests to the reading thread, and the work of our other threads.

    def wake(self) -> None:
        """Have the reading thread and all waiting threads check for changes."""
        self._watch.interrupt()
        self._runner.wake()
        self._ownership.notify()

    def announce_overflow(self, overflow: Overflow, deadline: float | None = None) -> bool:
        """Have the reading thread tell the user of a gap, or do it here if no thread reads.

        Returns:
            True if that is done, or will be done with the next LISTEN; False if the deadline passed first.
        """
        gap = overflow.gap()
        if self.shutdown.is_over:
            self._reporter.tell_of_overflow(gap)
            return True
        if self._ownership.by_this_thread():
            self._watch.dropped_gaps.append(gap)
            return True
        return self.wait_until(self._ask_to_announce(gap).is_set, deadline)

    def _announce_from_worker(self, overflow: Overflow) -> None:
        told = self._ask_to_announce(overflow.gap())
        # If no thread reads, the next one that does announces it.
        while not told.wait(LOOK_EACH_SECONDS) and not self.shutdown.is_over and self.is_read():
            pass

    def _ask_to_announce(self, gap: Gap) -> threading.Event:
        """Have the reading thread announce a gap; return the event that it sets after that."""
        told = threading.Event()
        self._watch.request(_announcing(self._watch, gap, told))
        self._runner.wake()
        return told

    def _call_in_worker(self, subscription: Subscription, notification: Notification) -> None:
        try:
            self._delivery.call(subscription, notification)
        except BaseException as error:  # a SystemExit too, which would end the worker in silence
            self.shutdown.fail(error)
            self._reporter.ended_by(error)
            self.shutdown.request_stop()
            self._ownership.notify()

    # The end.

    def stop(self, timeout: float | None = 5.0, drain: bool = False) -> bool:
        """End the listener for good; see `Listener.stop`."""
        if self._process != os.getpid():
            return True  # in a forked child there is nothing to end
        deadline = None if timeout is None else time.monotonic() + timeout
        self.shutdown.request(drain, deadline)
        if self.shutdown.is_called_inside():
            return False
        self.shutdown.wait(deadline, self.is_read)
        return self.shutdown.join(self._thread, deadline)

    def check_open(self) -> None:
        """Raise an error if the listener has ended.

        Raises:
            ListenerClosed: it was stopped; or this is a forked child; or it has ended with an error, which is the
                __cause__.
        """
        self.check_process()
        failure = self.shutdown.failure
        if failure is not None:
            what = f"{type(failure).__name__}: {failure}"
            raise ListenerClosed(f"the listener {self._title!r} has ended: {what}") from failure
        if self.shutdown.has_ended:
            raise ListenerClosed(f"the listener {self._title!r} was stopped")

    def check_process(self) -> None:
        """Raise an error in a forked child; see `check_open`."""
        if self._process != os.getpid():
            raise ListenerClosed(
                f"this listener belongs to process {self._process}, from which {os.getpid()} was forked; "
                "make a new one in the child"
            )

    def is_abandoned(self) -> bool:
        """Return whether it still holds a connection, in this process."""
        return self._process == os.getpid() and self._watch.ever_listened and not self.shutdown.has_ended

    def is_read(self) -> bool:
        """Return whether a thread reads, or its own thread is about to."""
        return not self._ownership.by_nobody() or (self._thread is not None and self._thread.is_alive())

    def forget_in_child(self) -> None:
        """Forget the connection. Called in the child after a fork."""
        self._runner.forget_in_child()


def _announcing(watch: ListenerWatch, gap: Gap, told: threading.Event) -> p.Program[None]:
    try:
        yield from announce_dropped(watch, gap)
    finally:
        told.set()


_alive: weakref.WeakSet[Lifecycle] = weakref.WeakSet()


def _forget_in_child() -> None:
    for lifecycle in _alive:
        lifecycle.forget_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
