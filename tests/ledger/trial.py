"""One run: a server, a proxy, a sender, listeners, and faults until the time is over."""

from __future__ import annotations

import importlib.util
import math
import random
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from pgnotify.registry import ASYNC_DRIVERS, DRIVERS
from pgnotify.testing import TemporaryPostgreSQL
from pgnotify.testing._proxy import Proxy
from pgnotify.testing._wire import Session
from pgnotify.testing.address import Address
from tests.kinds import KINDS, NATIVE
from tests.ledger.async_listeners import AsyncParticipant
from tests.ledger.books import Book, Strike
from tests.ledger.clock import WallClock
from tests.ledger.faults import FAULTS, OF_LOOPS, OF_PROCESSES, OVERFLOWS, WITHOUT_GAP, Fault
from tests.ledger.hints import judge_hints
from tests.ledger.judge import LOOK_BACK_SECONDS, Verdict, judge, together
from tests.ledger.listeners import BlockingParticipant
from tests.ledger.outbox import effects
from tests.ledger.outbox.async_listeners import StoringAsyncListener
from tests.ledger.outbox.judge import judge_stored
from tests.ledger.outbox.listeners import StoringListener
from tests.ledger.outbox.participant import OUTBOX, Storing, is_durable, is_stored
from tests.ledger.outbox.processes import ReaderProcess
from tests.ledger.outbox.sender import OutboxSender
from tests.ledger.outbox.sessions import Notifying, NotifyingAsync, SendingSession
from tests.ledger.participant import Participant, Setting, TimeLimit
from tests.ledger.sender import Sender

MODES = (*BlockingParticipant.MODES, *AsyncParticipant.MODES)
"""How a listener is used."""
STORED_MODES = (*StoringListener.MODES, *StoringAsyncListener.MODES, *ReaderProcess.MODES)
"""The same, of those with an outbox. A trial has only these, or none of them."""
_CLASSES = (BlockingParticipant, AsyncParticipant, StoringListener, StoringAsyncListener, ReaderProcess)
CHANNELS = ("jobs", "Orders of today", "Ü\"it's %s :x $1 ?\\", "日" * 21)

PATIENCE_SECONDS = 20.0
SWALLOW_NOTHING = ("psycopg", "pg8000", "pygresql")
"""Drivers that swallow no exception of a signal handler along with a notification, as psycopg2 does."""
SWALLOWED_SECONDS = 1.0
"""After which an exception of a signal handler counts as swallowed."""
_LOOK_SECONDS = 0.005
_LAST_TRIES = 5

INSTALLED_ASYNC = [name for name, driver in ASYNC_DRIVERS.items() if importlib.util.find_spec(driver.module)]
"""The asynchronous drivers that are installed."""
OF_DBAPI = {kind.driver: kind for kind in KINDS if kind.name in ("psycopg", "psycopg2", "pg8000.dbapi", "pgdb")}
"""The kinds of connection that users' own statements have, by their drivers."""
FUNCTIONS = {kind.name: kind for kind in KINDS if kind.name not in DRIVERS}
"""Kinds of connection that a function connects."""


class NotBack(Exception):
    """A listener has not recovered from a fault, or the trial itself is out of order."""


@dataclass(frozen=True)
class Outcome:
    """What came of a trial."""

    verdicts: dict[str, Verdict]
    """By the modes of the listeners."""
    reconnects: dict[str, int]
    """How many times each has come back."""
    strikes: tuple[Strike, ...]
    struck: int
    """How many exceptions of signal handlers were caught in the main thread."""
    swallowed: int
    """How many more were raised, and came out nowhere."""
    errors: tuple[str, ...]
    """What was raised where nothing should be, or why the trial was given up."""

    @property
    def holds(self) -> bool:
        """Whether all is accounted for."""
        return not self.errors and all(verdict.holds for verdict in self.verdicts.values())


class Trial:
    """Listeners in some modes on one kind of connection, and all that happens to them.

    Args:
        server: one of its own, running.
        modes: of the listeners; all are there at once. The main thread uses the first one, so that signals strike it.
        driver: one of the registry's `DRIVERS`, which connect from a connection string, or of `FUNCTIONS`; or of its
            `ASYNC_DRIVERS`, if all listeners are on event loops.
        seed: the same seed has the same faults in the same order.
        loop: the event loops of those that need one; one of `LOOPS`.
    """

    LISTENERS = "application_name <> 'wire' AND backend_type = 'client backend'"
    """Which of the server's sessions are listeners', in SQL."""

    def __init__(
        self, server: TemporaryPostgreSQL, modes: Sequence[str], driver: str, seed: int, loop: str = "asyncio"
    ) -> None:
        self.server = server
        self.proxy = Proxy(server.host, server.port)
        self.clock = WallClock()
        self.is_stored = is_stored(modes[0])
        """Whether all listeners have an outbox."""
        self.sender: Sender | OutboxSender
        if self.is_stored:
            self.sender = OutboxSender(server.address, CHANNELS, random.Random(seed), _senders(driver, server.address))
        else:
            self.sender = Sender(server.address, CHANNELS, random.Random(seed), self.clock)
        self._never = threading.Event()
        self._strikes: list[Strike] = []
        self._ended_at = math.inf
        to = server.address._replace(host=self.proxy.host, port=self.proxy.port)
        by_name = driver in (*DRIVERS, *ASYNC_DRIVERS)
        source = to.dsn if by_name else lambda: FUNCTIONS[driver].connect(to)
        setting = Setting(
            source, driver if by_name else None, CHANNELS, self.clock, *connectors(driver, server.address), loop
        )
        self.participants: list[Participant] = [
            _class_of(mode)(mode, setting, in_main=mode == modes[0]) for mode in modes
        ]
        self.on_loops = [each for each in self.participants if isinstance(each, AsyncParticipant)]
        self.processes = [each for each in self.participants if isinstance(each, ReaderProcess)]
        self._swallows_notifications = driver not in SWALLOW_NOTHING
        self._handled = 0
        self.swallowed = 0
        """How many exceptions of signal handlers never came out of the driver, or of Python."""
        self.queued = [each for each in self.participants if each.has_a_queue]

    def run(self, faults: Iterator[Fault], seconds: float) -> Outcome:
        """Have the faults strike until that time has passed, or there are no more, and judge. For the main thread."""
        errors: list[str] = []
        with ExitStack() as stack:
            if self.is_stored:
                self.control(f"{OUTBOX.install_sql()}; {effects.TABLE}")
            stack.enter_context(self.clock.read_by_listeners())
            stack.enter_context(self.proxy)
            stack.enter_context(self._time_limits())
            for participant in self.participants:
                stack.enter_context(participant)
            course = threading.Thread(target=self._course, args=(faults, seconds, errors), name="ledger", daemon=True)
            course.start()
            self.participants[0].use()
            course.join()
            reconnects = {each.mode: each.reconnects for each in self.participants}
        errors += [f"{each.mode}: {error!r}" for each in self.participants for error in each.errors]
        if self.sender.error is not None:
            errors.append(f"the sender: {self.sender.error!r}")
        verdicts = {each.mode: self._judge(each) for each in self.participants}
        struck = self.participants[0].struck
        return Outcome(verdicts, reconnects, tuple(self._strikes), struck, self.swallowed, tuple(errors))

    def _judge(self, participant: Participant) -> Verdict:
        sent, strikes, ended_at = self.sender.sent, self._strikes, self._ended_at
        if isinstance(self.sender, OutboxSender) and isinstance(participant, Storing):
            of, in_one_order = self.sender.session_of, participant.has_one_order
            return together(
                judge_stored(book.due(sent), of, book, strikes, in_one_order)
                for book in self._stored_books(participant)
            )
        if participant.mode == participant.HINTS:
            return judge_hints(sent, participant.books[0].entries)
        return together(
            judge(book.due(sent), book.entries, strikes, ended_at, participant.lost_in_driver)
            for book in participant.judged
        )

    def _stored_books(self, participant: Participant) -> Sequence[Book]:
        """Return those of a listener; of one whose consumer takes batches, what that has done."""
        if not participant.way.endswith("batches"):
            return participant.judged
        with Session(*self.server.address) as session:
            return [effects.book_of(participant.mode, CHANNELS, session)]

    def _course(self, faults: Iterator[Fault], seconds: float, errors: list[str]) -> None:
        deadline = time.monotonic() + seconds
        try:
            self.until(lambda each: each.listens, "does not listen")
            with self.sender:
                for fault in faults:
                    if time.monotonic() >= deadline:
                        break
                    self.pause(fault.pause)
                    self._strike(fault)
                self._finish()
        except NotBack as error:
            errors.append(str(error))
        except BaseException as error:
            errors.append(f"the course of faults: {error!r}")
        finally:
            if not self.participants[0].stop():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # so that use() returns

    @contextmanager
    def _time_limits(self) -> Iterator[None]:
        def handle(*_: object) -> None:
            self._handled += 1
            raise TimeLimit

        before = signal.signal(signal.SIGUSR1, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGUSR1, before)

    # For the faults.

    def control(self, statement: str) -> list[tuple[str | None, ...]]:
        """Run a statement in a session that goes past the proxy."""
        with Session(*self.server.address) as session:
            return session.sql(statement)

    def pause(self, seconds: float) -> None:
        """Let the listeners listen."""
        self._never.wait(seconds)

    def until(
        self,
        predicate: Callable[[Participant], object],
        otherwise: str,
        of: Sequence[Participant] | None = None,
        seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Return as soon as that is true for each listener.

        Raises:
            NotBack: it is not, for one of them.
        """
        deadline = time.monotonic() + seconds
        for participant in self.participants if of is None else of:
            while not predicate(participant):
                if time.monotonic() > deadline or self.sender.error is not None:
                    raise NotBack(f"{participant.mode} {otherwise} within {seconds:.0f} s: {participant.status()}")
                self.pause(_LOOK_SECONDS)

    def set_clock(self, set_by: float) -> None:
        """Set the wall clock, and return when each listener has read it; see `WallClock.set`."""
        self.clock.set(set_by)
        self.until(lambda each: each.setting_read == set_by, "has not read the clock")

    def interrupt(self, number: int) -> None:
        """Send a signal to the main thread, and return when its exception was caught there, or swallowed.

        A driver in C may swallow what is raised inside it, and Python what is raised in a finalizer. Ctrl-C is never
        raised there.
        """
        main = self.participants[0]
        self.until(lambda each: each.may_be_struck, "is not in its loop", [main])
        struck, handled, began = main.struck, self._handled, time.time()
        signal.pthread_kill(threading.main_thread().ident or 0, number)
        if number == signal.SIGINT:
            self.until(lambda each: each.struck > struck, "has not raised KeyboardInterrupt", [main])
            return
        self.until(lambda _: self._handled > handled, "has not run its signal handler", [main])
        try:
            self.until(lambda each: each.struck > struck, "has not raised", [main], SWALLOWED_SECONDS)
        except NotBack:
            self.swallowed += 1
            if self._swallows_notifications:
                main.lost_in_driver.append(began + LOOK_BACK_SECONDS / 2)

    @contextmanager
    def server_down(self) -> Iterator[None]:
        """Have the sender wait, rather than connect to what is not there."""
        self.sender.server_is_up.clear()
        yield
        if self.server.running:
            self.sender.server_is_up.set()

    @contextmanager
    def users_slow(self) -> Iterator[None]:
        """Have whoever receives notifications do nothing meanwhile."""
        for each in self.participants:
            each.may_go_on.clear()
        try:
            yield
        finally:
            for each in self.participants:
                each.may_go_on.set()

    # The course of things.

    def _strike(self, fault: Fault) -> None:
        marks = {id(each): each.marks() for each in self.participants}
        began = time.time()
        with closing(FAULTS[fault.kind](self, fault)) as strike:
            over = next(strike)
            self._strikes.append(Strike(fault.kind, began, over))
            if fault.hurried:
                next(strike, None)
                return
            if fault.kind in OVERFLOWS:
                self.until(lambda each: each.has_gap_since(marks[id(each)], True), "has not overflowed", self.queued)
            if fault.kind not in WITHOUT_GAP:
                struck = [each for each in self.participants if is_struck(each, fault.kind)]
                self.until(lambda each: each.has_gap_since(marks[id(each)]), f"has no gap from {fault.kind}", struck)
            self._await_deliveries(f"has received nothing after {fault.kind}")
            next(strike, None)

    def _await_deliveries(self, otherwise: str) -> None:
        number = self.sender.latest
        self.until(lambda each: each.has_received_beyond(number), otherwise)

    def _finish(self) -> None:
        """Have each listener receive something on each channel, behind which nothing can be missing."""
        self._ended_at = time.time()
        self.sender.stop()
        self.until(lambda each: not each.status().queued, "does not come to the end of its queue")
        for _ in range(_LAST_TRIES):
            last = self.sender.latest
            self.sender.send_one_each()
            latest = self.sender.latest
            try:
                self.until(lambda each: each.is_up_to_date(last, latest), "is not up to date", seconds=2.0)  # noqa: B023
            except NotBack:  # it may have lost its connection just then
                continue
            return
        raise NotBack("not all listeners are up to date at the end")


def connectors(
    driver: str, address: Address
) -> tuple[Callable[[], Any], Callable[[], Coroutine[Any, Any, Any]] | None]:
    """Return what opens connections of the DB-API, in no autocommit mode, and a driver's asynchronous ones, if any."""
    native = next((kind for kind in NATIVE if kind.name == driver), None)
    kind = OF_DBAPI.get(driver, OF_DBAPI["psycopg"])
    return partial(kind.connect, address), native and partial(native.connect, address)


def _senders(driver: str, address: Address) -> list[Callable[[], SendingSession]]:
    """Return what makes the sessions that send with a driver."""
    connect, connect_async = connectors(driver, address)
    return [partial(Notifying, connect) if connect_async is None else partial(NotifyingAsync, connect_async)]


def is_async(mode: str) -> bool:
    """Return whether it is a way to use a listener on an event loop."""
    return mode.startswith("async")


def _class_of(mode: str) -> type[Participant]:
    return next(each for each in _CLASSES if mode in each.MODES)


def is_struck(participant: Participant, kind: str) -> bool:
    """Return whether a fault of a kind has each of its users lose the connection."""
    if kind == "subscription lost":
        # The next stream may listen again before that is noticed, and a name with an outbox has the channels it has.
        return participant.way != participant.VISITS and not (
            is_stored(participant.mode) and is_durable(participant.mode)
        )
    if kind in OF_PROCESSES:
        return isinstance(participant, ReaderProcess)
    return kind not in OF_LOOPS or participant.may_lose_its_loop
