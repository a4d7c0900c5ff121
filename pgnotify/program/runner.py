"""The blocking runner: performs the actions of a program on a backend.

It is the only code that calls a backend on behalf of a front. It decides nothing.
"""

from __future__ import annotations

from contextlib import closing
from typing import Protocol, TypeVar

from pgnotify.program import actions as p
from pgnotify.protocol import Backend, health_of, listen_to_all, plain_fetch, unlisten_all
from pgnotify.waiting import Wakeup

T = TypeVar("T")

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
    """

    backend: Backend

    def __init__(self, backend: Backend | None = None) -> None:
        self.engaged = False
        self._wakeup: Wakeup | None = None
        if backend is not None:
            self.use(backend)

    def use(self, backend: Backend) -> None:
        """Run on this backend from now on."""
        self.backend = backend
        self._fetch = plain_fetch(backend)

    def run(self, program: p.Program[T], front: Front) -> T:
        """Run a program to its end and return its result.

        An error of the backend is raised inside the program, which may handle it. An error of the
        front is the user's: it is raised to the caller, and the program ends at that step.
        """
        outcome: object = None
        failure: BaseException | None = None
        before = self.engaged  # False in a front that runs another program during ours
        self.engaged = True
        try:
            with closing(program):
                while True:
                    try:
                        action = program.send(outcome) if failure is None else program.throw(failure)
                    except StopIteration as end:
                        result: T = end.value
                        return result
                    outcome = failure = None
                    if isinstance(action, _FOR_THE_FRONT):
                        outcome = self._tell(front, action)
                        continue
                    try:
                        outcome = self._call(action)
                    except BaseException as error:
                        failure = error
        finally:
            failure = None  # otherwise it would keep this frame, and so the front, alive in a cycle
            self.engaged = before

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
                return self._fetch()
            case p.Wait(timeout):
                self._wait(timeout)
            case p.Listen(channel):
                self.backend.listen(channel)
            case p.ListenMany(channels):
                listen_to_all(self.backend, channels)
            case p.Unlisten(channel):
                self.backend.unlisten(channel)
            case p.UnlistenMany(channels):
                unlisten_all(self.backend, channels)
            case p.Notify(channel, payload):
                self.backend.notify(channel, payload)
            case p.AskHealth():
                return health_of(self.backend)
            case p.Close():
                self.backend.close()
        return None

    def _wait(self, timeout: float | None) -> None:
        if self._wakeup is None:
            # An interruption before there was a wake-up woke nobody. So the first wait is a false
            # alarm: the program checks for interruptions once more, now that none can be missed.
            self._wakeup = Wakeup()
            return
        # Clear it before the wait: after the wait, this would delay a notification. The wake-up that is
        # cleared here may be newer than the program's last check, so the program checks once more.
        if self._wakeup.clear():
            return
        with self._wakeup.by_signals():
            self.backend.wait(timeout, self._wakeup.fileno())
