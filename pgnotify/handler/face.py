"""The face of the documented handler, in blocking code and on an event loop: its arguments and its state.

Only this module and the two handlers translate the words of PyGreSQL's documentation (event, extra, arg_dict,
callback): an *event* is a channel, and *extra* is the payload.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

from pgnotify.errors import HandlerClosed, PgNotifyError, unexpected_for
from pgnotify.limits import check_channel, check_runs, check_timeout
from pgnotify.program import actions as p
from pgnotify.program import verbs
from pgnotify.program.forks import keep_for_ever
from pgnotify.program.state import State
from pgnotify.program.watch import Watch
from pgnotify.uncopyable import Uncopyable

_STOP_WAITS = (
    "%r: the stop on %r waits for the commit of the transaction that it was sent in; the loop goes on until then"
)
_NOTIFICATION_WAITS = "%r: the notification on %r waits for the commit of the transaction that it was sent in"


def default_stop_event(event: str) -> str:
    """Return the channel whose notification ends the loop of a handler, as it is documented. It may be too long."""
    return f"stop_{event}"


class HandlerFace(Uncopyable):
    """The arguments and the state of a handler. The subclasses run it.

    See `pgnotify.NotificationHandler` for the arguments and the errors.
    """

    _may_be_async: ClassVar[bool] = False
    """Whether the callback may be a coroutine function."""

    def __init__(
        self,
        db: Any,
        event: str,
        callback: Callable[[Any], object],
        arg_dict: dict[str, Any] | None = None,
        timeout: float | None = None,
        stop_event: str | None = None,
    ) -> None:
        self._event = check_channel(event, "event")
        # As documented, an empty stop_event means the default one, too.
        self._stop_event = check_channel(stop_event or default_stop_event(self._event), "stop_event")
        self.timeout = timeout
        self.callback = callback
        """Called with `arg_dict`, or with None after a time-out."""
        self.arg_dict: dict[str, Any] = {} if arg_dict is None else arg_dict
        """The dict that was passed, not a copy."""
        self._db: Any = db
        self._watch = Watch(self._event, self._stop_event)
        self._process = os.getpid()
        self._warned_of: set[str] = set()
        """The channels whose notification waited for a commit, as the log has said."""

    @property
    def db(self) -> Any:
        """The connection that was passed; None once the handler is closed."""
        return self._db

    @property
    def event(self) -> str:
        """The channel whose notifications go to the callback."""
        return self._event

    @property
    def stop_event(self) -> str:
        """The channel whose notification ends the loop."""
        return self._stop_event

    @property
    def timeout(self) -> float | None:
        """Seconds without a notification after which the loop ends; may be set at any time."""
        return self._timeout

    @timeout.setter
    def timeout(self, timeout: float | None) -> None:
        self._timeout = check_timeout(timeout)

    @property
    def listening(self) -> bool:
        """Whether both LISTENs are in force."""
        return self._watch.state is State.LISTENING

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "callback":  # not a property: that would cost each notification a call
            check_runs("callback", value, self._may_be_async, "pgnotify.AsyncNotificationHandler")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} event={self._event!r} {self._watch.state.value}>"

    # For the subclasses.

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise refusal_in_child(self._process)

    def _check_open(self) -> None:
        if self._db is None:
            raise HandlerClosed(f"the handler for {self._event!r} is closed")
        self._check_process()

    def _warn_if(self, waits: bool | None, stop: bool, on_own: bool) -> None:
        """Warn, once for each channel, of a notification that waits for a commit.

        Args:
            waits: whether it does; None if that is not known.
            stop: whether it is to end the loop.
            on_own: whether it was sent on the handler's own connection. On another one, a notification that is no stop
                may be part of the user's transaction on purpose.
        """
        channel = self._stop_event if stop else self._event
        if not waits or not (stop or on_own) or channel in self._warned_of:
            return
        import logging  # a third of the time to import pgnotify, and few handlers need it

        self._warned_of.add(channel)
        logging.getLogger("pgnotify.handler").warning(
            _STOP_WAITS if stop else _NOTIFICATION_WAITS,
            self,
            channel,
            extra={"listener": None, "channel": channel, "attempt": None, "gap": None},
        )

    def _closing(self) -> p.Program[None]:
        try:
            yield from verbs.close(self._watch)
        finally:
            if self._watch.state is State.CLOSED:  # otherwise an interruption has ended it
                self._forget()

    def _forget(self) -> None:
        """Have a running loop end, after the connection is closed or is no longer ours."""
        self._db = None
        self._watch.interrupt()

    def _forget_parents_connection(self, *kept: object) -> bool:
        """Make sure that nothing is sent on the parent's connection. Called in the child after a fork.

        A loop that runs there ends with its next step.

        Args:
            kept: what must not be deleted in the child.

        Returns:
            False if the handler was closed before.
        """
        if self._db is None:
            return False
        keep_for_ever(self._db, *kept)
        watch = self._watch
        # The LISTENs in force stay: if the handler is deleted without close(), that is to be warned of.
        watch.state = State.LOST
        watch.queue.clear()
        watch.commands.clear()
        watch.interrupt()
        return True

    def _unexpected(self, channel: str, backend: object) -> PgNotifyError:
        """Return the error for a notification of a third channel, which is one of the backend's driver, too."""
        error = unexpected_for(getattr(backend, "DatabaseError", PgNotifyError))
        return error(f'Listening for "{self._event}" and "{self._stop_event}", but notified of "{channel}"')


def refusal_in_child(parent: int) -> HandlerClosed:
    """Return the error of each call in a process that was forked from the handler's."""
    return HandlerClosed(
        f"this handler belongs to process {parent}, from which {os.getpid()} was forked; "
        "make a new connection and handler in the child"
    )
