"""Expect notifications in a test: a collector that listens in a thread of its own.

It decides which notifications are expected, and what a failed expectation says. It does not decide
where the connection comes from. It does not need pytest.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError  # another class before Python 3.11
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

from pgnotify.limits import check_channel, check_runs, check_text, plain
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.program.commands import answering, carry_out
from pgnotify.program.runner import BlockingRunner
from pgnotify.program.watch import Watch
from pgnotify.registry import backend_for
from pgnotify.uncopyable import Uncopyable

Payload: TypeAlias = "str | re.Pattern[str] | Callable[[str], object] | None"
"""Which payloads fit: this one, those in which the pattern is found, those for which the function is true, or any."""

_PATIENCE_SECONDS = 10.0  # for an answer of the server; reached only if something is stuck
_SHOWN_NOTIFICATIONS = 20
_SHOWN_CHARACTERS = 60  # of a payload


class Notifications(Uncopyable):
    """Collects the notifications that arrive on a connection, and compares them with those that a test expects.

    Use it as a context manager. The connection belongs to the collector until `close` closes it; only
    the collector's own thread uses it.

    Args:
        connection: a connection of any supported driver, a `pgnotify.Connection` or a backend, not in a transaction.

    Raises:
        UnknownBackend: no backend fits the connection.
    """

    def __init__(self, connection: Any) -> None:
        self._backend = backend_for(connection)
        self._runner = BlockingRunner(self._backend)
        self._watch = Watch()
        self._changed = threading.Condition()
        """Guards everything below, and tells of each change."""
        self._listening: set[str] = set()
        self._arrived: list[Notification] = []
        self._expected: set[int] = set()
        """The indices in `_arrived` that an `expect` has returned already."""
        self._fence = f"pgnotify_fence_{uuid.uuid4().hex}"
        self._fence_numbers = itertools.count(1)
        self._last_fence_back = 0
        self._asked: list[Future[None]] = []
        """Of programs that were asked for, done or not."""
        self._end: str | None = None
        """Why nothing can arrive any more."""
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        """Reads, and runs the programs that the test's thread asks for; started with the first of them."""

    def listen(self, *channels: str) -> None:
        """Listen to channels, with names taken as written; in force on return.

        Raises:
            ChannelError: PostgreSQL would refuse or cut a name.
            TransactionError, ConnectionLost: as for `pgnotify.Connection.listen`.
            AssertionError: the connection was already lost, or does not answer.
        """
        __tracebackhide__ = True
        names = tuple(check_channel(channel) for channel in channels)
        self._have_done(self._listen_to(names))

    def expect(self, channel: str, payload: Payload = None, *, within: float = 1.0) -> Notification:
        """Return the first notification that fits, as soon as it has arrived; each is returned once.

        Args:
            channel: a channel that the collector listens to.
            payload: the payload; or a compiled regular expression, which is searched for in it; or a
                function, which is called with it and returns whether it fits; None means any.
            within: how many seconds to wait.

        Raises:
            AssertionError: none has arrived in time; or none can, as the collector does not listen to the
                channel or the connection is lost. The message shows the notifications that have arrived.
        """
        __tracebackhide__ = True
        wanted = _wanted(channel, payload)
        with self._changed:
            self._refuse_deaf(wanted.channel)
            found = self._search(wanted, within)
            if found is None:
                raise self._missing(wanted, within)
            self._expected.add(found)
            return self._arrived[found]

    def expect_none(self, channel: str | None = None, payload: Payload = None, *, within: float = 0.0) -> None:
        """Return if no further notification fits; those that `expect` has returned do not count.

        Every notification that was committed before the call is seen, without waiting for time to pass:
        the collector sends one of its own, which arrives after them.

        Args:
            channel: a channel that the collector listens to; None means all of these.
            payload: as for `expect`.
            within: for how many seconds to watch for notifications that are sent later.

        Raises:
            AssertionError: one has arrived; or none could, as the collector does not listen to the channel
                or the connection is lost.
            ConnectionLost: the connection is lost during the call.
        """
        __tracebackhide__ = True
        wanted = _wanted(channel, payload)
        with self._changed:
            self._refuse_deaf(wanted.channel)
        self._wait_for_all_that_was_sent()
        with self._changed:
            if self._search(wanted, within) is not None:
                raise self._failed(f"a notification on {wanted} arrived")
            if self._end is not None:
                raise self._ended()

    @property
    def received(self) -> list[Notification]:
        """All notifications that have arrived so far, in order, expected or not."""
        with self._changed:
            return list(self._arrived)

    def close(self) -> None:
        """End the thread and close the connection; may be called twice.

        Raises:
            RuntimeError: the thread is stuck in a call of the driver; the connection stays open.
        """
        self._watch.request_stop()
        self._runner.wake()
        with self._changed:
            thread = self._thread
            if thread is None:
                self._end = "the collector was closed"
        if thread is not None:
            thread.join(_PATIENCE_SECONDS)
            if thread.is_alive():
                raise RuntimeError(
                    f"the collector's connection was left open: it has been stuck in a call for {_PATIENCE_SECONDS:g} s"
                )
        self._runner.close()
        self._backend.close()

    def __enter__(self) -> Notifications:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        with self._changed:
            return f"<{type(self).__name__} on {sorted(self._listening)}: {len(self._arrived)} received>"

    # In the test's thread.

    def _have_done(self, command: p.Program[None]) -> None:
        """Have the collector's thread run a program, and wait until it is done."""
        __tracebackhide__ = True
        done: Future[None] = Future()
        with self._changed:
            if self._end is not None:
                raise self._ended()
            self._asked.append(done)
            self._watch.request(answering(command, done))
            if self._thread is None:
                # Not before: an error of the connection is raised by the first call, not kept until then.
                self._thread = threading.Thread(target=self._collect, name="pgnotify collector", daemon=True)
                self._thread.start()
        self._runner.wake()
        try:
            done.result(_PATIENCE_SECONDS)
        except FutureTimeoutError:
            raise AssertionError(f"the collector's connection did not answer within {_PATIENCE_SECONDS:g} s") from None

    def _wait_for_all_that_was_sent(self) -> None:
        __tracebackhide__ = True
        number = next(self._fence_numbers)
        self._have_done(self._send_fence(number))
        with self._changed:
            if not self._changed.wait_for(lambda: self._last_fence_back >= number or self._end, _PATIENCE_SECONDS):
                raise AssertionError(
                    f"the collector did not receive its own notification within {_PATIENCE_SECONDS:g} s"
                )

    def _search(self, wanted: _Wanted, within: float) -> int | None:
        """Return the index of the first notification that fits; None if time is up or nothing more can arrive."""
        deadline = time.monotonic() + within
        looked_at = 0
        while True:
            for index in range(looked_at, len(self._arrived)):
                if index not in self._expected and wanted.fits(self._arrived[index]):
                    return index
            looked_at = len(self._arrived)
            seconds_left = deadline - time.monotonic()
            if self._end is not None or seconds_left <= 0:
                return None
            self._changed.wait(seconds_left)

    def _refuse_deaf(self, channel: str | None) -> None:
        __tracebackhide__ = True
        if channel is None and not self._listening:
            raise AssertionError(
                "not listening to any channel: call notifications.listen(…) before the code that sends"
            )
        if channel is not None and channel not in self._listening:
            raise AssertionError(
                f"not listening to {channel!r}: call notifications.listen({channel!r}) before the code that sends to it"
            )

    def _missing(self, wanted: _Wanted, within: float) -> AssertionError:
        when = f"within {within:g} s" if self._end is None else f"before {self._end}"
        return self._failed(f"no notification on {wanted} arrived {when}")

    def _ended(self) -> AssertionError:
        return self._failed(f"nothing more can arrive after {self._end}")

    def _failed(self, what: str) -> AssertionError:
        error = AssertionError(f"{what}{self._shown()}")
        error.__cause__ = self._failure
        return error

    def _shown(self) -> str:
        """Return the end of a message: the notifications that have arrived."""
        if not self._arrived:
            return "; nothing was received"
        lines = [f"\n  {self._line(index)}" for index in range(len(self._arrived))]
        if len(lines) > _SHOWN_NOTIFICATIONS:
            half = _SHOWN_NOTIFICATIONS // 2
            lines[half:-half] = [f"\n  … {len(lines) - 2 * half} more …"]
        return f"; received:{''.join(lines)}"

    def _line(self, index: int) -> str:
        channel, payload, _ = self._arrived[index]
        if len(payload) > _SHOWN_CHARACTERS:
            payload = payload[: _SHOWN_CHARACTERS - 1] + "…"
        return f"{channel!r}: {payload!r}{' (expected before)' if index in self._expected else ''}"

    # In the collector's own thread, which is the only one that uses the connection.

    def _collect(self) -> None:
        try:
            self._runner.run(_collecting(self._watch), self)
        except BaseException as error:
            self._has_ended(_described(error), error)
        else:
            self._has_ended("the collector was closed", None)

    def deliver(self, at_most: int) -> None:
        """Keep notifications for the test; called by the runner, in the collector's thread."""
        plains = [self._watch.queue.popleft() for _ in range(at_most)]
        fences = [int(payload) for channel, payload, _ in plains if channel == self._fence]
        with self._changed:
            self._arrived += [Notification(*plain) for plain in plains if plain[0] != self._fence]
            self._last_fence_back = max([self._last_fence_back, *fences])
            self._changed.notify_all()

    def tell(self, action: object) -> None:
        """Do nothing: the collector's program reports no events."""

    def _listen_to(self, channels: tuple[str, ...]) -> p.Program[None]:
        for channel in channels:
            yield p.Listen(channel)
            with self._changed:
                self._listening.add(channel)

    def _send_fence(self, number: int) -> p.Program[None]:
        yield p.Listen(self._fence)
        yield p.Notify(self._fence, str(number))

    def _has_ended(self, why: str, failure: BaseException | None) -> None:
        with self._changed:
            self._end, self._failure = why, failure
            for done in self._asked:
                if not done.done():
                    done.set_exception(self._ended())
            self._asked.clear()
            self._changed.notify_all()


def _collecting(watch: Watch) -> p.Program[None]:
    """Deliver everything that arrives, and run the programs that are asked for, until the stop."""
    while not (watch.interrupted and (yield from carry_out(watch))):
        if watch.queue:
            yield p.Deliver(len(watch.queue))
            continue
        yield watch.fetch
        if not watch.queue:
            yield p.WAIT_FOR_EVER


class _Wanted(NamedTuple):
    channel: str | None
    payload: Payload

    def fits(self, notification: Notification) -> bool:
        if self.channel not in (None, notification.channel):
            return False
        if self.payload is None or isinstance(self.payload, str):
            return self.payload in (None, notification.payload)
        if isinstance(self.payload, re.Pattern):
            return self.payload.search(notification.payload) is not None
        return bool(self.payload(notification.payload))

    def __str__(self) -> str:
        channel = "any channel" if self.channel is None else repr(self.channel)
        if self.payload is None:
            return channel
        if isinstance(self.payload, re.Pattern):
            return f"{channel} with a payload that matches {self.payload.pattern!r}"
        if isinstance(self.payload, str):
            return f"{channel} with payload {self.payload!r}"
        return f"{channel} with a payload that {getattr(self.payload, '__name__', self.payload)} accepts"


def _wanted(channel: str | None, payload: Payload) -> _Wanted:
    if isinstance(payload, str):
        payload = plain(payload)
    elif callable(payload):
        check_runs("payload", payload)
    elif payload is not None and not isinstance(payload, re.Pattern):
        raise TypeError(f"payload must be a str, a compiled pattern, a function or None, not {type(payload).__name__}")
    return _Wanted(check_text("channel", channel), payload)


def _described(error: BaseException) -> str:
    cause = f", from {_described(error.__cause__)}" if error.__cause__ else ""
    return f"{type(error).__name__}: {error}{cause}"
