"""Measures each way to store messages, in a database of its own; the readers are processes of their own.

All ways go through each round, one after the other, as in `benchmarks.measuring`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pgnotify
from benchmarks.child import ADDRESS_VARIABLE
from benchmarks.measuring import Child, Task, Values
from benchmarks.outbox.child import TIMED
from benchmarks.outbox.ways import CHANNEL, DURABLE, HORIZON, PGQUE, PGQUEUER, PLAIN, PROCRASTINATE, UNNAMED, WAYS, Way
from pgnotify.testing._wire import Session
from pgnotify.testing.address import Address

NEVER_ANALYZED, ANALYZED, WRITING = "never analyzed", "analyzed", "a write transaction open"
"""The cases: what the server knows of the tables, and what another session does all the while."""
ALONE = "alone"
FSYNC_OFF, FSYNC_ON = "fsync off", "fsync on"

ROW_AND_NOTIFY, ROW_AND_NOTIFY_AT_ONCE = "a row and pg_notify", "a row and pg_notify, one statement"
NOTIFY_ONE, NOTIFY_MANY = "outbox.notify", "outbox.notify_many"
MANY = 1_000  # messages in a notify_many


class Sizes(NamedTuple):
    """How much is stored for each measure."""

    drained: int = 100_000
    """Messages of 14 bytes; fewer for ways that would take minutes."""
    latencies: int = 200
    warm_up: int = 50
    """Messages before these: some readers begin slowly."""
    per_second: int = 50
    sent: int = 2_000
    many: int = 20
    """How often notify_many is called, with 1,000 messages."""
    caught_up: tuple[int, ...] = (250_000, 500_000, 1_000_000)
    patience: float = 60.0
    """Seconds after which nothing more is expected to arrive."""
    stalled: float = 5.0
    """The same for a reader that is known to wait for the write transaction."""


QUICK = Sizes(1_000, 10, 20, 100, 20, 1, (1_000, 2_000, 4_000), 60.0, 0.2)
"""To see that everything runs; the numbers mean little."""


class Bench:
    """Measures ways on one server, and sending on one with fsync, too.

    Args:
        address: of the server.
        with_fsync: of another one, where fsync is on.
        sizes: how much is stored.
    """

    def __init__(self, address: Address, with_fsync: Address, sizes: Sizes) -> None:
        self._address = address
        self._with_fsync = with_fsync
        self._sizes = sizes
        self._databases = 0

    def ways(self) -> list[Way]:
        """Return the ways that can be measured here."""
        return [way for way in WAYS if way.absent is None]

    def skipped(self) -> list[str]:
        """Return, in words, the ways that cannot be."""
        return [f"{way.name}: {way.absent}" for way in WAYS if way.absent is not None]

    def tasks(self) -> list[Task]:
        """Return the measurements of a round, in order."""
        ways = {way.name: way for way in self.ways()}
        storing = [way for way in ways.values() if way.name != PLAIN]
        compared = [ways[name] for name in (UNNAMED, DURABLE, HORIZON, PGQUE, PGQUEUER, PROCRASTINATE) if name in ways]
        plain = [ways[PLAIN]] if PLAIN in ways else []
        tasks = [Task("drain", NEVER_ANALYZED, way.name, partial(self._drain, way, NEVER_ANALYZED)) for way in storing]
        tasks += [
            Task("drain", case, way.name, partial(self._drain, way, case))
            for case in (ANALYZED, WRITING)
            for way in compared
        ]
        tasks += [
            Task("latency", case, way.name, partial(self._latency, way, case))
            for case in (ALONE, WRITING)
            for way in (*plain, *compared)
        ]
        if UNNAMED not in ways:
            return tasks
        for case, address in ((FSYNC_OFF, self._address), (FSYNC_ON, self._with_fsync)):
            for name, measure in (
                (ROW_AND_NOTIFY, _row_and_notify),
                (ROW_AND_NOTIFY_AT_ONCE, _row_and_notify_at_once),
                (NOTIFY_ONE, _notify),
                (NOTIFY_MANY, _notify_many),
            ):
                tasks.append(Task("send", f"{case}, {name}", UNNAMED, partial(self._send, address, measure)))
        tasks += [
            Task("catch up", f"{count:,}", way.name, partial(self._catch_up, way, count), once=True)
            for count in self._sizes.caught_up
            for way in (ways[UNNAMED], ways[DURABLE])
        ]
        tasks += [
            Task("left behind", "", way.name, partial(self._left_behind, way), once=True)
            for way in compared
            if way.name != UNNAMED
        ]
        return tasks

    def _drain(self, way: Way, case: str) -> Values:
        count = min(way.most, self._sizes.drained)
        with (
            self._database(way) as address,
            self._child(way, address, count) as child,
            self._meanwhile(address, case),
        ):
            way.store().fill(address, count)
            if case == ANALYZED:
                with Session(*address) as session:
                    session.sql("ANALYZE")
            if way.name == HORIZON and case == WRITING:
                return {"stalled": self._stands_still(child)}
            figures = self._figures(child, count)
        return {"per_second": count / figures["seconds"], "cpu_us": figures["cpu"] / count * 1e6}

    def _latency(self, way: Way, case: str) -> Values:
        count = self._sizes.latencies
        warm_up = self._sizes.warm_up
        store = way.store()
        with (
            self._database(way) as address,
            self._child(way, address, count + warm_up) as child,
            store.helped(address),
            self._meanwhile(address, case),
        ):
            child.go()
            send = store.sender(address)
            due = time.perf_counter()
            for _ in range(count + warm_up):
                due += 1 / self._sizes.per_second
                time.sleep(max(0.0, due - time.perf_counter()))
                send(f"{TIMED}{time.perf_counter_ns()}")
            if way.name == HORIZON and case == WRITING:
                return {"stalled": self._stands_still(child)}
            times = sorted(self._figures(child, count + warm_up)["microseconds"][warm_up:])
        return {"p50": statistics.median(times), "p99": times[len(times) * 99 // 100]}

    def _send(self, address: Address, measure: Callable[[Address, Sizes], float]) -> Values:
        (way,) = (way for way in WAYS if way.name == UNNAMED)
        with self._database(way, address) as database:
            return {"us": measure(database, self._sizes)}

    def _catch_up(self, way: Way, count: int) -> Values:
        with self._database(way) as address:
            way.store().fill(address, count)
            with self._child(way, address, count) as child:
                figures = self._figures(child, count)
        return {"seconds": figures["seconds"], "mb": figures["mb"]}

    def _left_behind(self, way: Way) -> Values:
        count = min(way.most, self._sizes.drained)
        store = way.store()
        with self._database(way) as address:
            with self._child(way, address, count) as child:
                store.fill(address, count)
                self._figures(child, count)
            schema, prefix = store.tables
            with Session(*address) as session:
                ((dead, size),) = session.sql(
                    "SELECT pg_catalog.sum(pg_catalog.pg_stat_get_dead_tuples(c.oid))::pg_catalog.text, "
                    "pg_catalog.sum(pg_catalog.pg_total_relation_size(c.oid))::pg_catalog.text "
                    "FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n "
                    "ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE c.relkind OPERATOR(pg_catalog.=) 'r' "
                    f"AND n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) '{schema}'::pg_catalog.text "
                    "AND pg_catalog.starts_with("
                    f"c.relname::pg_catalog.text, '{prefix}'::pg_catalog.text)"
                )
        return {"dead_each": int(dead or 0) / count, "bytes_each": int(size or 0) / count}

    def _figures(self, child: Child, count: int) -> dict[str, Any]:
        figures = child.figures(self._sizes.patience)
        if figures["received"] != count:
            raise RuntimeError(f"{figures['received']} of {count} were received")
        return figures

    def _stands_still(self, child: Child) -> bool:
        """Return whether a reader gets nothing for some seconds."""
        try:
            child.figures(self._sizes.stalled)
        except subprocess.TimeoutExpired:
            return True
        return False

    @contextmanager
    def _meanwhile(self, address: Address, case: str) -> Iterator[None]:
        """Have another session keep a transaction open that has written, if the case is that."""
        if case != WRITING:
            yield
            return
        with Session(*address) as session:
            session.sql("BEGIN; SELECT pg_catalog.pg_current_xact_id()")
            yield
            session.sql("ROLLBACK")

    @contextmanager
    def _database(self, way: Way, server: Address | None = None) -> Iterator[Address]:
        """A new database, with the tables of a way."""
        server = server or self._address
        self._databases += 1
        address = server._replace(database=f"bench{self._databases}")
        with Session(*server) as session:
            session.sql(f"CREATE DATABASE {address.database}")
            try:
                way.store().install(address)
                yield address
            finally:
                session.sql(f"DROP DATABASE {address.database} WITH (FORCE)")

    @contextmanager
    def _child(self, way: Way, address: Address, count: int) -> Iterator[Child]:
        command = [sys.executable, "-m", "benchmarks.outbox.child", way.name, str(count)]
        child = Child(command, {**os.environ, ADDRESS_VARIABLE: json.dumps(address)})
        try:
            child.wait_until_ready()
            yield child
        finally:
            child.end()


def _each_us(send: Callable[[int], object], count: int) -> float:
    """Return the median of so many calls, after some that are not counted."""
    for number in range(count // 10):
        send(-number)
    times = []
    for number in range(count):
        started = time.perf_counter()
        send(number)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def _row_and_notify(address: Address, sizes: Sizes) -> float:
    """Time a transaction that writes a row and calls pg_notify."""
    db = _with_rows(address)

    def send(number: int) -> None:
        with db.transaction():
            db.execute(_INSERT, (CHANNEL, str(number)))
            db.execute("SELECT pg_catalog.pg_notify(%s, %s)", (CHANNEL, str(number)))

    return _each_us(send, sizes.sent)


def _row_and_notify_at_once(address: Address, sizes: Sizes) -> float:
    """Time the same in one statement, which nobody writes."""
    db = _with_rows(address)
    sql = (
        "WITH stored AS (INSERT INTO public.rows (channel, payload) VALUES (%s, %s) RETURNING channel, payload) "
        "SELECT pg_catalog.pg_notify(channel, payload) FROM stored"
    )
    return _each_us(lambda number: db.execute(sql, (CHANNEL, str(number))), sizes.sent)


def _notify(address: Address, sizes: Sizes) -> float:
    """Time notify() in a transaction of its own."""
    db, outbox = _with_rows(address), pgnotify.Outbox()
    return _each_us(lambda number: outbox.notify(db, CHANNEL, str(number)), sizes.sent)


def _notify_many(address: Address, sizes: Sizes) -> float:
    """Time notify_many() of 1,000, for each of them."""
    db, outbox = _with_rows(address), pgnotify.Outbox()
    pairs = [(CHANNEL, str(number)) for number in range(MANY)]
    return _each_us(lambda _: outbox.notify_many(db, pairs), sizes.many) / MANY


_INSERT = "INSERT INTO public.rows (channel, payload) VALUES (%s, %s)"


def _with_rows(address: Address) -> Any:
    """Return a connection to a database with a table of the user's, which has a key and the time."""
    import psycopg

    db = psycopg.connect(address.dsn, autocommit=True)
    db.execute(
        "CREATE TABLE public.rows (id pg_catalog.int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        "channel pg_catalog.text NOT NULL, payload pg_catalog.text NOT NULL, "
        "sent_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())"
    )
    return db
