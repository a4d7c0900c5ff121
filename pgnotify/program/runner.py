"""The blocking runner: performs the actions of a program on a backend.

It is the only code that calls a backend on behalf of a front. It decides nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import closing
from types import FrameType
from typing import Protocol, TypeVar

from pgnotify.notification import Plain
from pgnotify.program import actions as p
from pgnotify.program import ctrl_c
from pgnotify.protocol import (
    Backend,
    HasDescriptor,
    health_of,
    in_transaction,
    listen_to_some,
    name_session,
    plain_fetch,
    query,
    unlisten_some,
)
from pgnotify.waiting import Wakeup, runs_signal_handlers, wait_readable

T = TypeVar("T")

_READERS = ("socket", "ssl")

_FOR_THE_FRONT = (p.Deliver, p.ReportTimeout, p.Tell)


class Front(Protocol):
    """Receives notifications and events. It knows the user's callbacks."""

    def deliver(self, at_most: int) -> object:
        """Deliver up to ``at_most`` notifications from the head of the queue; return the outcome of `Deliver`."""

    def tell(self, action: p.ReportTimeout | p.Tell) -> object:
        """Report a time-out or an event; return the outcome of the action."""


class BlockingRunner:
    """Runs programs on one backend, in whichever thread calls `run`.

    Attributes:
        backend: the backend that programs run on.
        engaged: whether the program or the backend is running: True except while the front is called.
            A signal handler that finds it True has interrupted the program or the driver, and must
            call neither.
        held_back: set by a Ctrl-C that was held back. It is raised in the program, in place of its next action.
    """

    backend: Backend

    def __init__(self, backend: Backend | None = None) -> None:
        self.engaged = False
        self.held_back = False
        self._wakeup: Wakeup | None = None
        if backend is not None:
            self.use(backend)

    def use(self, backend: Backend) -> None:
        """Run on this backend from now on."""
        self.backend = backend
        self._fetch = plain_fetch(backend)
        self._fetch_into: Callable[[deque[Plain]], None] | None = getattr(backend, "fetch_into", None)

    def run(self, program: p.Program[T], front: Front) -> T:
        """Run a program to its end and return its result.

        An error of the backend is raised inside the program, which may handle it. An error of the
        front is the user's: it is raised to the caller, and the program ends at that step.
        """
        before = self.engaged  # False in a front that runs another program during ours
        may_hold_back = runs_signal_handlers()
        outer = ctrl_c.running
        self.engaged = True
        try:
            if may_hold_back:
                ctrl_c.hold_back(self)
            with closing(program):
                return self._run(program, front)
        finally:
            # An exception of a signal handler may come between any two of these calls, and inside them.
            self.engaged = before
            if may_hold_back:
                ctrl_c.running = outer
                if outer is None:
                    try:
                        ctrl_c.release()
                    except BaseException:
                        ctrl_c.release()
                        raise
            if self.held_back:  # by a Ctrl-C after the last action
                self.held_back = False
                raise KeyboardInterrupt

    def _run(self, program: p.Program[T], front: Front) -> T:
        outcome: object = None
        failure: BaseException | None = None
        try:
            while True:
                try:
                    if failure is None:
                        action = program.send(outcome)
                    else:
                        action = program.throw(failure)
                        failure = None
                except StopIteration as end:
                    result: T = end.value
                    return result
                if self.held_back:
                    self.held_back = False
                    failure = KeyboardInterrupt()
                    continue
                if isinstance(action, _FOR_THE_FRONT):
                    outcome = self._tell(front, action)
                    continue
                try:
                    outcome = self._call(action)
                except BaseException as error:
                    failure = error
        finally:
            failure = None  # otherwise it would keep this frame, and so the front, alive in a cycle

    def is_blocked(self, frame: FrameType | None, seconds: float) -> bool:
        """Return whether a call that `wake` does not end waits for the server, for this long. For a signal handler.

        Args:
            frame: the function that is interrupted.
            seconds: how long to wait for an answer.
        """
        action = _action_in(frame)
        if action is None or isinstance(action, (p.Wait, p.Connect)):
            return False
        # A fetch does not wait, except for the rest of a message, where a driver reads from the socket in Python.
        if isinstance(action, p.Fetch) and (frame is None or frame.f_globals.get("__name__") not in _READERS):
            return False
        if not isinstance(self.backend, HasDescriptor):
            return True  # perhaps
        try:
            return not wait_readable(self.backend.fileno(), seconds)
        except Exception:  # the connection is lost, or closed
            return False

    def wake(self) -> None:
        """End the current wait. Safe in any thread and in a signal handler."""
        if self._wakeup is not None:
            self._wakeup.wake()

    def close(self) -> None:
        """Release the descriptors of the wake-up. A second call does nothing."""
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            wakeup.close()

    def _tell(self, front: Front, action: p.Deliver | p.ReportTimeout | p.Tell) -> object:
        self.engaged = False
        try:
            if isinstance(action, p.Deliver):
                return front.deliver(action.at_most)
            return front.tell(action)
        finally:
            self.engaged = True

    def _call(self, action: p.Call) -> object:
        match action:
            case p.Fetch():
                if self._fetch_into is not None:
                    self._fetch_into(action.queue)
                else:
                    action.queue.extend(self._fetch())
            case p.Wait(timeout):
                self._wait(timeout)
            case p.Listen(channel):
                self.backend.listen(channel)
            case p.ListenMany(channels):
                return listen_to_some(self.backend, channels)
            case p.Unlisten(channel):
                self.backend.unlisten(channel)
            case p.UnlistenMany(channels):
                return unlisten_some(self.backend, channels)
            case p.Notify(channel, payload):
                self.backend.notify(channel, payload)
                return in_transaction(self.backend)
            case p.AskHealth():
                return health_of(self.backend)
            case p.NameSession(name):
                name_session(self.backend, name)
            case p.Query(sql, parameters, prepare):
                return query(self.backend, sql, parameters, prepare)
            case p.Close():
                self.backend.close()
        return None

    def _wait(self, timeout: float | None) -> None:
        wakeup = self._wakeup
        if wakeup is None:
            # An interruption before there was a wake-up woke nobody. So the first wait is a false
            # alarm: the program checks for interruptions once more, now that none can be missed.
            self._wakeup = Wakeup()
        # Clear it before the wait: after the wait, this would delay a notification. The wake-up that is
        # cleared here may be newer than the program's last check, so the program checks once more.
        elif not wakeup.clear():
            wakeup.wait(self.backend.wait, timeout)


def _action_in(frame: FrameType | None) -> object:
    """Return the action that the innermost runner performs on its backend; None between two of them."""
    while frame is not None:
        if frame.f_code is BlockingRunner._call.__code__:
            return frame.f_locals["action"]
        frame = frame.f_back
    return None
