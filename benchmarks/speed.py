"""What the handler costs on each installed driver, beside the alternatives.

    python benchmarks/speed.py [--notifications 100000] [--rounds 5] [--pending 1000000] [--idle 10]

Each way runs in a process of its own, and the ways take turns, round by round. What is shown:

ours/s      notifications per second, from the first look at the socket to the stop notification; all
            sent in one transaction by another session; the callback counts. Median of the rounds.
own way     our speed to that of the driver's documented way: psycopg's notifies(), the recipe of
            psycopg2's documentation, PyGreSQL's NotificationHandler, pg8000 with a query per wake-up.
best loop   our speed to that of the best loop that is known for the driver, which knows none of the
            edges. All ways call the same callback with the same dict.
CPU us      microseconds of this process per notification, ours.
MB          peak of the process above its start with a million notifications pending, ours.
wakes       how often the waiting thread was woken in the idle seconds, ours.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pgnotify
from pgnotify.testing._wire import Session
from tests import kinds
from tests.kinds import Address

CHANNEL, STOP = "bench", "stop_bench"
PAYLOADS = "'payload' || lpad(i::text, 7, '0')"  # 14 bytes each, all different


# The alternatives. Each calls callback(arg_dict) as the documented handler does.


def psycopg_own_way(db: Any, callback: Callable[[Any], None]) -> None:
    """Run psycopg's notifies(), which waits by itself."""
    arg_dict: dict[str, Any] = {}
    for notify in db.notifies():
        arg_dict.update(pid=notify.pid, event=notify.channel, extra=notify.payload)
        callback(arg_dict)
        if notify.channel == STOP:
            return


def psycopg_best_loop(db: Any, callback: Callable[[Any], None]) -> None:
    """Read below psycopg, where nothing is decoded twice and no lock is taken for each."""
    import select

    arg_dict: dict[str, Any] = {}
    pgconn = db.pgconn
    while True:
        pgconn.consume_input()
        seen = False
        while notify := pgconn.notifies():
            seen = True
            arg_dict["pid"] = notify.be_pid
            arg_dict["event"] = channel = notify.relname.decode()
            arg_dict["extra"] = notify.extra.decode()
            callback(arg_dict)
            if channel == STOP:
                return
        if not seen:
            select.select([db], [], [])


def psycopg2_own_way(db: Any, callback: Callable[[Any], None]) -> None:
    """Run the recipe of psycopg2's documentation: select, poll, and one after the other from the list."""
    import select

    arg_dict: dict[str, Any] = {}
    while True:
        select.select([db], [], [])
        db.poll()
        while db.notifies:
            notify = db.notifies.pop(0)
            arg_dict.update(pid=notify.pid, event=notify.channel, extra=notify.payload)
            callback(arg_dict)
            if notify.channel == STOP:
                return


def psycopg2_best_loop(db: Any, callback: Callable[[Any], None]) -> None:
    """Poll before waiting, and take the list whole."""
    import select

    arg_dict: dict[str, Any] = {}
    while True:
        db.poll()
        batch, db.notifies = db.notifies, []
        for notify in batch:
            arg_dict["pid"] = notify.pid
            arg_dict["event"] = notify.channel
            arg_dict["extra"] = notify.payload
            callback(arg_dict)
            if notify.channel == STOP:
                return
        if not batch:
            select.select([db], [], [])


def pygresql_own_way(db: Any, callback: Callable[[Any], None]) -> None:
    """Run PyGreSQL's own handler: select, and getnotify until there is no more."""
    import pg

    handler = pg.NotificationHandler(getattr(db, "_cnx", db), CHANNEL, callback)
    handler.listening = True  # as it is; listen() would read the backlog to where its select() does not see it
    handler()


def pygresql_best_loop(db: Any, callback: Callable[[Any], None]) -> None:
    """Run the same without a look at the state between two notifications."""
    import select

    arg_dict: dict[str, Any] = {}
    cnx = getattr(db, "_cnx", db)
    while True:
        while notify := cnx.getnotify():
            arg_dict["event"], arg_dict["pid"], arg_dict["extra"] = notify
            callback(arg_dict)
            if notify[0] == STOP:
                return
        select.select([cnx.fileno()], [], [])


def pg8000_own_way(db: Any, callback: Callable[[Any], None]) -> None:
    """Send a query for each wake-up, with a deque that keeps more than the last hundred."""
    import select
    from collections import deque

    arg_dict: dict[str, Any] = {}
    waiting: deque[Any] = deque(db.notifications)
    db.notifications = waiting
    while True:
        db.run("SELECT 1")
        while waiting:
            pid, channel, payload = waiting.popleft()
            arg_dict.update(pid=pid, event=channel, extra=payload)
            callback(arg_dict)
            if channel == STOP:
                return
        select.select([db._usock], [], [], 0.01)


ALTERNATIVES = {
    "psycopg": {"own way": psycopg_own_way, "best loop": psycopg_best_loop},
    "psycopg2": {"own way": psycopg2_own_way, "best loop": psycopg2_best_loop},
    "pg": {"own way": pygresql_own_way, "best loop": pygresql_best_loop},
    "pgdb": {"own way": pygresql_own_way, "best loop": pygresql_best_loop},
    "pg8000.native": {"own way": pg8000_own_way},
}


# What a process of its own measures.


def drain(kind: str, way: str, address: Address, count: int) -> dict[str, float]:
    """Deliver ``count`` notifications; return the seconds, the CPU seconds, and the growth in MB."""
    db = _connect(kind, address)
    received = 0

    def callback(arg_dict: Any) -> None:
        nonlocal received
        received += 1

    loop = _prepared(kind, way, db, callback)
    with Session(address.host, address.port) as sender:
        sender.sql(f"SELECT count(pg_notify('{CHANNEL}', {PAYLOADS})) FROM generate_series(1, {count}) AS i")
        sender.notify(STOP)
    before = _peak_mb()
    started, cpu = time.perf_counter(), time.process_time()
    loop()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert received == count + 1, f"{received} of {count + 1} delivered"
    return {"seconds": seconds, "cpu": cpu, "mb": _peak_mb() - before}


def idle(kind: str, address: Address, seconds: float) -> dict[str, float]:
    """Wait for nothing; return how often the thread was switched to in the meantime."""
    handler = pgnotify.NotificationHandler(_connect(kind, address), CHANNEL, lambda _: None)
    switches: list[int] = []

    def run() -> None:
        handler()

    thread = threading.Thread(target=run)
    thread.start()
    while not handler.listening:
        time.sleep(0.01)
    time.sleep(0.2)  # until it waits
    switches.append(_switches(thread))
    time.sleep(seconds)
    switches.append(_switches(thread))
    handler.stop()
    thread.join()
    return {"wakes": switches[1] - switches[0]}


def _connect(kind: str, address: Address) -> Any:
    (found,) = (each for each in kinds.KINDS if each.name == kind)
    db = found.connect(address)
    if hasattr(db, "autocommit"):
        db.autocommit = True
    return db


def _prepared(kind: str, way: str, db: Any, callback: Callable[[Any], None]) -> Callable[[], None]:
    """Listen, and return the loop; whoever sends LISTEN to a backlog reads it all into memory."""
    handler = pgnotify.NotificationHandler(db, CHANNEL, callback)
    if way == "ours":
        handler.listen()
        return handler
    backend = pgnotify.wrap(getattr(db, "_cnx", db)).backend
    for channel in (CHANNEL, STOP):
        backend.query(f"LISTEN {channel}")  # type: ignore[attr-defined]  # all of ours have it
    return lambda: ALTERNATIVES[kind][way](db, callback)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def _switches(thread: threading.Thread) -> int:
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches"))
    return int(line.split()[1])


# The table.


def _in_a_process(*arguments: object) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure(address: Address, options: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table."""
    measured = [kind.name for kind in kinds.KINDS if kind.name in ALTERNATIVES and kind.absent is None]
    runs: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for kind in measured:
            for way in ("ours", *ALTERNATIVES[kind]):
                run = _in_a_process("drain", kind, way, *address[:2], options.notifications)
                runs.setdefault((kind, way), []).append(run)
    yield f"{'connection':<14}{'ours/s':>11}{'own way':>9}{'best loop':>11}{'CPU us':>8}{'MB':>7}{'wakes':>7}"
    for kind in measured:
        seconds = {
            way: statistics.median(r["seconds"] for r in runs[kind, way]) for way in ("ours", *ALTERNATIVES[kind])
        }
        cpu = statistics.median(r["cpu"] for r in runs[kind, "ours"]) / options.notifications * 1e6
        memory = _in_a_process("drain", kind, "ours", *address[:2], options.pending)["mb"]
        wakes = _in_a_process("idle", kind, *address[:2], options.idle)["wakes"]
        ratios = [
            f"{seconds[way] / seconds['ours']:.2f}" if way in seconds else "-" for way in ("own way", "best loop")
        ]
        rate = options.notifications / seconds["ours"]
        yield f"{kind:<14}{rate:>11,.0f}{ratios[0]:>9}{ratios[1]:>11}{cpu:>8.2f}{memory:>7.1f}{wakes:>7.0f}"


def _child(arguments: list[Any]) -> dict[str, float]:
    if arguments[0] == "drain":
        _, kind, way, host, port, count = arguments
        return drain(kind, way, Address(host, port), count)
    _, kind, host, port, seconds = arguments
    return idle(kind, Address(host, port), seconds)


def main() -> None:
    """Start a PostgreSQL, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notifications", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pending", type=int, default=1_000_000)
    parser.add_argument("--idle", type=float, default=10.0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_child(json.loads(options.child))))
        return
    from pgnotify.testing import TemporaryPostgreSQL

    with TemporaryPostgreSQL() as server:
        print(f"PostgreSQL {server.version}, Python {platform.python_version()}, {os.cpu_count()} cores")
        for line in measure(Address(server.host, server.port), options):
            print(line)


if __name__ == "__main__":
    main()
