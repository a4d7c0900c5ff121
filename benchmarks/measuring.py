"""Measures each way in a process of its own: sends, counts, and lets the ways take turns.

All ways go through each round, one after the other. So a machine that gets slower during a run does so
for all of them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.child import ADDRESS_VARIABLE, CHANNEL, STOP
from benchmarks.results import CONSUMERS, DRAIN_CASES, FAN_OUT_CASES, HELP, PENDING, UVLOOP
from benchmarks.ways import FETCHING, HANDLERS, WAYS, C, Way
from pgnotify.testing._wire import Session
from pgnotify.testing.address import Address

Values = dict[str, float | None]

PAYLOADS = {
    "14 B": "'payload' OPERATOR(pg_catalog.||) pg_catalog.lpad({i}::pg_catalog.text, 7, '0')",
    "1 kB": "pg_catalog.lpad({i}::pg_catalog.text, 1000, 'x')",
}
"""All different, because PostgreSQL sends equal ones in a transaction only once."""
SETTLING_SECONDS = 1.0  # for an idle process to begin to wait
DRAINS = 3  # in one process; the first warms up
SENDING_SECONDS = 0.01  # between two checks whether the server has sent as much as it can
PROC = Path("/proc/self/task")


class Sizes(NamedTuple):
    """How much is sent for each measure."""

    small: int = 100_000
    """Notifications of 14 bytes in a drain."""
    large: int = 20_000
    """Notifications of 1 kB in a drain."""
    round_trips: int = 5_000
    published: int = 2_000
    """Single notifications that each way to send sends."""
    pending: int = 1_000_000
    idle_seconds: float = 10.0
    over_channels: int = 20_000
    """Notifications that go over many channels, in turn."""
    channels: tuple[int, ...] = (1, 100, 1_000, 10_000)
    to_handlers: int = 500
    """Transactions of one notification each, to the handlers in turn."""
    handlers: tuple[int, ...] = (1, 10, 100, 1_000)
    fan_out: int = 1_000
    """Notifications to each of as many consumers."""
    consumers: int = 10_000
    idle_handlers: int = 1_000
    starts: int = 20
    """Processes, one after the other, whose whole time is taken."""


QUICK = Sizes(5_000, 1_000, 200, 100, 20_000, 1.0, 1_000, (1, 100), 100, (1, 10), 100, 100, 10, 2)
"""To see that everything runs; the numbers mean little."""


class Task(NamedTuple):
    """One measurement of a round."""

    measure: str
    case: str
    way: str
    """``""`` if the measurement belongs to no way."""
    run: Callable[[], Values]
    once: bool = False
    """Whether one round is enough, because it does not measure a time."""


class Bench:
    """Measures ways on one server.

    Args:
        address: of the server.
        c_program: the program in C, None if there is none.
        sizes: how much is sent.
    """

    def __init__(self, address: Address, c_program: Path | None, sizes: Sizes) -> None:
        self._address = address
        self._c_program = c_program
        self._sizes = sizes

    def ways(self) -> list[Way]:
        """Return the ways that can be measured here."""
        return [way for way in WAYS if way.absent is None and (way is not C or self._c_program is not None)]

    def skipped(self) -> list[str]:
        """Return, in words, the ways and measures that are impossible here."""
        absent = [f"{way.name}: {way.absent}" for way in WAYS if way.absent is not None]
        absent += [] if find_spec(UVLOOP) is not None else [f"latency on {UVLOOP}: {UVLOOP} not installed"]
        absent += [] if find_spec("typer") is not None else [f"{HELP}: typer not installed"]
        return absent if PROC.exists() else [*absent, "idle, and memory: there is no /proc"]

    def tasks(self) -> list[Task]:
        """Return the measurements of a round, in order."""
        sizes, ways = self._sizes, self.ways()
        blocking = [way for way in ways if way.section == "blocking" and way not in FETCHING]
        on_loops = [way for way in ways if way.section == "asyncio"]
        streams = [way for way in ways if way.section == "streams"]
        listening = blocking + on_loops
        sending = [way for way in ways if way in HANDLERS or (way in blocking and way.group == "by hand")]
        tasks = [
            Task("drain", case, way.name, partial(self._drain, way, case))
            for case in DRAIN_CASES
            for way in (listening if case == DRAIN_CASES[0] else blocking)
        ]
        tasks += [Task("latency", "", way.name, partial(self._latency, way)) for way in listening]
        if find_spec(UVLOOP) is not None:
            tasks += [
                Task("latency", UVLOOP, way.name, partial(self._latency, way, "latency_on_uvloop")) for way in on_loops
            ]
        tasks += [
            Task("fan-out", case, way.name, partial(self._fan_out, way, at_once))
            for case, at_once in FAN_OUT_CASES.items()
            for way in streams
        ]
        tasks += [Task("publish", "", way.name, partial(self._publish, way)) for way in sending]
        tasks += [
            Task("channels", str(count), way.name, partial(self._channels, way, count))
            for count in sizes.channels
            for way in ways
            if way in FETCHING or way is C
        ]
        tasks += [
            Task("handlers", str(count), way.name, partial(self._handlers, way, count))
            for count in sizes.handlers
            for way in ways
            if way.name == "handler, psycopg"
        ]
        tasks += [Task("import", case, "", partial(_import, statements)) for case, statements in _imports(ways).items()]
        tasks += [
            Task("start", case, "", partial(_start, command, sizes.starts)) for case, command in _starts().items()
        ]
        tasks += [Task("memory", PENDING, way.name, partial(self._memory, way), once=True) for way in listening]
        tasks += [Task("memory", CONSUMERS, way.name, partial(self._consumers, way), once=True) for way in streams]
        return tasks

    def profile(self, name: str) -> str:
        """Return where the time goes while a way drains.

        Raises:
            ValueError: there is no such way.
        """
        found = [way for way in self.ways() if way.name == name and way is not C]
        if not found:
            raise ValueError(f"{name!r} cannot be profiled; choose one of {[way.name for way in self.ways()]}")
        text: str = self._drained_once(found[0], "profile", self._sizes.small)["profile"]
        return text

    def idle(self) -> Iterator[tuple[str, Values]]:
        """Yield how often each way was woken, and its CPU time, while all of them wait at once and nothing arrives."""
        with ExitStack() as stack:
            children = {}
            for way in self.ways():
                if way not in FETCHING and way.section != "streams":
                    children[way.name] = stack.enter_context(self._child(way, "idle"))
            yield from self._idle(children)

    def idle_handlers(self) -> Iterator[tuple[str, Values]]:
        """Yield the same for many handlers on one event loop."""
        for way in self.ways():
            if way.name == "async handler, psycopg":
                with self._child(way, "idle_handlers", self._sizes.idle_handlers) as child:
                    yield from self._idle({way.name: child})

    def _idle(self, children: dict[str, Child]) -> Iterator[tuple[str, Values]]:
        for child in children.values():
            child.go()
        time.sleep(SETTLING_SECONDS)
        before = {name: child.activity() for name, child in children.items()}
        time.sleep(self._sizes.idle_seconds)
        for name, child in children.items():
            wakeups, cpu = child.activity()
            yield name, {"wakeups": wakeups - before[name][0], "cpu_ms": (cpu - before[name][1]) / 1e6}

    def _drain(self, way: Way, case: str) -> Values:
        size, _, transactions = case.partition(", ")
        count = self._sizes.small if size == "14 B" else self._sizes.large
        with self._child(way, "drains", DRAINS) as child, self._session() as session:
            for number in range(DRAINS):
                if number:
                    child.wait_until_ready()
                self._send(session, number, size, count, int(transactions.split()[0]))
                child.go()
            drains = [_all_received(each, count) for each in child.figures()["drains"]]
        # The first drain was the warm-up.
        seconds, cpu = (statistics.median(each[figure] for each in drains[1:]) for figure in ("seconds", "cpu"))
        return {"per_second": count / seconds, "cpu_us": cpu / count * 1e6}

    def _memory(self, way: Way) -> Values:
        return {"mb": self._drained_once(way, "drains", self._sizes.pending, 1)["drains"][0]["mb"]}

    def _drained_once(self, way: Way, measure: str, count: int, *counts: int) -> dict[str, Any]:
        with self._child(way, measure, *counts) as child, self._session() as session:
            self._send(session, 0, "14 B", count, 1)
            figures = child.figures()
        _all_received(figures["drains"][0], count)
        return figures

    def _send(self, session: Session, number: int, size: str, count: int, transactions: int) -> None:
        part = count // transactions
        for first in range(1, count + 1, part):
            payload = PAYLOADS[size].format(i="i")
            notify = f"pg_catalog.pg_notify('{CHANNEL}{number}', {payload})"
            numbers = f"pg_catalog.generate_series({first}, {first + part - 1}) AS i"
            session.sql(f"SELECT pg_catalog.count({notify}) FROM {numbers}")
        session.notify(f"{STOP}{number}")
        _wait_until_sent(session)

    def _latency(self, way: Way, measure: str = "latency") -> Values:
        with self._child(way, measure, self._sizes.round_trips) as child:
            times = sorted(child.figures()["microseconds"])
        return {"p50": statistics.median(times), "p99": times[len(times) * 99 // 100], "max": times[-1]}

    def _fan_out(self, way: Way, at_once: int) -> Values:
        count = self._sizes.fan_out
        with self._child(way, "fan_out", count, count, at_once) as child:
            figures = child.figures()
        deliveries = count * count
        return {"per_second": deliveries / figures["seconds"], "cpu_us": figures["cpu"] / deliveries * 1e6}

    def _consumers(self, way: Way) -> Values:
        with self._child(way, "consumers", self._sizes.consumers) as child:
            memory = child.figures()["mb"]
        return {"kb": None if memory is None else memory * 1024 / self._sizes.consumers}

    def _publish(self, way: Way) -> Values:
        with self._child(way, "publish", self._sizes.published) as child:
            figures: Values = child.figures()
        return figures

    def _channels(self, way: Way, channels: int) -> Values:
        count = self._sizes.over_channels
        with self._child(way, "arriving", channels) as child, self._session() as session:
            child.go()
            payload = PAYLOADS["14 B"].format(i="i")
            channel = f"'c' OPERATOR(pg_catalog.||) (i OPERATOR(pg_catalog.%) {channels})"
            session.sql(
                f"SELECT pg_catalog.count(pg_catalog.pg_notify({channel}, {payload})) "
                f"FROM pg_catalog.generate_series(1, {count}) AS i"
            )
            session.notify(STOP)
            figures = _all_received(child.figures(), count)
        return {"us": figures["seconds"] / count * 1e6, "cpu_us": figures["cpu"] / count * 1e6}

    def _handlers(self, way: Way, handlers: int) -> Values:
        count = self._sizes.to_handlers
        with self._child(way, "handlers", handlers, count) as child, self._session() as session:
            child.go()
            started = time.perf_counter()
            for number in range(count):
                session.notify(f"c{number % handlers}", str(number))
            seconds = time.perf_counter() - started
            figures = child.figures()
        memory = figures["mb"]
        return {
            "cpu_us": figures["cpu"] / count * 1e6,
            "kb": None if memory is None else memory * 1024 / handlers,
            "commits_per_second": count / seconds,
        }

    def _session(self) -> Session:
        return Session(*self._address)

    @contextmanager
    def _child(self, way: Way, measure: str, *counts: int) -> Iterator[Child]:
        child = Child(self._command(way, measure, *counts), self._environment())
        try:
            child.wait_until_ready()
            yield child
        finally:
            child.end()

    def _command(self, way: Way, measure: str, *counts: int) -> list[str]:
        numbers = [str(count) for count in counts]
        if way is not C:
            child = [sys.executable, "-m", "benchmarks.child", measure, way.name]
            return child + numbers
        channels = [f"c*{counts[0]}"] if measure == "arriving" else [CHANNEL, *numbers]
        return [str(self._c_program), measure, self._address._replace(password=None).dsn, STOP, *channels]

    def _environment(self) -> dict[str, str]:
        # Not on the command line, which everybody can read. The second one is libpq's, for the program in C.
        address, password = json.dumps(self._address), self._address.password or ""
        return {**os.environ, ADDRESS_VARIABLE: address, "PGPASSWORD": password}


class Child:
    """A measuring process, which waits for a line before it begins."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command = command
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._gone = False

    def wait_until_ready(self) -> None:
        """Wait until it could begin."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{self._command} did not begin")

    def go(self) -> None:
        """Have it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._gone = True

    def figures(self, seconds: float | None = None) -> dict[str, Any]:
        """Start it if that has not happened, and return the figures that it prints at the end.

        Raises:
            subprocess.TimeoutExpired: it has not ended after so long.
        """
        if not self._gone:
            self.go()
        said, _ = self._process.communicate(timeout=seconds)
        if self._process.returncode:
            raise RuntimeError(f"{self._command} failed")
        figures: dict[str, Any] = json.loads(said)
        return figures

    def activity(self) -> tuple[int, int]:
        """Return how often its threads have given up the processor, and their CPU time in ns."""
        threads = list(Path(f"/proc/{self._process.pid}/task").iterdir())
        switches = sum(_voluntary_switches((thread / "status").read_text()) for thread in threads)
        return switches, sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)

    def end(self) -> None:
        """End it, wherever it is."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def _wait_until_sent(session: Session) -> None:
    """Wait until each session has sent as much as its socket takes, so that the server works for none of the ways."""
    others = (
        "SELECT 1 FROM pg_catalog.pg_stat_activity "
        "WHERE pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() AND datname IS NOT NULL "
        "AND (state OPERATOR(pg_catalog.=) 'active' "
        "OR COALESCE(wait_event_type OPERATOR(pg_catalog.<>) 'Client', true))"
    )
    while session.sql(others):
        time.sleep(SENDING_SECONDS)


def _voluntary_switches(status: str) -> int:
    (line,) = (line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches"))
    return int(line.split()[1])


def _all_received(figures: dict[str, Any], count: int) -> dict[str, Any]:
    if figures["received"] != count:
        raise RuntimeError(f"{figures['received']} of {count} were received")
    return figures


def _imports(ways: list[Way]) -> dict[str, str]:
    """Return the imports to measure: the package, each driver, and both."""
    drivers = {way.driver: way.modules[0] for way in ways if way in HANDLERS and way.driver != "wrappers"}
    cases = {"pgnotify": "import pgnotify"}
    for driver, module in drivers.items():
        cases[driver] = f"import {module}"
        cases[f"pgnotify and {driver}"] = f"import pgnotify, pgnotify.backends.{driver}"
    return cases


def _import(statement: str) -> Values:
    """Time an import in a bare interpreter, seven times: it is short, and the disk plays a part in it."""
    code = f"from time import perf_counter as now; started = now(); {statement}; print(now() - started)"
    command = [sys.executable, "-c", code]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(7)]
    return {"ms": statistics.median(map(float, said)) * 1000}


def _starts() -> dict[str, tuple[str, ...]]:
    """Return the programs whose whole time is taken: nothing, the package, and the command line, if it is installed."""
    programs = {"python -c pass": ("-c", "pass"), "python -c 'import pgnotify'": ("-c", "import pgnotify")}
    return {**programs, HELP: ("-m", "pgnotify", "--help")} if find_spec("typer") is not None else programs


def _start(program: tuple[str, ...], times: int) -> Values:
    """Time a process from its start to its end."""
    return {"ms": statistics.median(_ended_after(program) for _ in range(times)) * 1000}


def _ended_after(program: tuple[str, ...]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *program], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def connections_needed(sizes: Sizes) -> int:
    """Return how many connections the server must allow."""
    return max(*sizes.handlers, sizes.idle_handlers, len(WAYS)) + 50
