"""How a Listener ends: stopped from any thread, drained if requested, or ended by an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pgnotify.errors import ListenerClosed
from pgnotify.listener import at_exit
from pgnotify.listener.channels import unlisten
from pgnotify.listener.delivery import Delivery
from pgnotify.listener.draining import deliver_queue, fetch_after_unlisten, fetch_arrived
from pgnotify.listener.log import is_writing_here
from pgnotify.listener.policy import Policy
from pgnotify.listener.runner import ReconnectingRunner
from pgnotify.listener.watch import DroppedGap
from pgnotify.program.interruption import is_interruption
from pgnotify.program.ownership import Ownership, seconds_until
from pgnotify.program.state import ListenerState, State

# How often a thread that waits for the reader to finish checks whether it has.
LOOK_EACH_SECONDS = 0.05


class Shutdown:
    """Ends one listener: in the thread that reads, or in the thread that stops it if none reads.

    Args:
        policy: the clock, and whether the listener opened the connection and so closes it.
        runner: performs the loop's actions.
        delivery: receives notifications and events, and knows the watch.
        ownership: which thread reads.
    """

    def __init__(self, policy: Policy, runner: ReconnectingRunner, delivery: Delivery, ownership: Ownership) -> None:
        self._policy = policy
        self._runner = runner
        self._delivery = delivery
        self._ownership = ownership
        self.failure: BaseException | None = None
        """The error that has ended the listener, if one has."""
        self._drain = False
        self._deadline: float | None = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether the listener has ended, for good."""
        return self._delivery.watch.state is State.CLOSED

    @property
    def is_over(self) -> bool:
        """Whether the listener was stopped, or has ended with an error."""
        return self.failure is not None or self.has_ended

    def fail(self, error: BaseException) -> None:
        """Record an error that ends the listener. Only the first one counts."""
        self.failure = self.failure or error

    def raise_failure(self) -> None:
        """Raise the error that has ended the listener, if one has."""
        if self.failure is not None:
            raise self.failure

    def refuse_use(self, title: str) -> None:
        """Raise a `ListenerClosed` if the listener has ended. The error that has ended it is the __cause__."""
        if self.failure is not None:
            what = f"{type(self.failure).__name__}: {self.failure}"
            raise ListenerClosed(f"the listener {title!r} has ended: {what}") from self.failure
        if self.has_ended:
            raise ListenerClosed(f"the listener {title!r} was stopped")

    def request(self, drain: bool, deadline: float | None) -> None:
        """Ask the reading thread to end; safe in a signal handler.

        Args:
            drain: whether to deliver everything that has arrived first.
            deadline: for that, of the monotonic clock; None for none.
        """
        if not self.has_ended:
            self._drain = self._drain or drain
            self._deadline = deadline
            self.request_stop()

    def request_stop(self) -> None:
        """End the loop, in whichever thread it runs; safe in a signal handler."""
        self._delivery.watch.request_stop()
        self._runner.wake()

    def keeps_process_alive(self) -> bool:
        """Return whether this thread must not wait for notifications, because the process waits for its end."""
        return not self._delivery.watch.stop_requested and at_exit.keeps_process_alive()

    def end_with_process(self) -> None:
        """Ask the reading thread to end if the process waits for this thread."""
        if self.keeps_process_alive():
            self.request(False, time.monotonic() + at_exit.PATIENCE_SECONDS)

    def is_called_inside(self) -> bool:
        """Return whether this thread reads or is a worker. If so, it is in a callback, and cannot wait for the end."""
        return self._ownership.by_this_thread() or self._is_worker()

    def cannot_wait(self) -> bool:
        """Return whether the reader could not end as long as this thread waits for it.

        So it is in a signal handler that runs while this thread holds a lock of ours or of the log. The event loop of
        green threads cannot wait either.
        """
        return self._ownership.cannot_wait() or self._delivery.holds_a_lock() or is_writing_here()

    def wait(self, deadline: float | None, is_read: Callable[[], bool]) -> None:
        """Wait for the reader to end. If no thread reads, end the listener here.

        A call of the reader that the server does not answer at once is aborted. If it were aborted earlier, the
        server would not be told of the end.
        """
        while not self.has_ended:
            if self._ownership.wait(lambda: self.has_ended or not is_read(), earlier(deadline, LOOK_EACH_SECONDS)):
                self._end_here()
                continue
            self._abort_unless_draining()
            if deadline is not None and time.monotonic() >= deadline:
                self._runner.abort_call(even_the_users=True)
                return

    def _end_here(self) -> None:
        """End the listener in this thread, unless another one has begun to read; that one will find the request."""
        try:
            if not self.has_ended and self._ownership.try_to_take():
                self.end()
        finally:
            try:
                self._ownership.release()
            except BaseException:  # of a signal handler, which may run before the function has begun
                self._ownership.release()
                raise

    def join(self, thread: threading.Thread | None, deadline: float | None) -> bool:
        """Wait for our threads, except this one; return whether all of them have ended."""
        workers = self._delivery.workers
        if not self.has_ended:
            return False
        self._delivery.reporter.enter(ListenerState.CLOSED)  # unless that is done: a signal handler may interrupt it
        if thread is not None and thread is not threading.current_thread():
            with suppress(RuntimeError):  # it was not started yet, and will find the listener closed
                thread.join(seconds_until(deadline))
            if thread.is_alive():
                return False
        return workers is None or workers.close(self._drain, deadline)

    def deliver_rest(self) -> bool:
        """Wait until the workers have delivered everything, however long that takes. The connection has ended for good.

        Returns:
            False if the listener was stopped before that.
        """
        return self._wait_for_workers(None, lambda: self._delivery.watch.stop_requested)

    def end(self, drain_workers: bool = False) -> None:
        """Deliver everything that has arrived, if requested; release the connection, and be closed.

        For the owner's thread. If a signal handler interrupts it, the request stays, and a further call goes on.

        Args:
            drain_workers: whether workers deliver the notifications in their queues, however long that takes.
        """
        if self.has_ended:
            return
        watch = self._delivery.watch
        watch.interrupted = False
        try:
            self._release_connection(drain_workers)
            self._be_closed(drain_workers)
        except BaseException:
            watch.interrupted = True  # a further run of the loop finds the request
            raise

    def _release_connection(self, drain_workers: bool) -> None:
        watch = self._delivery.watch
        try:
            if self._drain:
                self._deliver_all()
            if self._keeps_position:
                self._store_position(drain_workers)
            if not self._policy.can_reconnect and watch.in_force:
                self._runner.run(unlisten(watch, tuple(watch.in_force)), self._delivery)
        except Exception as error:
            if is_interruption(error):
                raise
            self.fail(error)

    def _be_closed(self, drain_workers: bool) -> None:
        watch = self._delivery.watch
        watch.queue.clear()
        self._runner.close()
        if not self._drain and self.failure is None:
            self._delivery.drop_waiting()
        self._delivery.reporter.enter(ListenerState.CLOSED)
        watch.closed()  # from now on, a further call does nothing
        self._ownership.notify()
        self._end_workers(drain_workers)

    def _end_workers(self, drain: bool) -> None:
        """End the threads that run callbacks; see `end`."""
        workers = self._delivery.workers
        if workers is not None:
            workers.close(drain or self._drain, None if drain else self._deadline)

    @property
    def _keeps_position(self) -> bool:
        """Whether the end has to store how far the consumers are."""
        watch = self._delivery.watch
        return watch.stored is not None and watch.stored.keeps_position and watch.state is State.LISTENING

    def _store_position(self, drain_workers: bool) -> None:
        """Store how far the consumers are, after the callbacks that are under way."""
        watch = self._delivery.watch
        self._end_workers(drain_workers)
        assert watch.stored is not None, "the caller has looked"
        self._runner.run(watch.stored.leave(watch), self._delivery)

    def announce(self, dropped: DroppedGap) -> None:
        """Tell the user of the gap of a full queue, unless another thread does. For any thread, if no loop will.

        The thread that removes it from the watch is the one that tells.
        """
        watch = self._delivery.watch
        try:
            watch.dropped_gaps.remove(dropped)
        except ValueError:
            return
        try:
            if not dropped.begun:  # otherwise on_listening has ended the loop with an error
                self._delivery.reporter.tell_of_overflow(dropped.gap, watch.link.backend if watch.is_settled else None)
        finally:
            dropped.told()

    def _deliver_all(self) -> None:
        """Deliver everything that has arrived, here and in workers, and announce the gaps of the queues."""
        watch, lost = self._delivery.watch, None
        self._delivery.drop_nothing()
        for what_arrived in (fetch_arrived, fetch_after_unlisten):
            try:
                if watch.state is State.LISTENING and self._has_time():
                    self._runner.run(what_arrived(watch, self._policy), self._delivery)
            except Exception as error:
                if error is self._delivery.reporter.raised or is_interruption(error):
                    raise
                lost = error
            self._runner.run(deliver_queue(watch, self._has_time), self._delivery)
            self._wait_for_workers(self._deadline, lambda: False)
            if lost is not None:
                break
        if lost is not None and not self._policy.can_reconnect:
            raise lost

    def _has_time(self) -> bool:
        return self._deadline is None or self._policy.clock() < self._deadline

    def _wait_for_workers(self, deadline: float | None, ends: Callable[[], bool]) -> bool:
        """Wait until the workers have delivered everything, and announce the gaps that they reach.

        Args:
            deadline: of the monotonic clock; None for none.
            ends: ends the wait if it returns True.

        Returns:
            Whether they have.
        """
        watch, workers = self._delivery.watch, self._delivery.workers
        while True:
            while watch.dropped_gaps:
                self.announce(watch.dropped_gaps[0])
            if workers is None or workers.wait_idle(
                earlier(deadline, LOOK_EACH_SECONDS), unless=lambda: watch.dropped_gaps
            ):
                return True
            if ends() or (deadline is not None and time.monotonic() >= deadline):
                return False

    def _abort_unless_draining(self) -> None:
        # Draining still needs the connection, to announce gaps; and so does a position that has to be stored.
        if not (self._drain or self._keeps_position):
            self._runner.abort_call()

    def _is_worker(self) -> bool:
        return self._delivery.workers is not None and self._delivery.workers.include_this_thread


def earlier(deadline: float | None, seconds: float) -> float:
    """Return the moment this many seconds from now, or the deadline if that is earlier."""
    moment = time.monotonic() + seconds
    return moment if deadline is None else min(deadline, moment)
