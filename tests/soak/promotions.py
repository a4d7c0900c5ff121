"""An asynchronous standby is promoted while a reader of the old primary has a batch, which it acknowledges late."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from contextlib import suppress
from typing import Any

import psycopg

import pgnotify
from pgnotify.message import Batch
from pgnotify.testing import TemporaryPostgreSQL
from tests.helpers.play_outbox import Reader
from tests.helpers.standby import Standby
from tests.helpers.waiting import eventually

CHANNELS = ("orders",)


def promote_one(seed: int) -> int:
    """Promote a standby, which may lack some of the latest transactions; return how many late batches were refused.

    A message that the new primary has got has its effect there exactly once, or was acknowledged before.
    """
    chance = random.Random(seed)
    outbox = pgnotify.Outbox()
    with TemporaryPostgreSQL() as primary:
        _run(primary, outbox.install_sql(), "CREATE TABLE effects (payload text)")
        old = Reader(outbox, primary.dsn, CHANNELS, "billing")
        old.reading.in_batches_of(4)
        old.step()
        with Standby(primary) as standby:
            numbers = iter(range(1, 1000))
            _send(outbox, primary, [str(next(numbers)) for _ in range(10)])
            _process(old.reading.batch(old.step()), primary)
            eventually(standby.caught_up)
            sender = _wal_sender(primary) if chance.random() < 0.6 else None
            if sender is not None:
                os.kill(sender, signal.SIGSTOP)  # from now on, the standby gets nothing
            held = old.reading.batch(old.step())
            for _ in range(chance.randint(0, 2)):
                _process(held, primary)
                _send(outbox, primary, [str(next(numbers)) for _ in range(chance.randint(1, 6))])
                held = old.reading.batch(old.step())
            if sender is None:
                eventually(standby.caught_up)
            old.lose()
            primary.kill()
            standby.promote()
            refused = _go_on(outbox, standby, held, chance, [str(next(numbers)) for _ in range(5)])
            _judge(standby)
    return refused


def _go_on(
    outbox: pgnotify.Outbox, server: TemporaryPostgreSQL, held: Batch, chance: random.Random, later: list[str]
) -> int:
    refused = 0
    acknowledges_at = chance.randint(-1, 2)
    new = Reader(outbox, server.dsn, CHANNELS, "billing")
    new.reading.in_batches_of(4)
    _send(outbox, server, later)
    if acknowledges_at < 0:  # perhaps it is the first to read there
        refused += not _process(held, server)
    number = 0
    while (messages := new.step()) or new.is_due or number <= acknowledges_at:
        if number == acknowledges_at:  # the reader of the old primary comes late, perhaps while another one has a batch
            refused += not _process(held, server)
        if messages:
            _process(new.reading.batch(messages), server)
        number += 1
    new.lose()
    return refused


def _judge(server: TemporaryPostgreSQL) -> None:
    with psycopg.connect(server.dsn) as connection:
        effects = Counter(payload for (payload,) in connection.execute("SELECT payload FROM effects"))
        stored = {payload for (payload,) in connection.execute("SELECT payload FROM pgnotify_outbox")}
    assert stored <= effects.keys(), f"missing: {stored - effects.keys()}"
    assert max(effects.values()) == 1, f"doubled: {effects}"


def _process(batch: Any, server: TemporaryPostgreSQL) -> bool:
    """Write the effects of a batch, and acknowledge it in the same transaction; return whether that was accepted."""
    with suppress(pgnotify.Superseded), psycopg.connect(server.dsn) as connection:
        connection.execute("INSERT INTO effects SELECT unnest(%s::text[])", [[message.payload for message in batch]])
        batch.acknowledge(connection)
        return True
    return False


def _send(outbox: pgnotify.Outbox, server: TemporaryPostgreSQL, payloads: list[str]) -> None:
    with psycopg.connect(server.dsn) as connection:
        for payload in payloads:
            outbox.notify(connection, "orders", payload)


def _run(server: TemporaryPostgreSQL, *statements: str) -> None:
    with psycopg.connect(server.dsn) as connection:
        for statement in statements:
            connection.execute(statement)


def _wal_sender(primary: TemporaryPostgreSQL) -> int:
    """Return the process of the primary that sends the log to the standby."""
    with psycopg.connect(primary.dsn) as connection:
        ((pid,),) = connection.execute("SELECT pid FROM pg_stat_replication").fetchall()
    return int(pid)
