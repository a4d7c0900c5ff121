"""The measuring process: it measures one way, once.

    python -m benchmarks.child MEASURE WAY COUNT [COUNT]

The address of the server is in its environment, as JSON: everybody can read a command line. It says
"ready" when the LISTENs are in force, starts with the next line that it is sent, and prints its figures
as JSON. The parent sends, so the cost of sending is not counted here.
"""

from __future__ import annotations

import cProfile
import io
import json
import os
import pstats
import queue
import resource
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pgnotify
from benchmarks.ways import WAYS, Loop, Way, event_loops
from pgnotify.testing._wire import Session
from pgnotify.testing.address import Address
from tests.kinds import KINDS

CHANNEL, STOP = "bench", "stop_bench"
ADDRESS_VARIABLE = "PGNOTIFY_BENCH_ADDRESS"
WARM_UP = 100  # round trips and notifies that are not counted
MANY = 1_000  # notifications in a notify_many

Figures = dict[str, Any]
Call = Callable[[Loop, Callable[[Any], None]], object]


def drains(way: Way, address: Address, times: int) -> Figures:
    """Drain this many times, each time on a new connection; see `drained`."""
    return {"drains": [drained(way, address, number) for number in range(times)]}


def drained(way: Way, address: Address, number: int, call: Call = lambda loop, callback: loop(callback)) -> Figures:
    """Deliver a backlog that is there when the loop begins."""
    assert way.prepare is not None
    # Channels of its own: the earlier connections are still listening to theirs.
    loop = way.prepare(address, [f"{CHANNEL}{number}"], f"{STOP}{number}")
    received = 0

    def callback(arg_dict: Any) -> None:
        nonlocal received
        received += 1

    ready()
    memory = memory_mb("VmRSS")
    started, cpu = time.perf_counter(), time.process_time()
    call(loop, callback)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = memory_mb("VmHWM")
    return {
        "seconds": seconds,
        "cpu": cpu,
        "received": received - 1,  # the stop notification
        "mb": None if memory is None or peak is None else peak - memory,
    }


def profile(way: Way, address: Address) -> Figures:
    """Do the same under the standard library's profiler, which takes several times as long."""
    profiler = cProfile.Profile()
    figures = drained(way, address, 0, profiler.runcall)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(16)
    return {"drains": [figures], "profile": text.getvalue()}


def arriving(way: Way, address: Address, count: int) -> Figures:
    """Deliver notifications that are sent during the loop, on ``count`` channels; timed from the first to the last."""
    assert way.prepare is not None
    loop = way.prepare(address, [f"c{number}" for number in range(count)], STOP)
    received = 0
    first = last = (0.0, 0.0)

    def callback(arg_dict: Any) -> None:
        nonlocal received, first, last
        if arg_dict["event"] == STOP:
            last = time.perf_counter(), time.process_time()
            return
        if not received:
            first = time.perf_counter(), time.process_time()
        received += 1

    ready()
    loop(callback)
    return {"seconds": last[0] - first[0], "cpu": last[1] - first[1], "received": received}


def latency(way: Way, address: Address, count: int) -> Figures:
    """Send the next notification when the last one has been called back, from the same thread.

    The clock stops between the callback and the sending, while the answer to the last NOTIFY is read.
    """
    loop = _listening(way, address)
    ready()
    with Session(*address) as session:
        pings = _Pings(session, count + WARM_UP)
        pings.send()
        loop(pings)
    return {"microseconds": pings.microseconds[WARM_UP:]}


def latency_on_uvloop(way: Way, address: Address, count: int) -> Figures:
    """Do the same on a loop of uvloop."""
    event_loops.use("uvloop")
    return latency(way, address, count)


class _Pings:
    """A callback that sends the next notification, and at the end the one on the stop channel."""

    def __init__(self, session: Session, count: int) -> None:
        self._session = session
        self._left = count
        self._sent = 0
        self.microseconds: list[float] = []

    def send(self) -> None:
        channel = CHANNEL if self._left else STOP
        statement = f"NOTIFY \"{channel}\", '{self._left}'".encode() + b"\0"
        message = b"Q" + struct.pack("!i", len(statement) + 4) + statement
        self._left -= 1
        self._sent = time.perf_counter_ns()
        self._session._socket.sendall(message)

    def __call__(self, arg_dict: Any) -> None:
        received = time.perf_counter_ns()
        self._session._rows_until_ready()
        if arg_dict["event"] == CHANNEL:
            self.microseconds.append((received - self._sent) / 1000)
            self.send()


def idle(way: Way, address: Address) -> Figures:
    """Wait for nothing; the parent watches from outside, and ends it."""
    loop = _listening(way, address)
    ready()
    loop(lambda _: None)
    raise AssertionError("nothing was to arrive")


def idle_handlers(way: Way, address: Address, count: int) -> Figures:
    """Wait for nothing with this many handlers on one event loop."""
    _allow_descriptors()
    import asyncio

    from benchmarks.ways import ours_async

    (kind,) = (kind for kind in ours_async.KINDS if kind.name == way.connection)

    async def wait() -> None:
        made = [
            pgnotify.AsyncNotificationHandler(await ours_async.opened(kind, address), f"c{number}", print)
            for number in range(count)
        ]
        for each in made:
            await each.listen()
        ready()
        await asyncio.gather(*(each() for each in made))

    event_loops.new().run_until_complete(wait())
    raise AssertionError("nothing was to arrive")


def fan_out(way: Way, address: Address, consumers: int, notifications: int, at_once: int) -> Figures:
    """Deliver each notification to this many consumers; send ``at_once`` of them when all have got those before.

    They are sent from the same thread, in one transaction, as in `latency`. The first ones are the warm-up.
    """
    assert way.prepare is not None
    loop = way.prepare(address, [CHANNEL] * consumers, STOP)
    left = notifications // at_once + 1
    missing = 0
    started = (0.0, 0.0)
    ended = (0.0, 0.0)

    def send() -> None:
        nonlocal left, missing, started, ended
        if left * at_once == notifications:
            started = time.perf_counter(), time.process_time()
        if left:
            missing = consumers * at_once
            session.notify_all(CHANNEL, [f"payload{left:05} {number}" for number in range(at_once)])
        else:
            ended = time.perf_counter(), time.process_time()
            session.notify(STOP)
        left -= 1

    def callback(_: Any) -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            send()

    ready()
    with Session(*address) as session:
        send()
        loop(callback)
    return {"seconds": ended[0] - started[0], "cpu": ended[1] - started[1]}


def consumers(way: Way, address: Address, count: int) -> Figures:
    """Have this many consumers wait."""
    assert way.prepare is not None
    way.prepare(address, [CHANNEL], STOP)  # imports what is needed, which is not counted
    memory = memory_mb("VmRSS")
    way.prepare(address, [CHANNEL] * count, STOP)
    grown = memory_mb("VmRSS")
    ready()
    return {"mb": None if memory is None or grown is None else grown - memory}


def publish(way: Way, address: Address, count: int) -> Figures:
    """Send one by one, each in a transaction of its own, and then by the thousand."""
    (kind,) = (kind for kind in KINDS if kind.name == way.connection)
    db = kind.connect(address)
    if hasattr(db, "autocommit"):
        db.autocommit = True
    ready()
    if way.group != "ours":
        return {"one_us": _each_us(_statement(way, db), count)}
    connection = pgnotify.wrap(db)
    one = _each_us(lambda number: connection.notify(CHANNEL, str(number)), count)
    many = _each_us(lambda number: connection.notify_many((CHANNEL, f"{number} {i}") for i in range(MANY)), 20)
    return {"one_us": one, "many_us": many / MANY}


def _statement(way: Way, db: Any) -> Callable[[int], object]:
    """Return the call that users write by hand, with the driver's parameters."""
    if way.connection == "pg":
        return lambda number: db.query("SELECT pg_catalog.pg_notify($1, $2)", (CHANNEL, str(number)))
    if way.driver == "pg8000":
        return lambda number: db.run("SELECT pg_catalog.pg_notify(:c, :p)", c=CHANNEL, p=str(number))
    cursor = db.cursor()
    return lambda number: cursor.execute("SELECT pg_catalog.pg_notify(%s, %s)", (CHANNEL, str(number)))


def _each_us(send: Callable[[int], object], count: int) -> float:
    for number in range(min(count, WARM_UP)):
        send(-number)
    started = time.perf_counter()
    for number in range(count):
        send(number)
    return (time.perf_counter() - started) / count * 1e6


def handlers(way: Way, address: Address, count: int, notifications: int) -> Figures:
    """Run ``count`` handlers, each with its own connection, channel and thread, until everything is received."""
    _allow_descriptors()
    assert way.prepare is not None
    loops = [way.prepare(address, ["first"], STOP)]  # imports the driver, which is not counted
    memory = memory_mb("VmRSS")
    loops = [way.prepare(address, [f"c{number}"], STOP) for number in range(count)]
    received: queue.SimpleQueue[None] = queue.SimpleQueue()

    def callback(arg_dict: Any) -> None:
        received.put(None)

    for loop in loops:
        threading.Thread(target=loop, args=(callback,), daemon=True).start()
    grown = memory_mb("VmRSS")
    ready()
    cpu = time.process_time()
    for _ in range(notifications):
        received.get()
    return {
        "cpu": time.process_time() - cpu,
        "received": notifications,
        "mb": None if memory is None or grown is None else grown - memory,
    }


def _listening(way: Way, address: Address) -> Loop:
    assert way.prepare is not None
    return way.prepare(address, [CHANNEL], STOP)


def _allow_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def ready() -> None:
    """Tell the parent, and wait for its signal."""
    print("ready", flush=True)
    sys.stdin.readline()


def memory_mb(field: str) -> float | None:
    """Return a figure of this process's memory in MB, None where there is no /proc.

    Not getrusage(): its peak is inherited from the parent, through fork and exec.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


MEASURES: dict[str, Callable[..., Figures]] = {
    measure.__name__: measure
    for measure in (
        drains,
        profile,
        arriving,
        latency,
        latency_on_uvloop,
        idle,
        idle_handlers,
        fan_out,
        consumers,
        publish,
        handlers,
    )
}


def main() -> None:
    """Do as the arguments say."""
    measure, name, *counts = sys.argv[1:]
    address = Address(*json.loads(os.environ[ADDRESS_VARIABLE]))
    (way,) = (way for way in WAYS if way.name == name)
    figures = MEASURES[measure](way, address, *map(int, counts))
    print(json.dumps(figures), flush=True)
    os._exit(0)  # otherwise a thousand handlers would all unlisten first


if __name__ == "__main__":
    main()
