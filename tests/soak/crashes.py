"""Readers of an outbox while its server crashes, again and again, with transaction ids that come again.

These readers run: one acknowledges in the transaction of its effects, one has a name, one has none, and another one
without a name is behind PgBouncer in transaction mode, if that is installed. Most transactions are rolled back, and
nothing flushes their records, so a crash takes their ids back. What is in the table at the end decides: each message
has its effect once, and reaches the others.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

import pgnotify
from pgnotify.testing import TemporaryPostgreSQL
from tests.helpers.pooler import PgBouncer, find_pgbouncer

# The log's writer is slow, so that a crash takes much back.
SETTINGS = {"wal_writer_delay": "5s", "autovacuum": "off"}
EFFECTS = "CREATE TABLE effects (payload text)"
OFTEN, ALL = "often", "all"
"""Channels: of the reader without a name, and of all readers."""
WRITERS = 2
BACKOFF = pgnotify.Backoff(maximum=0.5)  # the server is soon back
PATIENCE = 60.0
LOST = (psycopg.OperationalError, pgnotify.ConnectionLost)


class Counts(NamedTuple):
    """What became of the messages."""

    crashes: int
    ids_again: int
    """After how many crashes transaction ids came again."""
    committed: int
    once: int
    """How many effects there are."""
    superseded: int
    late: int
    """How many batches were read before a crash and acknowledged after it."""
    named: int
    unnamed: int
    """How many different messages reached these readers; with those that a crash has taken back."""
    missing: tuple[int, int, int, int]
    """At the reader with effects, with a name, without, and behind the pooler."""
    doubled: tuple[int, int, int]
    """At these, except for the one with a name."""

    @property
    def holds(self) -> bool:
        """Whether nothing is missing and nothing doubled."""
        return not any(self.missing) and not any(self.doubled)


class Crashes:
    """A server with its readers and writers; a context manager.

    Args:
        server: it was started.
        seed: of the random choices.
    """

    def __init__(self, server: TemporaryPostgreSQL, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._outbox = pgnotify.Outbox()
        self._stop = threading.Event()
        self._numbers = iter(range(1, 10**9))
        self._latest_id = 0
        self._crashes = self._ids_again = self._superseded = self._late = 0
        self.named: list[str] = []
        self.unnamed: list[str] = []
        self.pooled: list[str] = []
        self.errors: list[BaseException] = []

    def run(self, ends: Callable[[int], bool]) -> Counts:
        """Crash the server until ``ends`` says so, which is told how many times that was; return the counts."""
        with self._connected() as connection:
            connection.execute(self._outbox.install_sql())
            connection.execute(EFFECTS)
        with (
            self._pooled_dsn() as pooled_dsn,
            self._listener(OFTEN, ALL, dsn=pooled_dsn, heartbeat=1.0) as pooled,
            self._listener(OFTEN, ALL) as unnamed,
            self._listener(ALL, durable="named") as named,
            self._listener(ALL, durable="once") as once,
        ):
            threads = [
                threading.Thread(target=self._reporting, args=(target, *arguments), daemon=True)
                for target, *arguments in (
                    (self._collect, unnamed, self.unnamed),
                    (self._collect, pooled, self.pooled),
                    (self._collect, named, self.named),
                    (self._process, once),
                    *((self._write, number) for number in range(WRITERS)),
                )
            ]
            for thread in threads:
                thread.start()
            while not ends(self._crashes) and not self.errors:
                self._crash()
            self._stop.set()
            for thread in threads[4:]:
                thread.join(PATIENCE)
            self._wait_for_the_end()
        if self.errors:
            raise self.errors[0]
        return self._counts()

    def _reporting(self, target: Callable[..., object], *arguments: Any) -> None:
        try:
            target(*arguments)
        except BaseException as error:
            self.errors.append(error)

    # Writers.

    def _write(self, number: int) -> None:
        chance = random.Random(self._random.random() + number)
        while not self._stop.is_set():
            with suppress(*LOST), self._connected() as connection:
                if chance.random() < 0.8:
                    connection.execute("SET synchronous_commit = off")
                while not self._stop.is_set():
                    self._transact(connection, chance)

    def _transact(self, connection: psycopg.Connection[Any], chance: random.Random) -> None:
        connection.execute("BEGIN")
        ((number,),) = connection.execute("SELECT pg_current_xact_id()::text::int8").fetchall()
        self._latest_id = max(self._latest_id, number)
        channel = ALL if chance.random() < 0.1 else OFTEN
        for _ in range(chance.randint(1, 3)):
            self._outbox.notify(connection, channel, str(next(self._numbers)))
        connection.execute("SAVEPOINT part")
        self._outbox.notify(connection, channel, "taken back")
        connection.execute("ROLLBACK TO part")
        connection.execute("COMMIT" if chance.random() < 0.3 else "ROLLBACK")

    # Readers.

    def _collect(self, listener: pgnotify.Listener, got: list[str]) -> None:
        with suppress(pgnotify.ListenerClosed):
            for message in listener:
                got.append(message.payload)

    def _process(self, listener: pgnotify.Listener) -> None:
        """Write the effects of each batch in the transaction that acknowledges it, perhaps after a crash."""
        chance = random.Random(self._random.random())
        for batch in listener.batches(20):
            crashes = self._crashes
            if chance.random() < 0.2:
                self._wait_for(lambda before=crashes: self._crashes > before, 0.3)  # type: ignore[misc]
            for _ in range(chance.randint(1, 2)):
                try:
                    with self._connected() as connection, connection.transaction():
                        if chance.random() < 0.5:
                            connection.execute("SET LOCAL synchronous_commit = off")
                        payloads = [message.payload for message in batch]
                        connection.execute("INSERT INTO effects SELECT unnest(%s::text[])", [payloads])
                        batch.acknowledge(connection)
                    self._late += self._crashes > crashes
                    break
                except LOST:
                    self._wait_for(self._answers, PATIENCE)
                except pgnotify.Superseded:
                    self._superseded += 1
                    break

    # Crashes.

    def _crash(self) -> None:
        time.sleep(self._random.uniform(0.05, 0.6))  # not for anything to happen: the load is what is tested
        before = self._latest_id
        if self._random.random() < 0.7:
            self._kill_a_backend()
        else:
            self._kill_the_server()
        after: list[int] = []

        def is_back() -> bool:
            with suppress(psycopg.OperationalError), self._connected() as connection:
                (row,) = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8").fetchall()
                after.append(row[0])
            return bool(after)

        assert self._wait_for(is_back, PATIENCE), "the server does not come back"
        self._ids_again += after[0] <= before
        self._crashes += 1

    def _kill_a_backend(self) -> None:
        with suppress(psycopg.OperationalError), self._connected() as connection:
            os.kill(connection.info.backend_pid, signal.SIGKILL)
            connection.execute("SELECT 1")

    def _kill_the_server(self) -> None:
        """Kill all of its processes at the same moment: what was not written is lost."""
        pid = self._server.pid
        assert pid is not None
        for each in (pid, *_children(pid)):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
        for each in (*_children(pid), pid):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self._server.kill()
        self._server.start()

    def _answers(self) -> bool:
        try:
            with self._connected():
                return True
        except psycopg.OperationalError:
            return False

    # The end.

    def _wait_for_the_end(self) -> None:
        def all_have_all() -> bool:
            if not self._answers():  # the latest crash was not noticed until now
                return False
            often, everywhere = self._stored()
            have = everywhere <= self._effects().keys() and everywhere <= set(self.named)
            return bool(self.errors) or (have and often | everywhere <= set(self.unnamed) & set(self.pooled))

        self._wait_for(all_have_all, PATIENCE)

    def _counts(self) -> Counts:
        often, everywhere = self._stored()
        effects, unnamed, pooled = self._effects(), Counter(self.unnamed), Counter(self.pooled)
        return Counts(
            self._crashes,
            self._ids_again,
            len(often) + len(everywhere),
            effects.total(),
            self._superseded,
            self._late,
            len(set(self.named)),
            len(unnamed),
            (
                len(everywhere - effects.keys()),
                len(everywhere - set(self.named)),
                len((often | everywhere) - unnamed.keys()),
                len((often | everywhere) - pooled.keys()),
            ),
            (
                sum(count > 1 for count in effects.values()) + len(effects.keys() - everywhere),
                sum(count > 1 for count in unnamed.values()),
                sum(count > 1 for count in pooled.values()),
            ),
        )

    def _stored(self) -> tuple[set[str], set[str]]:
        with self._connected() as connection:
            rows = connection.execute("SELECT channel, payload FROM pgnotify_outbox").fetchall()
        return {p for c, p in rows if c == OFTEN}, {p for c, p in rows if c == ALL}

    def _effects(self) -> Counter[str]:
        with self._connected() as connection:
            return Counter(payload for (payload,) in connection.execute("SELECT payload FROM effects"))

    @contextmanager
    def _pooled_dsn(self) -> Iterator[str]:
        if find_pgbouncer() is None:
            yield self._server.dsn
            return
        with PgBouncer(self._server.address, "transaction") as pooler:
            yield pooler.dsn

    def _listener(self, *channels: str, dsn: str | None = None, **options: Any) -> pgnotify.Listener:
        options = {"driver": "psycopg", "start": "all", "backoff": BACKOFF, **options}
        return pgnotify.Listener(dsn or self._server.dsn, *channels, outbox=self._outbox, **options)

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self._server.dsn, autocommit=True) as connection:
            yield connection

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)  # between two looks, never instead of one
        return True


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
