"""An outbox on two servers, with logical replication between them, while links are cut and servers are killed.

Several writers send on the first server, in transactions with savepoints and rollbacks. Three listeners receive on the
second one: `billing` acknowledges in transactions of its own, `archive` has a durable name and iterates, and one has no
name. The first server's table says what was sent.
"""

from __future__ import annotations

import argparse
import logging
import operator
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from typing import Any, NamedTuple

import psycopg

import pgnotify
from pgnotify.testing import TemporaryPostgreSQL
from pgnotify.testing._proxy import Proxy
from tests.helpers.network import through
from tests.helpers.waiting import PATIENCE, eventually

WRITERS = 4
CHANNEL = "orders"
# Small enough for many transactions to be larger; the links are noticed to be dead within two seconds.
# A subscription of each test takes a worker.
FIRST = {"wal_level": "logical", "logical_decoding_work_mem": "64kB", "wal_sender_timeout": "2s", "max_wal_senders": 20}
SECOND = {
    "wal_retrieve_retry_interval": "100ms",
    "wal_receiver_timeout": "2s",
    "max_logical_replication_workers": 20,
    "max_worker_processes": 24,
}
GIVEN_UP = "terminating logical replication worker due to timeout"
BACKOFF = pgnotify.Backoff(0.05, 0.5)
FAULTS = ("link reset", "link silent", "first killed", "second killed")
_INSERT = "INSERT INTO public.effects (id, payload) VALUES (%s, %s)"
_EFFECTS = "SELECT payload FROM public.effects ORDER BY place"
_SENT = f"SELECT payload FROM public.pgnotify_outbox WHERE channel = '{CHANNEL}'"


class Account(NamedTuple):
    """What one listener got of what was sent."""

    name: str
    got: int
    missing: int
    doubled: int
    unsent: int
    """Messages that nobody has sent."""
    disordered: int
    """Messages that came after a later one of the same writer, the first time that they came."""


class Report(NamedTuple):
    """The outcome of a trial."""

    sent: int
    rolled_back: int
    faults: Counter[str]
    accounts: tuple[Account, ...]

    def __str__(self) -> str:
        """Return it as a table."""
        struck = ", ".join(f"{name}: {count}" for name, count in sorted(self.faults.items()))
        lines = [f"sent {self.sent}, rolled back {self.rolled_back}; {struck or 'no faults'}"]
        lines.append(f"{'':10}{'got':>10}{'missing':>10}{'doubled':>10}{'unsent':>10}{'disordered':>12}")
        for name, got, missing, doubled, unsent, disordered in self.accounts:
            lines.append(f"{name:10}{got:>10}{missing:>10}{doubled:>10}{unsent:>10}{disordered:>12}")
        return "\n".join(lines)


class TwoServers:
    """The servers, and the proxy on the way from the second one to the first; a context manager.

    Args:
        outbox: installed on both, and copied from the first to the second.
    """

    def __init__(self, outbox: pgnotify.Outbox) -> None:
        self._outbox = outbox
        self._opened = ExitStack()

    def __enter__(self) -> TwoServers:
        with ExitStack() as opened:
            self.first = opened.enter_context(TemporaryPostgreSQL(settings=FIRST))
            self.second = opened.enter_context(TemporaryPostgreSQL(settings=SECOND))
            self.link = opened.enter_context(Proxy(*self.first.address[:2]))
            self._opened = opened.pop_all()
        self.first.sql(self._outbox.install_sql() + self._outbox.publication_sql())
        self.second.sql(self._outbox.install_sql() + self._outbox.subscription_sql(self.source))
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def source(self) -> str:
        """The first server's connection string, by way of the proxy."""
        return through(self.link, self.first.address).dsn

    def strike(self, fault: str) -> None:
        """Have one of FAULTS happen."""
        if fault == "link reset":
            self.link.reset()
        elif fault == "link silent":
            self._silence()
        else:
            server = self.first if fault == "first killed" else self.second
            server.kill()
            server.start()

    def _silence(self) -> None:
        """Let nothing pass until the second server has noticed.

        A worker that was about to connect waits for ever: there is no time-out for that.
        """
        noticed = self.second.log().count(GIVEN_UP)
        self.link.blackhole()
        with suppress(AssertionError):
            return eventually(lambda: self.second.log().count(GIVEN_UP) > noticed, patience=5.0)
        return self.link.reset()


class Trial:
    """Sends, receives and counts.

    Args:
        servers: entered.
        outbox: theirs.
        seed: of the writers.
    """

    def __init__(self, servers: TwoServers, outbox: pgnotify.Outbox, seed: int) -> None:
        self._servers = servers
        self._outbox = outbox
        self._seed = seed
        self._stopping = threading.Event()
        self._failures: list[BaseException] = []
        self._rolled_back = [0] * WRITERS
        self._committed: list[list[str]] = [[] for _ in range(WRITERS)]
        self._billed = 0
        self._archived: list[str] = []
        self._unnamed: list[str] = []
        self._faults: Counter[str] = Counter()

    def run(self, faults: list[str] | None = None, seconds: float = 0.0, between: int = 200) -> Report:
        """Have faults strike while all are at work, and return the outcome.

        Args:
            faults: in this order; None has all of them strike by turns for some seconds.
            seconds: for how long, if so.
            between: how many messages get through before each of them.
        """
        servers = self._servers
        servers.second.sql("CREATE TABLE public.effects (place bigserial PRIMARY KEY, id int8, payload text)")
        listeners = [
            pgnotify.Listener(servers.second.dsn, CHANNEL, outbox=self._outbox, durable=name, backoff=BACKOFF)
            for name in ("billing", "archive", None)
        ]
        for listener in listeners:
            listener.start()
        readers = [
            self._thread(self._bill, listeners[0]),
            self._thread(self._keep, listeners[1], self._archived),
            self._thread(self._keep, listeners[2], self._unnamed),
        ]
        writers = [self._thread(self._write, number) for number in range(WRITERS)]
        try:
            for fault in faults if faults is not None else self._by_turns(seconds):
                self._until_through(between)
                servers.strike(fault)
                self._faults[fault] += 1
            self._until_through(between)
            self._stopping.set()
            _join(writers)
            self._until_all_is_there()
        finally:
            self._stopping.set()
            for listener in listeners:
                listener.stop(PATIENCE)
            _join([*writers, *readers])
        if self._failures:
            raise self._failures[0]
        return self._report()

    def _by_turns(self, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        chance = random.Random(self._seed)
        while time.monotonic() < deadline:
            yield from chance.sample(FAULTS, len(FAULTS))

    def _thread(self, what: Callable[..., None], *args: Any) -> threading.Thread:
        def run() -> None:
            try:
                what(*args)
            except BaseException as error:
                self._failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    # Sending, on the first server.

    def _write(self, number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        counter = 0
        while not self._stopping.is_set():
            lost = suppress(psycopg.Error, pgnotify.ConnectionLost)
            with lost, psycopg.connect(self._servers.first.dsn, autocommit=True) as connection:
                while not self._stopping.wait(chance.uniform(0, 0.04)):  # at the pace of two cores
                    counter = self._transaction(connection, number, counter, chance)
            counter += 1000  # whether the latest ones were sent is not known
            self._stopping.wait(0.05)

    def _transaction(self, connection: Any, number: int, counter: int, chance: random.Random) -> int:
        payloads: list[str] = []
        with suppress(psycopg.Rollback), connection.transaction() as outer:
            for _ in range(chance.randint(1, 6)):
                with connection.transaction() as savepoint:
                    size, count = chance.choice((10, 3000)), chance.randint(1, 20)
                    some = [f"{number}:{counter + n:08}:".ljust(size, "x") for n in range(count)]
                    counter += count
                    self._outbox.notify_many(connection, [(CHANNEL, each) for each in some])
                    if chance.random() < 0.4:
                        self._rolled_back[number] += count
                        raise psycopg.Rollback(savepoint)
                    payloads += some
            if chance.random() < 0.3:
                self._rolled_back[number] += len(payloads)
                payloads.clear()
                raise psycopg.Rollback(outer)
        if not connection.closed:  # psycopg raises nothing if it was lost in the rollback to a savepoint
            self._committed[number] += payloads
        return counter

    # Receiving, on the second one.

    def _bill(self, listener: pgnotify.Listener) -> None:
        with ExitStack() as opened:
            connection: Any = None
            for batch in listener.batches(200):
                with suppress(psycopg.Error, pgnotify.ConnectionLost, pgnotify.Superseded):
                    if connection is None or connection.closed:
                        connection = opened.enter_context(closing(psycopg.connect(self._servers.second.dsn)))
                    with connection.transaction():
                        connection.cursor().executemany(_INSERT, [(each.id, each.payload) for each in batch])
                        batch.acknowledge(connection)
                    self._billed += len(batch)

    def _keep(self, listener: pgnotify.Listener, payloads: list[str]) -> None:
        for message in listener:
            payloads.append(message.payload)

    # Waiting, and counting.

    def _until_through(self, count: int) -> None:
        """Return when so many more messages have come through to all listeners, or one of the threads has failed."""
        before = self._counts()
        try:
            eventually(lambda: self._failures or min(map(operator.sub, self._counts(), before)) >= count)
        except AssertionError:
            last, logs = list(self._faults), (self._servers.first.log(), self._servers.second.log())
            tails = "\n\n".join("\n".join(log.splitlines()[-20:]) for log in logs)
            raise AssertionError(f"{self._counts()} came through, after {before}, {last}\n{tails}") from None

    def _until_all_is_there(self) -> None:
        sent = len(self._sent())
        eventually(lambda: self._failures or min(self._counts()) >= sent, f"all {sent} are through")

    def _counts(self) -> tuple[int, ...]:
        return (self._billed, len(set(self._archived)), len(set(self._unnamed)))

    def _sent(self) -> list[str]:
        return self._servers.first.sql(_SENT).split()

    def _report(self) -> Report:
        sent = self._sent()
        known = {payload for payloads in self._committed for payload in payloads}
        assert known <= set(sent), "the first server has lost what it has committed"
        billed = self._servers.second.sql(_EFFECTS).split()
        accounts = (
            _account("billing", sent, billed),
            _account("archive", sent, self._archived),
            _account("unnamed", sent, self._unnamed),
        )
        return Report(len(sent), sum(self._rolled_back), self._faults, accounts)


def _account(name: str, sent: list[str], got: list[str]) -> Account:
    counted = Counter(got)
    disordered, latest = 0, dict.fromkeys(range(WRITERS), -1)
    for payload in dict.fromkeys(got):
        writer, number, _ = payload.split(":")
        disordered += int(number) < latest[int(writer)]
        latest[int(writer)] = max(latest[int(writer)], int(number))
    return Account(
        name,
        len(got),
        len(set(sent) - counted.keys()),
        counted.total() - len(counted),
        len(counted.keys() - set(sent)),
        disordered,
    )


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread does not end"


def main() -> int:
    """Do as the arguments say; return 1 if anything is lost or doubled."""
    parser = argparse.ArgumentParser("python -m tests.soak.two_servers", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the writers and the faults")
    options = parser.parse_args()
    logging.disable()
    outbox = pgnotify.Outbox()
    with TwoServers(outbox) as servers:
        report = Trial(servers, outbox, options.seed).run(seconds=options.minutes * 60)
    holds = is_kept(report)
    sys.stdout.write(
        f"seed {options.seed}\n{report}\n{'all is accounted for' if holds else 'NOT all is accounted for'}\n"
    )
    return not holds


def is_kept(report: Report) -> bool:
    """Whether the promise was kept: nothing is lost, and nothing doubled but where that is not promised."""
    return all(
        not (account.missing or account.unsent or account.disordered or (account.doubled and account.name != "archive"))
        for account in report.accounts
    )


if __name__ == "__main__":
    sys.exit(main())
