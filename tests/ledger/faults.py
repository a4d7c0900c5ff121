"""What strikes, and in which order.

Each fault is a generator: it strikes, yields the moment from which on a listener could be back, and undoes, when it is
resumed, what would be in the way of the next one.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tests.ledger.async_listeners import CTRL_C_ENDS_A_LOOP, AsyncParticipant
from tests.ledger.clock import STEP
from tests.ledger.outbox.async_listeners import StoringAsyncListener
from tests.ledger.outbox.participant import is_stored, may_end_a_loop
from tests.ledger.outbox.processes import ReaderProcess
from tests.ledger.participant import HEARTBEAT, QUEUE_SIZE

if TYPE_CHECKING:
    from tests.ledger.trial import Trial

HELD_UP_SECONDS = 0.7
"""How long an event loop is held up: longer than heartbeat and deadline together."""
STOPPED_SECONDS = 1.0
"""How long a process of the server stands still: longer than heartbeat and deadline together."""
SIGNALS = 12
"""How many times a signal handler raises."""
MEANWHILE = 10
"""How many notifications each channel gets at the moment of such a signal, and of the end of a loop."""
LONGEST_WAIT = 0.02
"""Seconds between that moment and the signal, at most; and from a loss until the clock is set again."""
SETTINGS = (-STEP, 0.0, STEP)
"""Of the wall clock, in seconds."""
HURRIED = 0.3
"""How often the next fault does not wait until all have recovered, where that is possible."""


class Fault(NamedTuple):
    """One fault of a plan."""

    kind: str
    pause: float
    """Seconds of quiet before it."""
    channels: tuple[str, ...]
    """Of which it takes the subscription, if it is of that kind."""
    hurried: bool
    """Whether the next one strikes at once."""


def plan(seed: int, kinds: Sequence[str], channels: Sequence[str], longest_pause: float) -> Iterator[Fault]:
    """Yield faults for ever: all kinds in a random order, and again; the same for the same arguments."""
    rng = random.Random(seed)
    while True:
        for kind in rng.sample(kinds, len(kinds)):
            taken = tuple(rng.sample(channels, rng.randint(1, len(channels))))
            yield Fault(kind, rng.uniform(0, longest_pause), taken, kind in CUTS and rng.random() < HURRIED)


def _terminate(trial: Trial, _: Fault) -> Iterator[float]:
    began = time.time()
    trial.control("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE " + trial.LISTENERS)
    yield began


def _fin(trial: Trial, _: Fault) -> Iterator[float]:
    began = time.time()
    trial.proxy.fin()
    yield began


def _reset(trial: Trial, _: Fault) -> Iterator[float]:
    began = time.time()
    trial.proxy.reset()
    yield began


def _black_hole(trial: Trial, _: Fault) -> Iterator[float]:
    began = time.time()
    trial.proxy.blackhole()
    yield began
    trial.proxy.thaw()


def _stop_process(trial: Trial, _: Fault) -> Iterator[float]:
    pids = [int(pid) for (pid,) in trial.control("SELECT pid FROM pg_stat_activity WHERE " + trial.LISTENERS)]
    began = time.time()
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        # Not until they are back: who was stopped may hold a lock that all others want.
        trial.pause(STOPPED_SECONDS)
    finally:
        for pid in pids:
            _continue(pid)
    yield began


def _continue(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return


def _restart_fast(trial: Trial, _: Fault) -> Iterator[float]:
    with trial.server_down():
        trial.server.stop("fast")
        trial.server.start()
    yield time.time()


def _restart_immediate(trial: Trial, _: Fault) -> Iterator[float]:
    with trial.server_down():
        trial.server.stop("immediate")
        trial.server.start()
    yield time.time()


def _kill(trial: Trial, _: Fault) -> Iterator[float]:
    with trial.server_down():
        trial.server.kill()
        trial.server.start()
    yield time.time()


def _lose_subscription(trial: Trial, fault: Fault) -> Iterator[float]:
    began = time.time()
    clear = [participant.lose_subscriptions(fault.channels) for participant in trial.participants]
    yield began
    for each in clear:
        each()


def _overflow(trial: Trial, _: Fault) -> Iterator[float]:
    with trial.users_slow():
        _fill_queues(trial)
    over = time.time()
    trial.pause(2 * HEARTBEAT)  # or the gap of the next fault reaches back to here, and the count proves little
    yield over


def _overflow_and_restart(trial: Trial, _: Fault) -> Iterator[float]:
    """Have the users come to the end of their queues, or to an overflow, while there is no connection."""
    with trial.users_slow():
        _fill_queues(trial)
        with trial.server_down():
            trial.server.stop("immediate")
    with trial.server_down():
        trial.until(lambda each: each.can_take_no_more, "has not come to an end of its queue", trial.queued)
        trial.server.start()
    yield time.time()


def _fill_queues(trial: Trial) -> None:
    dropped = {id(each): each.status().dropped for each in trial.queued}
    trial.sender.burst(2 * QUEUE_SIZE)
    trial.until(lambda each: each.status().dropped > dropped[id(each)], "has not overflowed", trial.queued)
    trial.until(lambda _: not trial.sender.is_bursting, "waits for a sender that does not end")


def _backlog(trial: Trial, _: Fault) -> Iterator[float]:
    """Have more wait than the users have room for."""
    with trial.users_slow():
        trial.sender.burst(2 * QUEUE_SIZE)
        trial.until(lambda _: not trial.sender.is_bursting, "waits for a sender that does not end")
    yield time.time()


def _backlog_and_restart(trial: Trial, _: Fault) -> Iterator[float]:
    """The same, and a crash of the server meanwhile."""
    with trial.users_slow():
        trial.sender.burst(2 * QUEUE_SIZE)
        trial.until(lambda _: not trial.sender.is_bursting, "waits for a sender that does not end")
        with trial.server_down():
            trial.server.kill()
            trial.server.start()
    yield time.time()


def _kill_readers(trial: Trial, fault: Fault) -> Iterator[float]:
    """Kill the processes that read, while messages arrive."""
    rng = random.Random(fault.pause)
    trial.sender.burst(QUEUE_SIZE)
    trial.until(lambda _: not trial.sender.is_bursting, "waits for a sender that does not end")
    trial.pause(rng.uniform(0, LONGEST_WAIT))
    began = time.time()
    for each in trial.processes:
        each.kill()
    yield began


def _interrupt(number: int, trial: Trial, fault: Fault) -> Iterator[float]:
    """Have a signal handler raise at random moments of the main thread, and cut the connections in between."""
    rng = random.Random(fault.pause)
    began = time.time()
    for place in range(SIGNALS):
        if place == SIGNALS // 2:
            began = time.time()
            trial.proxy.reset()
        trial.sender.burst(MEANWHILE)
        trial.pause(rng.uniform(0, LONGEST_WAIT))
        trial.interrupt(number)
    yield began


def _set_clock(trial: Trial, fault: Fault) -> Iterator[float]:
    """Set the clock before the connections are cut, and before they are back; it is set for the next faults, too."""
    rng = random.Random(fault.pause)
    for settings in (1, 2):
        trial.set_clock(rng.choice([each for each in SETTINGS if each != trial.clock.set_by]))
        began = time.time()
        if settings == 1:
            trial.proxy.reset()
            trial.pause(rng.uniform(0, LONGEST_WAIT))
    yield began


def _end_loops(trial: Trial, fault: Fault) -> Iterator[float]:
    """Have a new listener on a new event loop follow, while notifications arrive and wait for slow users."""
    rng = random.Random(fault.pause)
    with trial.users_slow():
        trial.sender.burst(MEANWHILE)
        trial.pause(rng.uniform(0, LONGEST_WAIT))
        began = time.time()
        for participant in trial.on_loops:
            if participant.may_lose_its_loop:
                participant.end_loop()
    yield began


def _hold_up_loops(trial: Trial, _: Fault) -> Iterator[float]:
    """Have a function on the event loop not return."""
    for participant in trial.on_loops:
        participant.hold_up(HELD_UP_SECONDS)
    trial.pause(HELD_UP_SECONDS)
    yield time.time()


FAULTS: dict[str, Callable[[Trial, Fault], Iterator[float]]] = {
    "terminate": _terminate,
    "fin": _fin,
    "reset": _reset,
    "black hole": _black_hole,
    "stopped process": _stop_process,
    "restart, fast": _restart_fast,
    "restart, immediate": _restart_immediate,
    "kill -9": _kill,
    "subscription lost": _lose_subscription,
    "overflow": _overflow,
    "overflow and restart": _overflow_and_restart,
    "backlog": _backlog,
    "backlog and kill -9": _backlog_and_restart,
    "reader killed": _kill_readers,
    "Ctrl-C": partial(_interrupt, signal.SIGINT),
    "time limit": partial(_interrupt, signal.SIGUSR1),
    "clock set": _set_clock,
    "loop ended": _end_loops,
    "loop held up": _hold_up_loops,
}
CUTS = ("terminate", "fin", "reset")
"""Those that end the connection, and leave a server that is up: what the time to recover is promised for.

Behind these another one may strike at once.
"""
OVERFLOWS = ("overflow", "overflow and restart")
"""Those that leave a gap of a full queue; the first one leaves no other."""
OF_LOOPS = ("loop ended", "loop held up")
"""Those that strike listeners on event loops only."""
OF_PROCESSES = ("reader killed",)
"""Those that strike listeners in processes of their own only."""
OF_STORED = ("backlog", "backlog and kill -9")
"""Those for listeners that read an outbox, which drop nothing."""
WITHOUT_GAP = ("overflow", "loop held up", "backlog")
"""Those after which no connection need be lost."""


def possible(kinds: Sequence[str], modes: Sequence[str]) -> list[str]:
    """Return those that can strike listeners in these modes, the first of which the main thread uses."""
    impossible: set[str] = set()
    impossible.update(OVERFLOWS if is_stored(modes[0]) else OF_STORED)
    if not any(mode in ReaderProcess.MODES for mode in modes):
        impossible.update(OF_PROCESSES)
    if not any(mode in (*AsyncParticipant.MODES, *StoringAsyncListener.MODES) for mode in modes):
        impossible.update(OF_LOOPS)
    if modes[0].startswith("async"):
        # An exception of a signal handler may be raised in any task, and in the event loop itself.
        impossible.update(
            ["time limit"] if CTRL_C_ENDS_A_LOOP and may_end_a_loop(modes[0]) else ["time limit", "Ctrl-C"]
        )
    return [kind for kind in kinds if kind not in impossible]
