"""Two processes of one durable name: the second takes over, and what the first one acknowledges late is refused."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

import pgnotify
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from tests.helpers.play_outbox import Reader
from tests.helpers.pooler import NOT_INSTALLED, PgBouncer, find_pgbouncer
from tests.helpers.recorded import Recorded
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = pytest.mark.drivers("psycopg")

OUTBOX = pgnotify.Outbox()

PROCESS = textwrap.dedent("""
    import sys, psycopg, pgnotify
    dsn, channel, name = sys.argv[1:]
    listener = pgnotify.Listener(dsn, channel, outbox=pgnotify.Outbox(), durable=name, start="all", driver="psycopg")
    with listener:
        for batch in listener.batches():
            print(*[message.payload for message in batch], flush=True)
            sys.stdin.readline()
            with psycopg.connect(dsn) as connection:
                try:
                    batch.acknowledge(connection)
                    print("acknowledged", flush=True)
                except pgnotify.Superseded:
                    print("superseded", flush=True)
            break
""")


@pytest.fixture(scope="module")
def server() -> Iterator[TemporaryPostgreSQL]:
    try:
        started = TemporaryPostgreSQL()
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with started, psycopg.connect(started.dsn, autocommit=True) as connection:
        connection.execute(OUTBOX.install_sql())
        yield started


@pytest.fixture
def sender(server) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def first(server, sender, channel) -> Iterator[subprocess.Popen[str]]:
    """A process that has got two messages under the name of the channel, and has not acknowledged them."""
    OUTBOX.notify_many(sender, [(channel, "one"), (channel, "two")])
    command = [sys.executable, "-c", PROCESS, server.dsn, channel, channel]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one two\n"
        yield process
        process.kill()


def test_the_second_process_takes_over_when_the_first_one_is_killed(server, first, channel):
    with Recorded(server.dsn, channel, driver="psycopg", outbox=OUTBOX, durable=channel).start() as second:
        eventually(lambda: second.status.standing_by)
        first.kill()

        eventually(lambda: second.payloads == ["one", "two"])


def test_what_the_first_process_acknowledges_after_that_is_refused(server, sender, first, channel):
    new = Reader(OUTBOX, server.dsn, [channel], channel)
    new.reading.in_batches_of(500)
    assert new.step() == []
    sender.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
    messages: list[Any] = []

    def has_taken_over() -> bool:
        messages[:] = new.step()
        return bool(messages)

    eventually(has_taken_over)
    first.stdin.write("\n")
    first.stdin.flush()

    assert first.stdout.readline() == "superseded\n"
    assert [message.payload for message in messages] == ["one", "two"]
    with psycopg.connect(server.dsn) as connection:
        new.reading.batch(messages).acknowledge(connection)
    new.lose()


def test_another_process_comes_to_stand_by_while_a_batch_is_acknowledged(server, sender, channel):
    OUTBOX.notify(sender, channel, "one")
    active, other = (Reader(OUTBOX, server.dsn, [channel], channel, start="all") for _ in range(2))
    active.reading.in_batches_of(1)
    batch = active.reading.batch(active.step())
    with psycopg.connect(server.dsn) as connection:
        batch.acknowledge(connection)
        with ThreadPoolExecutor(1) as executor:
            try:
                assert executor.submit(other.step).result(PATIENCE) == []
            finally:
                connection.rollback()

    assert other.reading.stands_by
    active.lose()
    other.lose()


def test_a_read_that_waits_for_an_acknowledgement_goes_on_after_it(server, sender, channel):
    old, new = (Reader(OUTBOX, server.dsn, [channel], channel, pooled=True) for _ in range(2))
    for each in (old, new):
        each.reading.in_batches_of(1)
        assert each.step() == []
    OUTBOX.notify_many(sender, [(channel, "one"), (channel, "two")])
    batch = old.reading.batch(old.step())
    with ThreadPoolExecutor(1) as executor, psycopg.connect(server.dsn) as connection:
        batch.acknowledge(connection)
        reading = executor.submit(new.step)
        eventually(lambda: sender.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall())
        connection.commit()
        assert reading.result() == []  # what it has read is no longer unread

    assert [message.payload for message in new.step()] == ["two"]
    old.lose()
    new.lose()


@pytest.mark.skipif(find_pgbouncer() is None, reason=NOT_INSTALLED)
def test_behind_a_transaction_pooler_all_get_everything(server, sender, channel):
    with (
        PgBouncer(server.address, "transaction") as pooler,
        Recorded(pooler.dsn, channel, driver="psycopg", outbox=OUTBOX, durable=channel).start() as one,
        Recorded(pooler.dsn, channel, driver="psycopg", outbox=OUTBOX, durable=channel).start() as other,
        Recorded(pooler.dsn, channel, driver="psycopg", outbox=OUTBOX).start() as unnamed,
    ):
        expected = [str(number) for number in range(1200)]
        OUTBOX.notify_many(sender, [(channel, payload) for payload in expected])

        eventually(lambda: set(expected) <= {*one.payloads, *other.payloads})
        eventually(lambda: len(unnamed.payloads) >= len(expected))
        OUTBOX.notify(sender, channel, "last")
        eventually(lambda: "last" in unnamed.payloads)

        assert Counter(unnamed.payloads) == Counter([*expected, "last"])
