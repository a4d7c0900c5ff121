"""The life of a Listener: which thread reads, from the first connection to the end, and how the others wait for it.

One thread at a time runs the loop: the caller's, or a thread of our own. All other threads only make requests, and
wait.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from functools import partial

from pgnotify.errors import ListenerClosed
from pgnotify.listener import at_exit
from pgnotify.listener.delivery import Delivery
from pgnotify.listener.forked import warn_aside
from pgnotify.listener.loop import listener_loop
from pgnotify.listener.options import Options
from pgnotify.listener.overflows import Overflows
from pgnotify.listener.policy import Policy
from pgnotify.listener.runner import ReconnectingRunner
from pgnotify.listener.shutdown import Shutdown
from pgnotify.listener.subscriptions import Subscription
from pgnotify.listener.workers import Interruptible, Workers
from pgnotify.notification import Plain
from pgnotify.program.forks import forget_after_fork
from pgnotify.program.interruption import is_interruption
from pgnotify.program.ownership import Ownership
from pgnotify.program.state import ListenerState, State
from pgnotify.threads import background


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
        self._postponed: Exception | None = None
        """An error that the next call of `wait_first` raises, unless it need not wait."""
        self.shutdown = Shutdown(policy, runner, delivery, ownership)
        self._is_unwarned = False
        """Whether this is a forked child, and nobody was warned of that yet."""
        forget_after_fork(self)
        at_exit.stop_at_exit(self)

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
            self._thread = thread = background(self._serve, f"{self._title} listener")
        try:
            thread.start()
            self._wait(self._was_attempted, None)
        except BaseException as error:
            if isinstance(error, Exception) and not is_interruption(error):  # there are no more threads
                self._thread = None
            else:  # of a signal handler; perhaps the thread runs already
                self.stop()
            raise
        failure = self.shutdown.failure
        if failure is not None and self._has_never_worked():
            thread.join()
            self.shutdown.failure = self._thread = None
            raise failure

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
                self._wait(predicate, deadline)
            if deadline is not None and time.monotonic() >= deadline:
                return predicate()
        return True

    def _wait(self, predicate: Callable[[], bool], deadline: float | None) -> None:
        """Wait while another thread reads."""
        at_exit.prepare()
        at_end = self.shutdown.keeps_process_alive
        self._ownership.wait(lambda: predicate() or self.shutdown.is_over or not self.is_read() or at_end(), deadline)
        self.shutdown.end_with_process()

    def wait_first(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        """Do the same as `wait_until`, but postpone an error of the loop while the predicate is true.

        So everything that had arrived before the error is taken first.
        """
        if predicate():
            return True
        postponed, self._postponed = self._postponed, None
        if postponed is not None:
            raise postponed
        try:
            return self.wait_until(predicate, deadline)
        except Exception as error:
            if not predicate() or is_interruption(error):
                raise
            if error is not self.shutdown.failure:  # which is raised as long as it is there
                self._postponed = error
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
            at_exit.prepare()
            self.shutdown.end_with_process()
            self._run(until, deadline)
            return True
        finally:
            try:
                self._ownership.release()
            except BaseException:  # of a signal handler, which may run before the function has begun
                self._ownership.release()
                raise

    def _run(self, until: Callable[[], bool], deadline: float | None) -> None:
        self._postponed = None
        try:
            self._prepare()
            stopped = self._run_loop(until, deadline)
        except Exception as error:
            if error is self._reporter.raised:
                self.shutdown.failure = error
                self.shutdown.end()
            else:
                self.check_process()
                if not is_interruption(error):
                    self._rest()
            raise
        except BaseException:
            if self._is_own_thread() and self._process == os.getpid():  # otherwise the next call goes on
                self._rest()
            raise
        self.check_process()  # a callback may have forked, and this may be the child
        if stopped:  # and if a signal handler has interrupted this before, too
            self.shutdown.end()

    def _prepare(self) -> None:
        """Make what the loop needs beside a connection, unless the listener was stopped just now."""
        if self.shutdown.has_ended:
            return
        self._runner.prepare_to_wait()
        if self._worker_count and self._delivery.workers is None:
            self._delivery.workers = Workers(
                self._worker_count,
                self._title,
                self._delivery.lock,
                self._serve_in_worker,
                self.overflows.announce_from_worker,
                self.end_by_worker,
            )
            self._delivery.workers.served = self._delivery.asked

    def _rest(self) -> None:
        """Release that after an error, unless there is a connection, with which the next run goes on."""
        if self._runner.is_connected:
            return
        self._runner.close()
        workers = self._delivery.workers
        if workers is not None and workers.end_if_idle():
            self._delivery.workers = None
        self._watch.connecting = False  # it would go on with an attempt that an interruption has cut short
        if not self._watch.ever_listened:
            self._reporter.enter(ListenerState.IDLE)

    def _run_loop(self, until: Callable[[], bool], deadline: float | None) -> bool:
        try:
            return self._runner.run(listener_loop(self._watch, self._policy, until, deadline), self._delivery)
        except Exception as error:
            final = self._watch.state is State.LOST and error is not self._reporter.raised
            if not final or is_interruption(error) or self._is_own_thread() or self.shutdown.deliver_rest():
                raise
            return True

    def _is_own_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def _serve(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self.shutdown.fail(error)
            if not self._has_never_worked():  # otherwise start() raises it
                self._reporter.ended_by(error)
                # After an error that is not the user's, workers deliver the rest.
                users = error is self._reporter.raised or not isinstance(error, Exception)
                self.shutdown.end(drain_workers=not users)
        self._ownership.notify()

    def no_loop_follows(self) -> bool:
        """Return whether the loop is over: the listener has ended, or after an error no thread reads."""
        failed = self.shutdown.failure is not None or self._postponed is not None
        return self.shutdown.has_ended or (failed and not self.is_read())

    # Requests to the reading thread, and the work of our other threads.

    @property
    def overflows(self) -> Overflows:
        """For a consumer that has reached an overflow. Made each time, so that the two do not refer to each other."""
        return Overflows(self, self._runner, self._delivery, self._ownership)

    def wake(self) -> None:
        """Have the reading thread and all waiting threads check for changes."""
        self._watch.interrupt()
        self._runner.wake()
        self._ownership.notify()

    def _serve_in_worker(
        self, subscription: Subscription, queue: deque[Plain], at_most: int, ends: Interruptible
    ) -> None:
        self._delivery.serve(subscription, queue, at_most, ends)
        self.check_process()  # the callback may have forked: in the child this thread ends here

    def end_by_worker(self, error: BaseException) -> None:
        """End the listener with an error that a worker has met. In a forked child, raise it."""
        if self._process != os.getpid():
            raise error
        self.shutdown.fail(error)
        self._reporter.ended_by(error)
        self.shutdown.request_stop()
        self._ownership.notify()

    # The end.

    def stop(self, timeout: float | None = 5.0, drain: bool = False) -> bool:
        """End the listener for good; see `Listener.stop`."""
        if self._process != os.getpid():
            return self._stop_in_child()
        deadline = None if timeout is None else time.monotonic() + timeout
        self.shutdown.request(drain, deadline)
        if self.shutdown.is_called_inside():
            return False
        if self.shutdown.cannot_wait():
            return self.shutdown.has_ended
        self.shutdown.wait(deadline, self.is_read)
        return self.shutdown.join(self._thread, deadline)

    def request_stop(self, deadline: float) -> None:
        """Ask it to end at the end of the process. If it has ended, do nothing."""
        self.shutdown.request(False, deadline)

    def is_waited_for_by(self, threads: Collection[int]) -> bool:
        """Have waiting threads check again at the end of the process; return whether one of these threads reads."""
        self._ownership.notify()
        return self._ownership.by_one_of(threads)

    def check_open(self) -> None:
        """Raise an error if the listener has ended.

        Raises:
            ListenerClosed: it was stopped; or this is a forked child; or it has ended with an error, which is the
                __cause__.
        """
        self.check_process()
        self.shutdown.refuse_use(self._title)

    def check_process(self) -> None:
        """Raise an error in a forked child; see `check_open`."""
        if self._process != os.getpid():
            raise _refusal_in_child(self._process)

    def is_abandoned(self) -> bool:
        """Return whether it still holds a connection, in this process."""
        return self._process == os.getpid() and self._watch.ever_listened and not self.shutdown.has_ended

    def is_read(self) -> bool:
        """Return whether a thread reads, or its own thread is about to."""
        return not self._ownership.by_nobody() or (self._thread is not None and self._thread.is_alive())

    # In a forked child.

    def forget_in_child(self) -> None:
        """Forget the connection and all other threads. Called in the child after a fork."""
        counters = self._reporter.counters
        self._runner.forget_in_child(partial(_refusal_in_child, self._process))
        self._ownership.forget_in_child()
        self._starting = threading.Lock()
        self._delivery.forget_in_child()
        self._reporter.log.forget_in_child()
        self._watch.forget_in_child()
        if counters.state not in (ListenerState.IDLE, ListenerState.LOST, ListenerState.CLOSED):
            self._is_unwarned = True
            counters.inherit(ListenerState.LOST)
            counters.failed(str(_refusal_in_child(self._process)))
        if self._is_unwarned:
            warn_aside(self._warn_in_child)

    def _warn_in_child(self) -> None:
        self._reporter.log.inherited(_refusal_in_child(self._process))
        self._is_unwarned = False

    def _stop_in_child(self) -> bool:
        """Return whether everything has ended here; in a callback that has forked, it ends with the callback."""
        if self.shutdown.is_called_inside():
            return False
        self._reporter.counters.inherit(ListenerState.CLOSED)
        return True


def _refusal_in_child(parent: int) -> ListenerClosed:
    return ListenerClosed(
        f"this listener belongs to process {parent}, from which {os.getpid()} was forked; make a new one in the child"
    )
