"""The documented handler: PyGreSQL's NotificationHandler, on any driver.

`pgnotify.handler.loop` decides the order of events. This module makes sure that only one thread at a time touches the
connection.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import repeat, starmap
from types import TracebackType
from typing import Any, TypeVar

from pgnotify.errors import ConnectionLost
from pgnotify.handler.face import HandlerFace, refusal_in_child
from pgnotify.handler.loop import Stray, handler_loop
from pgnotify.limits import check_payload
from pgnotify.program import actions as p
from pgnotify.program import verbs
from pgnotify.program.commands import answering, carry_out
from pgnotify.program.forks import Parents, forget_after_fork
from pgnotify.program.ownership import Answer, Ownership
from pgnotify.program.runner import BlockingRunner
from pgnotify.program.watch import Watch
from pgnotify.protocol import Backend, in_transaction
from pgnotify.registry import backend_for
from pgnotify.sending import sent

# How often a call that waits for the loop checks whether the loop has ended without an answer.
LOOK_EACH_SECONDS = 0.05

T = TypeVar("T")


class NotificationHandler(HandlerFace):
    """Listens for one event, and calls a callback for each notification.

    Its methods, defaults and edge cases are those of PyGreSQL's class of the same name. The manual
    lists each difference in "The documented handler".

    Args:
        db: a connection of any supported driver, or a `pgnotify.Connection`.
        event: the channel to listen to, as written, at most 63 bytes.
        callback: called with ``arg_dict`` for each notification, and with None after a time-out.
        arg_dict: passed to the callback, with ``"pid"`` (int), ``"event"`` (str) and ``"extra"``
            (the payload, str) put in. It is the same dict each time: copy it to keep it.
        timeout: seconds without a notification after which the loop ends. None waits for ever; 0
            delivers the notifications that have arrived, and returns.
        stop_event: the channel whose notification ends the loop; ``"stop_" + event`` if None or
            empty.

    Raises:
        ChannelError: PostgreSQL would refuse or cut one of the two names.
        ValueError: the timeout is negative or not a number.
        TypeError: a name is not a str, the timeout is neither a number nor None, or the callback is an async function
            or a generator function, whose call runs nothing.
        UnknownBackend: no backend fits ``db``.

    One thread at a time runs the handler. `stop`, `close`, `unlisten` and `notify` may be called
    from any thread and from signal handlers. While the loop runs in another thread, they wake it,
    and it does the work in its own thread.
    """

    def __init__(
        self,
        db: Any,
        event: str,
        callback: Callable[[Any], object],
        arg_dict: dict[str, Any] | None = None,
        timeout: float | None = None,
        stop_event: str | None = None,
    ) -> None:
        super().__init__(db, event, callback, arg_dict, timeout, stop_event)
        self._backend = backend_for(db)
        self._runner = BlockingRunner(self._backend)
        self._ownership = Ownership()
        forget_after_fork(self)

    def __call__(self) -> None:
        """Listen if necessary, and loop until a stop notification, `stop`, or the time-out.

        Returns at once if the handler is closed. An exception of the callback is raised to the
        caller. In that case the handler is still listening, and the next call first delivers the
        remaining notifications.

        Raises:
            UnexpectedNotification: a notification came from a third channel; both channels are
                unlistened.
            TransactionError: the connection is inside a transaction, where nothing can arrive.
            ConnectionLost: the server is gone; every notification that had arrived was delivered.
            HandlerClosed: the handler belongs to the process that this one was forked from.
            RuntimeError: the loop is already running in another thread.
        """
        if self._db is None:
            return
        self._check_process()
        if self._runner.engaged and self._ownership.by_this_thread():  # in a signal handler
            raise RuntimeError(f"this handler is already running, in thread {threading.get_ident()}")
        nested = self._ownership.by_this_thread()  # called by this thread's own callback
        try:
            self._ownership.take_for_a_loop("this handler")
            self._run(handler_loop(self._watch, self, time.monotonic))
            if self._db is not None:
                self._check_process()  # a callback may have forked, and this may be the child
        except Stray as stray:
            raise self._unexpected(stray.notification.channel, self._backend) from None
        except ConnectionLost:
            self._runner.close()  # nothing will be waited for any more
            raise
        finally:
            if nested:
                self._watch.interrupted = True  # the delivery that called it must check for changes
            else:
                try:
                    self._release()
                except BaseException:  # of a signal handler, or of a request
                    self._release()
                    raise

    def listen(self) -> None:
        """Listen to both channels. Does nothing if the handler is already listening.

        Raises:
            TransactionError: the connection is inside a transaction of the user's.
            ConnectionLost: the server is gone.
            HandlerClosed: the handler is closed, or belongs to the process that this one was forked
                from.
        """
        if not self.listening:
            self._check_open()
            self._do(lambda: verbs.listen(self._watch))

    def unlisten(self) -> None:
        """Stop listening to both channels. Does nothing if the handler is not listening.

        A running loop ends. Notifications that have arrived by then are delivered by the next call
        of the handler.

        Raises:
            TransactionError: the connection is inside a transaction of the user's.
            ConnectionLost: the server is gone.
            HandlerClosed: the handler belongs to the process that this one was forked from.
        """
        if self._watch.in_force:
            self._check_process()
            self._do(lambda: verbs.unlisten(self._watch))

    def notify(self, db: Any = None, stop: bool = False, payload: str | None = None) -> None:
        """Send a notification on the event, or on the stop event.

        Args:
            db: any supported connection to send through; None for the handler's own.
            stop: send on the stop event, which ends the loop.
            payload: at most 7,999 bytes; None is the same as ``""``, as it is for PostgreSQL.

        Inside a transaction, it is sent when the transaction commits. Until then the loop does not end of a ``stop``.
        The logger ``pgnotify.handler`` warns of that once, and once of a notification that the handler's own connection
        holds back, on which it cannot listen by then.

        Raises:
            PayloadError: PostgreSQL would refuse or cut the payload.
            UnknownBackend: no backend fits ``db``.
            ConnectionLost: the server is gone.
            HandlerClosed: the handler is closed, or belongs to the process that this one was forked
                from, and no ``db`` was passed.
        """
        channel = self._stop_event if stop else self._event
        text = check_payload("" if payload is None else payload)
        used = self._db if db is None else db
        backend = self._backend if db is None else backend_for(db)
        if self._is_own(backend):
            self._check_open()
            waits = self._do(lambda: verbs.notify(self._watch, channel, text), repeatable=False)
            self._warn_if(waits, stop, on_own=True)
        else:
            backend.notify(channel, text)
            self._warn_if(in_transaction(backend), stop, on_own=False)
        sent(used, ((channel, text),))

    def stop(self) -> None:
        """End the loop: it unlistens and returns, without another call of the callback.

        This does not wait and takes no lock, so it is safe in any thread and in a signal handler.
        If the loop is not running, the next call of the handler ends at once.
        """
        self._watch.request_stop()
        self._runner.wake()

    def close(self) -> None:
        """Unlisten and close the connection; `db` becomes None. A second call does nothing.

        If the loop runs in another thread, this waits until the loop has ended and has closed the
        connection. In a signal handler it does not wait. In a forked child it only forgets the
        connection.
        """
        if self._db is None:
            return
        if self._process != os.getpid():
            self._watch.closed()
            self._forget()
        else:
            self._do(self._closing)

    def __enter__(self) -> NotificationHandler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        """Unlisten if that is safe; otherwise send nothing, and warn with a ResourceWarning."""
        # There is no runner if __init__ raised. When the interpreter ends, the connection ends too; at the end of a
        # frozen application, names such as `sys` may be gone before this object is.
        runner = getattr(self, "_runner", None)
        if runner is None or is_finalizing():
            return
        if self._watch.in_force:
            self._unlisten_on_deletion()
        runner.close()

    # One thread at a time.

    def _do(self, make: Callable[[], p.Program[T]], repeatable: bool = True) -> T | None:
        """Run a program here if this thread may touch the connection; otherwise have the loop run it.

        Args:
            make: makes the program.
            repeatable: whether running it twice has the same effect as running it once.

        Returns:
            The program's result, or None if the loop will only run it later.
        """
        if not self._ownership.by_this_thread():
            try:
                if self._ownership.try_to_take():
                    return self._run(make())
            finally:
                try:
                    self._release()
                except BaseException:  # of a signal handler, or of a request
                    self._release()
                    raise
            return self._ask(make, repeatable)
        if self._runner.engaged or self._driver_is_busy():
            # In a signal handler, while the loop or the driver works: the loop runs the program next.
            self._request(make())
            return None
        self._watch.interrupt()  # the delivery that called us must check for changes
        return self._run(make())

    def _run(self, program: p.Program[T]) -> T:
        return self._runner.run(program, _HandlerFront(self, self._watch))

    def _ask(self, make: Callable[[], p.Program[T]], repeatable: bool) -> T | None:
        if self._ownership.cannot_wait():
            self._request(make())
            return None
        answer: Answer[T] = Answer()
        command = answering(make(), answer)
        if not self._ownership.ask_owner(lambda: self._request(command)):
            return self._do(make, repeatable)  # the loop has ended by now, so this thread may use the connection
        while not answer.done():
            answer.wait(LOOK_EACH_SECONDS)
            if self._ownership.by_nobody():
                self._carry_out_requests()
            if command not in self._watch.commands and not answer.done():
                # A signal handler has interrupted it. Perhaps the loop runs again, and will not answer.
                if repeatable:
                    return self._do(make)
                raise RuntimeError(
                    "the loop was interrupted by a signal handler during this call; it may have had its effect"
                )
        return answer.result()

    def _carry_out_requests(self) -> None:
        """Carry out the requests to a loop that a signal handler has ended, unless another loop has begun."""
        try:
            self._ownership.try_to_take()
        finally:
            try:
                self._release()
            except BaseException:  # of a signal handler, or of a request
                self._release()
                raise

    def _request(self, command: p.Program[Any]) -> None:
        self._watch.request(command)
        self._runner.wake()

    def _release(self) -> None:
        """Carry out the last requests of other threads, then release the connection to them."""
        try:
            while not self._ownership.release(unless=self._watch.commands.__len__):
                self._run(carry_out(self._watch))
        except BaseException:  # of a signal handler, or of one of the requests; the others remain
            self._release()
            raise

    def _is_own(self, backend: Backend) -> bool:
        """Return whether a backend uses this handler's connection, which the loop may be using in another thread."""
        own = getattr(self._backend, "connection", None)
        return backend is self._backend or (own is not None and getattr(backend, "connection", None) is own)

    def _driver_is_busy(self) -> bool:
        return bool(getattr(self._backend, "busy", False))

    def forget_in_child(self) -> None:
        """Forget the connection. Called in the child after a fork; a loop that runs there ends with its next step."""
        if self._forget_parents_connection(self._backend):
            self._ownership.forget_in_child()
            self._runner.close()
            self._runner.use(Parents(partial(refusal_in_child, self._process)))

    def _forget(self) -> None:
        super()._forget()
        self._runner.close()

    def _unlisten_on_deletion(self) -> None:
        reason = self._why_not_unlisten()
        if reason is None:
            try:
                self._run(verbs.unlisten(self._watch))
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            warnings.warn(f"{self!r} was deleted while listening: {reason}", ResourceWarning, source=self, stacklevel=3)

    def _why_not_unlisten(self) -> str | None:
        if self._process != os.getpid():
            return "its connection belongs to the parent process"
        if not self._ownership.was_last_here():
            return "its connection was last used in another thread"
        if self._driver_is_busy():
            return "its connection is busy with a call"
        return None


class _HandlerFront:
    """Calls the callback, with the keys of the documentation. Every notification passes through here.

    It is made for each run of a program, and not kept: a handler must be deleted as soon as its user
    drops it.
    """

    def __init__(self, handler: NotificationHandler, watch: Watch) -> None:
        self._handler = handler
        self._watch = watch

    def deliver(self, at_most: int) -> None:
        """Call the callback for up to ``at_most`` notifications from the head of the queue."""
        handler, watch = self._handler, self._watch
        # Each is taken from the queue just before it is delivered, without executing a bytecode for that.
        for channel, payload, pid in starmap(watch.queue.popleft, repeat((), at_most)):
            arg_dict = handler.arg_dict
            arg_dict["pid"] = pid
            arg_dict["event"] = channel
            arg_dict["extra"] = payload
            handler.callback(arg_dict)
            if watch.interrupted:  # also by the callback itself, which may have emptied the queue
                return

    def tell(self, action: object) -> None:
        """Call the callback with None: the only event of this loop is a time-out."""
        self._handler.callback(None)
