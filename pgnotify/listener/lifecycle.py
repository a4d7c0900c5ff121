"""The life of a Listener: who reads, from the first connection to the end, and how the others wait for it.

One thread at a time runs the loop: whoever called, or a thread of our own. All others only ask, and wait.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable

from pgnotify.connecting import retryable as diagnosis
from pgnotify.connecting.backoff import Backoff
from pgnotify.connecting.source import Source
from pgnotify.errors import ConnectionLost, ListenerClosed
from pgnotify.listener.delivery import Delivery
from pgnotify.listener.gap import Gap
from pgnotify.listener.loop import announce_dropped, listener_loop
from pgnotify.listener.mailbox import Overflow
from pgnotify.listener.report import Reporter
from pgnotify.listener.runner import ReconnectingRunner
from pgnotify.listener.subscriptions import Subscription
from pgnotify.listener.watch import ListenerWatch
from pgnotify.listener.workers import Workers
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.program import verbs
from pgnotify.program.commands import carry_out
from pgnotify.program.ownership import Reading, seconds_until
from pgnotify.program.state import State

# How long a thread that waits for the reader to come to an end lets pass between two looks at how that stands.
_LOOK_EACH_SECONDS = 0.05


class Settings:
    """What the loop asks for; see `pgnotify.listener.loop.Settings`."""

    def __init__(self, source: Source, heartbeat: float | None, backoff: Backoff) -> None:
        self.heartbeat = heartbeat
        self.can_reconnect = source.can_reconnect
        self.new_is_fresh = source.from_dsn or not source.can_reconnect
        self.clock = time.monotonic
        self.now = time.time
        self._backoff = backoff

    def delay(self, attempt: int) -> float:
        """See there."""
        return self._backoff.delay(attempt)

    def is_healthy_after(self, seconds: float) -> bool:
        """See there."""
        return seconds >= self._backoff.healthy_after

    def is_permanent(self, error: Exception, at_start: bool) -> bool:
        """See there."""
        return diagnosis.is_permanent(error, at_start)


class Lifecycle:
    """Runs the loop, in this thread or in one of its own, and ends it.

    Args:
        name: the listener's.
        settings, watch, runner, delivery, reporter: what the loop works with.
        reading: which thread reads.
        workers: how many threads run the callbacks; 0 for none but the reading one.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        watch: ListenerWatch,
        runner: ReconnectingRunner,
        delivery: Delivery,
        reporter: Reporter,
        reading: Reading,
        workers: int,
    ) -> None:
        self._name = name
        self._settings = settings
        self._watch = watch
        self._runner = runner
        self._delivery = delivery
        self._reporter = reporter
        self._reading = reading
        self._worker_count = workers
        self._process = os.getpid()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self.failure: BaseException | None = None
        """What has ended it, if that was an error."""
        self._drain = False
        self._stop_deadline: float | None = 0.0
        _alive.add(self)

    # Reading.

    def run(self) -> None:
        """Read in this thread until it is stopped; see `Listener.run`."""
        self.check_open()
        if not self._read():
            raise RuntimeError("this listener is being read already, in another thread")
        self._raise_failure()

    def enter(self) -> None:
        """Connect and listen, however many attempts that takes; see `Listener.__enter__`."""
        self.check_open()
        self.wait_until(lambda: self._watch.is_settled, None)

    def start(self) -> None:
        """Have a thread of its own read; see `Listener.start`."""
        self.check_open()
        with self._starting:
            if self._thread is not None or not self._reading.by_nobody:
                raise RuntimeError("this listener is being read already")
            thread = threading.Thread(target=self._serve, name=f"{self._name} listener", daemon=True)
            thread.start()
            self._thread = thread
        self._reading.wait(lambda: self._was_attempted() or self.is_over(), None)
        if self.failure is not None and not self._watch.ever_listened and not self._reporter.has_failed:
            thread.join()
            failure, self.failure, self._thread = self.failure, None, None
            self._reporter.enter("idle")
            raise failure
        atexit.register(self.stop)

    def connect(self, deadline: float | None = None) -> None:
        """Have at least tried to connect; raise if that cannot help."""
        self.wait_until(self._was_attempted, deadline)

    def _was_attempted(self) -> bool:
        return self._watch.is_settled or self._reporter.has_failed

    @property
    def reads_here(self) -> bool:
        """Whether this thread reads: it is in a callback, or in a signal handler."""
        return self._reading.by_this_thread()

    def wait_until(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        """Return as soon as a predicate is true, or all is over; read meanwhile if no other thread does.

        Returns:
            False if the deadline passed first, or it was stopped.

        Raises:
            RuntimeError: this thread reads, and so cannot wait for itself.

        And what has ended the listener.
        """
        while not predicate():
            self.check_process()
            self._raise_failure()
            if self._watch.state is State.CLOSED:
                return False
            if self._nobody_will_read() or self._reading.by_this_thread():
                self._read(predicate, deadline)
            else:
                self._reading.wait(lambda: predicate() or self.is_over() or self._nobody_will_read(), deadline)
            if deadline is not None and time.monotonic() >= deadline:
                return predicate()
        return True

    def _read(self, until: Callable[[], bool] = lambda: False, deadline: float | None = None) -> bool:
        """Run the loop in this thread; see `listener_loop`. Ends the listener if that was asked for.

        Returns:
            False if another thread reads, and nothing was done.
        """
        if self._reading.by_this_thread():
            raise RuntimeError("called in the thread that reads, which cannot wait for itself")
        try:  # around the taking, too: a Ctrl-C may come right behind it
            if not self._reading.try_to_take():
                return False
            self._run(until, deadline)
            return True
        finally:
            if self._reading.by_this_thread():
                self._reading.give_up()

    def _run(self, until: Callable[[], bool], deadline: float | None) -> None:
        if self._worker_count and self._delivery.workers is None:
            self._delivery.workers = Workers(
                self._worker_count, self._name, self._call_in_worker, self._announce_from_worker
            )
        try:
            stopped = self._runner.run(listener_loop(self._watch, self._settings, until, deadline), self._delivery)
        except Exception as error:
            if error is self._reporter.raised:
                self.failure = error
                self._end()
            raise
        if stopped:
            self._end()

    def _serve(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self.failure = self.failure or error
            if self._watch.ever_listened or self._reporter.has_failed:  # else start() raises it
                self._reporter.ended_by(error)
                self._end(drain=isinstance(error, ConnectionLost))  # what had arrived is delivered
        self._reading.notify()

    def _nobody_will_read(self) -> bool:
        return self._reading.by_nobody and (self._thread is None or not self._thread.is_alive())

    # What is asked of the reading thread, and what other threads of ours do.

    def wake(self) -> None:
        """Have the reading thread, and all that wait, look at what was changed."""
        self._watch.interrupt()
        self._runner.wake()
        self._reading.notify()

    def announce_overflow(self, overflow: Overflow, deadline: float | None = None) -> bool:
        """Have the reading thread tell the user of a gap, or do it here if nobody reads.

        Returns:
            Whether that is done, or will be with the next LISTEN; False if the deadline passed first.
        """
        gap, told = overflow.gap(), threading.Event()
        if self.is_over():
            self._reporter.tell_of_overflow(gap, None)  # nobody reads any more
            return True
        if self._reading.by_this_thread():
            self._watch.dropped_gaps.append(gap)
            return True
        self._watch.request(_announcing(self._watch, gap, told))
        self._runner.wake()
        return self.wait_until(told.is_set, deadline)

    def _announce_from_worker(self, overflow: Overflow) -> None:
        told = threading.Event()
        self._watch.request(_announcing(self._watch, overflow.gap(), told))
        self._runner.wake()
        # If nobody reads, whoever does so next comes to it.
        while not told.wait(_LOOK_EACH_SECONDS) and not self.is_over() and not self._nobody_will_read():
            pass

    def _call_in_worker(self, subscription: Subscription, notification: Notification) -> None:
        try:
            self._delivery.call(subscription, notification)
        except BaseException as error:  # a SystemExit, too: it would end the worker, and nobody would know
            self.failure = self.failure or error
            self._reporter.ended_by(error)
            self._watch.request_stop()
            self._runner.wake()
            self._reading.notify()

    # The end.

    def stop(self, timeout: float | None = 5.0, drain: bool = False) -> bool:
        """End it for good; see `Listener.stop`."""
        if self._process != os.getpid():
            return True  # nothing of it is in this process
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._watch.state is not State.CLOSED:
            self._drain = self._drain or drain
            self._stop_deadline = deadline
            self._watch.request_stop()
            self._runner.wake()
        if self._reading.by_this_thread() or self._is_worker():
            return False
        self._await_end(deadline)
        return self._join(deadline)

    def check_open(self) -> None:
        """Refuse what cannot be done any more.

        Raises:
            ListenerClosed: it was stopped, or this is a forked child.

        And what has ended the listener.
        """
        self.check_process()
        if self.failure is not None:
            what = f"{type(self.failure).__name__}: {self.failure}"
            raise ListenerClosed(f"the listener {self._name!r} has ended: {what}") from self.failure
        if self._watch.state is State.CLOSED:
            raise ListenerClosed(f"the listener {self._name!r} was stopped")

    def check_process(self) -> None:
        """Refuse what a forked child cannot do; see `check_open`."""
        if self._process != os.getpid():
            raise ListenerClosed(
                f"this listener belongs to process {self._process}, from which {os.getpid()} was forked; "
                "make a new one in the child"
            )

    def is_abandoned(self) -> bool:
        """Whether it holds a connection, in this process, that was never let go of."""
        return self._process == os.getpid() and self._watch.ever_listened and self._watch.state is not State.CLOSED

    def is_read(self) -> bool:
        """Whether a thread reads, or one of its own is about to."""
        return not self._nobody_will_read()

    def forget_in_child(self) -> None:
        """After a fork, in the child."""
        self._runner.forget_in_child()

    def _await_end(self, deadline: float | None) -> None:
        """Wait for the reader to end, cutting off what it waits for; end it here if nobody reads."""
        self._cut_unless_draining()
        while not self._reading.wait(self._is_closed_or_nobodys, _earlier(deadline, _LOOK_EACH_SECONDS)):
            self._cut_unless_draining()
            if deadline is not None and time.monotonic() >= deadline:
                self._runner.cut(even_the_users_call=True)
                return
        if self._watch.state is not State.CLOSED and self._reading.try_to_take():
            try:
                self._end()
            finally:
                self._reading.give_up()

    def _cut_unless_draining(self) -> None:
        if not self._drain:  # else the connection is needed still, to announce what was dropped
            self._runner.cut()

    def _is_closed_or_nobodys(self) -> bool:
        return self._watch.state is State.CLOSED or self._nobody_will_read()

    def _end(self, drain: bool = False) -> None:
        """Deliver what is queued if that is wanted, let go of the connection, and be closed; where it is read.

        Args:
            drain: whether to have workers deliver what they have, however long that takes.
        """
        watch, workers = self._watch, self._delivery.workers
        if watch.state is State.CLOSED:
            return
        watch.interrupted = watch.stop_requested = False
        try:
            if self._drain:
                self._drain_all()
            if not self._settings.can_reconnect and watch.in_force:
                self._runner.run(verbs.unlisten(watch), self._delivery)
        except Exception as error:
            self.failure = self.failure or error
        finally:
            watch.queue.clear()
            watch.closed()
            self._runner.close()
            if not self._drain and self.failure is None:
                self._delivery.mailbox.clear()
            atexit.unregister(self.stop)
            self._reporter.enter("closed")
            if workers is not None:
                workers.close(drain or self._drain, None if drain else self._stop_deadline)

    def _drain_all(self) -> None:
        """Deliver what is queued, here and in workers, and announce what their queues have dropped."""
        workers, deadline = self._delivery.workers, self._stop_deadline
        self._runner.run(_deliver_queue(self._watch, self._settings.clock, deadline), self._delivery)
        while workers is not None and not workers.wait_idle(_earlier(deadline, _LOOK_EACH_SECONDS)):
            if deadline is not None and time.monotonic() >= deadline:
                return
            self._runner.run(carry_out(self._watch), self._delivery)

    def _join(self, deadline: float | None) -> bool:
        """Wait for our threads, as far as they are not this one; return whether all has ended."""
        workers, thread = self._delivery.workers, self._thread
        if self._watch.state is not State.CLOSED:
            return False
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds_until(deadline))
            if thread.is_alive():
                return False
        return workers is None or self._is_worker() or workers.close(self._drain, deadline)

    def _is_worker(self) -> bool:
        return self._delivery.workers is not None and self._delivery.workers.include_this_thread

    def is_over(self) -> bool:
        """Whether it was stopped, or has ended with an error."""
        return self.failure is not None or self._watch.state is State.CLOSED

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure


def _deliver_queue(watch: ListenerWatch, clock: Callable[[], float], deadline: float | None) -> p.Program[None]:
    while watch.queue and (deadline is None or clock() < deadline):
        yield p.DELIVER_ONE


def _earlier(deadline: float | None, seconds: float) -> float:
    """Return the moment in so many seconds, or the deadline if that is before it."""
    moment = time.monotonic() + seconds
    return moment if deadline is None else min(deadline, moment)


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
