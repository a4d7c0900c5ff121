"""Whatever the order of commits, reads, losses and take-overs: each reader of an outbox gets each message.

The oracle is a list of what was committed.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import pgnotify
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from tests.helpers.play_outbox import Losing, Reader, small_outbox

pytestmark = pytest.mark.drivers("psycopg")

WRITERS = 3
CHANNELS = ("a", "b")
LOSSES = st.builds(Losing, st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 6, 7]), st.booleans())
ENDS = ("go on", "go on", "commit", "commit", "commit", "roll back", "savepoint", "roll back to", "prepare")
WRITE = {
    "which": st.integers(0, WRITERS - 1),
    "channels": st.lists(st.sampled_from(CHANNELS), max_size=8),
    "then": st.sampled_from(ENDS),
}
numbers = itertools.count(1)


class Sent(NamedTuple):
    """A message of a transaction."""

    channel: str
    payload: str
    before: int
    """How many messages were committed when it was sent."""


class Writer:
    """A session that sends, and what its transaction has sent, in parts between savepoints."""

    def __init__(self, dsn: str, asynchronous: bool) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.connection.execute(f"SET synchronous_commit = {'off' if asynchronous else 'on'}")
        self.parts: list[list[Sent]] = []
        """Empty if there is no transaction."""

    def begin(self) -> None:
        """Begin a transaction that has an id, unless there is one."""
        if not self.parts:
            self.connection.execute("BEGIN")
            self.connection.execute("SELECT pg_current_xact_id()")
            self.parts.append([])

    def savepoint(self) -> None:
        self.connection.execute(f"SAVEPOINT s{len(self.parts)}")
        self.parts.append([])

    def roll_back_to_savepoint(self) -> None:
        if len(self.parts) > 1:
            self.parts.pop()
            self.connection.execute(f"ROLLBACK TO s{len(self.parts)}; RELEASE s{len(self.parts)}")

    def end(self, statement: str) -> list[Sent]:
        """End the transaction; return what it has sent."""
        parts, self.parts = self.parts, []
        self.connection.execute(statement)
        return [sent for part in parts for sent in part]


class Interleavings(RuleBasedStateMachine):
    """Writers and readers of one outbox."""

    dsn: str
    writers: list[Writer]

    @initialize(
        small=st.booleans(),
        pooled=st.booleans(),
        writes=st.lists(st.fixed_dictionaries(WRITE), min_size=4, max_size=12),
    )
    def begin(self, small: bool, pooled: bool, writes: list[dict[str, Any]]) -> None:
        self.number = next(numbers)
        self.admin = psycopg.connect(self.dsn, autocommit=True)
        name = f"outbox_{self.number}"
        self.outbox = small_outbox(name) if small else pgnotify.Outbox(name)
        self.admin.execute(self.outbox.install_sql())
        # A transaction that has notified cannot be prepared.
        self.admin.execute(f"ALTER TABLE {name} DISABLE TRIGGER hint")
        self.admin.execute(f"CREATE TABLE effects_{self.number} (payload text)")
        self.user = psycopg.connect(self.dsn)
        self.committed: list[Sent] = []
        self.prepared: dict[str, list[Sent]] = {}
        self.once: list[str] = []
        """The effects of the name that acknowledges in its transactions."""
        self.named: list[str] = []
        self.unnamed: list[str] = []
        # Two processes, and nothing keeps one from reading while the other does.
        self.pair = [self._reader("once", pooled=True) for _ in range(2)]
        self.batches: list[Any] = []
        self.reader = self._reader("named")
        self.lasting = Reader(self.outbox, self.dsn, CHANNELS, None, pooled=pooled)
        for reader in (*self.pair, self.reader, self.lasting):
            assert reader.step() == []
        for write in writes:  # hypothesis leaves out some rules in each run, and nothing happens without messages
            self.write(**write)

    def _reader(self, durable: str | None, pooled: bool = False) -> Reader:
        # The pair gets one of the two channels only: those of the other one lie between its messages.
        reader = Reader(self.outbox, self.dsn, CHANNELS[:1] if pooled else CHANNELS, durable, pooled)
        if pooled:
            reader.reading.in_batches_of(500)
        return reader

    # Writers. Few rules with many cases: hypothesis leaves out some rules in each run.

    @rule(**WRITE)
    def write(self, which: int, channels: list[str], then: str) -> None:
        """Send messages, or take a transaction id only; then end the transaction, or a part of it, or go on."""
        writer = self.writers[which]
        writer.begin()
        sent = [Sent(channel, str(next(numbers)), len(self.committed)) for channel in channels]
        self.outbox.notify_many(writer.connection, [(each.channel, each.payload) for each in sent])
        writer.parts[-1] += sent
        self._end(writer, then)

    def _end(self, writer: Writer, how: str) -> None:
        if how == "commit":
            self.committed += writer.end("COMMIT")
        elif how == "roll back":
            writer.end("ROLLBACK")
        elif how == "savepoint":
            writer.savepoint()
        elif how == "roll back to":
            writer.roll_back_to_savepoint()
        elif how == "prepare" and len(self.prepared) < 10:
            name = f"t{next(numbers)}"
            self.prepared[name] = writer.end(f"PREPARE TRANSACTION '{name}'")

    @precondition(lambda self: self.prepared)
    @rule(data=st.data(), commits=st.booleans())
    def end_prepared(self, data: Any, commits: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.prepared)))
        sent = self.prepared.pop(name)
        self.admin.execute(f"{'COMMIT' if commits else 'ROLLBACK'} PREPARED '{name}'")
        if commits:
            self.committed += sent

    @rule()
    def remove_what_all_have(self) -> None:
        """Delete messages, as retention does."""
        everywhere = {each.payload for each in self.committed if each.channel != CHANNELS[0]} | set(self.once)
        everywhere &= set(self.named) & set(self.unnamed)
        self.admin.execute(f"DELETE FROM outbox_{self.number} WHERE payload = ANY (%s)", [list(everywhere)])

    # Readers.

    @rule(which=st.integers(0, 1), size=st.integers(1, 5), losing=LOSSES, then=st.sampled_from(["commit", "", "later"]))
    def read_a_batch(self, which: int, size: int, losing: Losing, then: str) -> None:
        """Read one, and process it in a transaction; or the others of the pair read first, or this one again."""
        reader = self.pair[which]
        reader.reading.limit = size
        if messages := reader.step(losing):
            self.batches.append(reader.reading.batch(messages))
            if then != "later":
                self._process(self.batches[-1], commits=then == "commit")

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), commits=st.booleans())
    def process_a_batch(self, data: Any, commits: bool) -> None:
        """Process the latest batch, or one that another reader has superseded, or one a second time."""
        which = data.draw(st.integers(max(0, len(self.batches) - 3), len(self.batches) - 1))
        self._process(self.batches[which], commits)

    def _process(self, batch: Any, commits: bool) -> None:
        payloads = [message.payload for message in batch]
        self.user.execute(f"INSERT INTO effects_{self.number} SELECT unnest(%s::text[])", [payloads])
        try:
            batch.acknowledge(self.user)
        except pgnotify.Superseded:
            event("superseded")
            commits = False
        if commits:
            self.user.commit()
            self.once += payloads
        else:
            self.user.rollback()

    @rule(which=st.integers(0, 1))
    def restart_a_reader_of_the_pair(self, which: int) -> None:
        self.pair[which].lose()
        self.pair[which] = self._reader("once", pooled=True)

    @rule(size=st.integers(1, 5), losing=LOSSES, done=st.integers(0, 5))
    def read_as_named(self, size: int, losing: Losing, done: int) -> None:
        """Read, and be done with some of it: with the others at the next read, or never."""
        self.reader.left.clear()
        self.reader.reading.limit = size
        messages = self.reader.step(losing)
        self.named += [message.payload for message in messages[:done]]
        self._rest = messages[done:]
        if self._rest:
            self.reader.left = {message.id for message in self._rest}
            self._leave_or_finish(done % 2 == 0, losing)

    def _leave_or_finish(self, leaves: bool, losing: Losing) -> None:
        if leaves:
            event("left with messages")
            self.reader.leave(losing)
            self.reader = self._reader("named")
        else:
            self.named += [message.payload for message in self._rest]
            self.reader.left.clear()

    @rule(size=st.integers(1, 5), losing=LOSSES, loses=st.booleans())
    def read_without_a_name(self, size: int, losing: Losing, loses: bool) -> None:
        self.lasting.reading.limit = size
        self.unnamed += [message.payload for message in self.lasting.step(losing)]
        if loses:
            self.lasting.lose()

    # The end.

    def teardown(self) -> None:
        if not hasattr(self, "lasting"):
            return
        for writer in self.writers:
            if writer.parts:
                self.committed += writer.end("COMMIT")
        for name, sent in self.prepared.items():
            self.admin.execute(f"COMMIT PREPARED '{name}'")
            self.committed += sent
        try:
            self._read_the_rest()
            self._judge()
        finally:
            for reader in (*self.pair, self.reader, self.lasting):
                reader.lose()
            self.user.close()
            self.admin.execute(self.outbox.uninstall_sql())
            self.admin.execute(f"DROP TABLE effects_{self.number}")
            self.admin.close()

    def _read_the_rest(self) -> None:
        self.user.rollback()
        for reader in (*self.pair, self.reader, self.lasting):
            reader.left.clear()
            reader.reading.limit = 5
        while (messages := self.pair[0].step()) or self.pair[0].is_due:
            if messages:
                self._process(self.pair[0].reading.batch(messages), commits=True)
        for reader, got in ((self.reader, self.named), (self.lasting, self.unnamed)):
            while (messages := reader.step()) or reader.is_due:
                got += [message.payload for message in messages]

    def _judge(self) -> None:
        sent = {each.payload for each in self.committed}
        event(f"messages: {len(sent) // 10 * 10} and more")
        effects = self.admin.execute(f"SELECT payload FROM effects_{self.number}").fetchall()
        assert Counter(payload for (payload,) in effects) == Counter(
            each.payload for each in self.committed if each.channel == CHANNELS[0]
        )
        assert set(self.named) == sent
        assert Counter(self.unnamed) == Counter(sent)
        for got in (self.once, self.named, self.unnamed):
            self._judge_order(list(dict.fromkeys(got)))

    def _judge_order(self, got: list[str]) -> None:
        """Nothing comes before what its sender had seen, and a sender's own messages come in order."""
        place = {payload: number for number, payload in enumerate(got)}
        latest = [-1]
        for each in self.committed:
            latest.append(max(latest[-1], place.get(each.payload, -1)))
        for each in self.committed:
            assert each.payload not in place or place[each.payload] > latest[each.before]


class InOrder(Interleavings):
    """The same, and a transaction's messages are in order."""

    def _judge_order(self, got: list[str]) -> None:
        super()._judge_order(got)
        place = {payload: number for number, payload in enumerate(got)}
        # Payloads are numbers, and `committed` has each transaction as a whole.
        for first, second in itertools.pairwise(self.committed):
            if {first.payload, second.payload} <= place.keys() and int(first.payload) + 1 == int(second.payload):
                assert place[first.payload] < place[second.payload]


@pytest.fixture(scope="module")
def server() -> Iterator[TemporaryPostgreSQL]:
    """A server that can prepare transactions."""
    try:
        started = TemporaryPostgreSQL(settings={"max_prepared_transactions": 20})
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with started:
        yield started


def play(dsn: str, examples: int, steps: int) -> None:
    """Play some interleavings."""
    writers = [Writer(dsn, asynchronous=number > 0) for number in range(WRITERS)]
    machine = type("Machine", (InOrder,), {"dsn": dsn, "writers": writers})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_each_reader_gets_each_message_whatever_happens(server):
    play(server.dsn, examples=6, steps=30)
