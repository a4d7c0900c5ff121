"""The ways to listen that are compared: one function each, in the module of its driver.

Each way opens a connection, sends its LISTENs, and returns its loop. The loop calls back with a
dict of pid, event and extra for each notification, and ends after one on the stop channel. So all
of them do the same work with each notification. They differ in how the notification gets there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from benchmarks.ways import asyncpg, ours, ours_async, pg8000, psycopg, psycopg2, pygresql, streams
from pgnotify import registry
from pgnotify.testing.address import Address
from tests.kinds import FIRST, KINDS

Group = Literal["ours", "by hand", "own way", "limit"]
Section = Literal["blocking", "asyncio", "streams"]
Loop = Callable[[Callable[[Any], object]], None]
Prepare = Callable[[Address, Sequence[str], str], Loop]
"""Connects, listens to the channels and to the stop channel, and returns the loop."""


class Way(NamedTuple):
    """A way to listen."""

    name: str
    group: Group
    driver: str
    """The distribution that makes the connection."""
    connection: str
    """The kind of connection, in the words of tests/kinds.py."""
    modules: tuple[str, ...]
    """Modules that must be importable."""
    prepare: Prepare | None
    """None for a way that is not written in Python."""
    section: Section = "blocking"
    """``"asyncio"`` for those on an event loop, and ``"streams"`` for those that have many consumers there."""

    @property
    def absent(self) -> str | None:
        """Why it cannot be measured here, or None."""
        missing = [module for module in self.modules if importlib.util.find_spec(module) is None]
        return f"{', '.join(missing)} not installed" if missing else None


HANDLERS = tuple(
    Way(f"handler, {kind.name}", "ours", kind.driver, kind.name, kind.modules, ours.handler(kind)) for kind in KINDS
)
"""The documented handler, on every kind of connection."""
MANY_CHANNELS = tuple(kind.name for kind in FIRST.values() if kind.driver in registry.DRIVERS)
FETCHING = tuple(
    Way(f"fetch, {kind.name}", "ours", kind.driver, kind.name, kind.modules, ours.fetch(kind))
    for kind in KINDS
    if kind.name in MANY_CHANNELS
)
"""`wait` and `fetch` of a `pgnotify.Connection`, which listens to any number of channels."""
LISTENING = tuple(
    Way(f"{name}, {kind.name}", "ours", kind.driver, kind.name, kind.modules, prepared(kind))
    for kind in KINDS
    if kind.name in MANY_CHANNELS
    for name, prepared in (("Listener, iterated", ours.listener), ("Listener.run", ours.listener_run))
)
"""The Listener, which reconnects: iterated over in the reading thread, and with callbacks there."""
ASYNC = tuple(
    Way(f"{name}, {kind.name}", "ours", kind.driver, kind.name, kind.modules, prepared(kind), "asyncio")
    for kind in ours_async.KINDS
    for name, prepared in (
        ("async handler", ours_async.handler),
        ("async handler, coroutine", ours_async.handler_awaiting),
        ("AsyncListener, iterated", ours_async.listener),
        ("AsyncListener.subscribe", ours_async.subscribe),
        ("AsyncListener.subscribe, coroutine", ours_async.subscribe_awaiting),
    )
)
"""The documented handler, and the Listener, on an event loop: with functions, coroutine functions and `async for`."""
ALTERNATIVES = (
    Way("pgconn loop, psycopg", "by hand", "psycopg", "psycopg", ("psycopg",), psycopg.pgconn_loop),
    Way("notifies(), psycopg", "own way", "psycopg", "psycopg", ("psycopg",), psycopg.notifies),
    Way(
        "async notifies(), psycopg_async",
        "own way",
        "psycopg",
        "psycopg_async",
        ("psycopg",),
        psycopg.async_notifies,
        "asyncio",
    ),
    Way("poll and swap, psycopg2", "by hand", "psycopg2", "psycopg2", ("psycopg2",), psycopg2.poll_and_swap),
    Way("select-and-poll recipe, psycopg2", "own way", "psycopg2", "psycopg2", ("psycopg2",), psycopg2.recipe),
    Way("getnotify loop, pg", "by hand", "pygresql", "pg", ("pg",), pygresql.getnotify_loop),
    Way("getnotify loop, pgdb", "by hand", "pygresql", "pgdb", ("pgdb",), pygresql.getnotify_loop_of_pgdb),
    Way("PyGreSQL's handler, pg", "own way", "pygresql", "pg", ("pg",), pygresql.own_handler),
    Way("bulk parse, pg8000.native", "by hand", "pg8000", "pg8000.native", ("pg8000",), pg8000.bulk_parse),
    Way("query per wake-up, pg8000.native", "own way", "pg8000", "pg8000.native", ("pg8000",), pg8000.query_per_wakeup),
    Way("add_listener, asyncpg", "own way", "asyncpg", "asyncpg", ("asyncpg",), asyncpg.add_listener, "asyncio"),
    Way(
        "add_listener, coroutine, asyncpg",
        "own way",
        "asyncpg",
        "asyncpg",
        ("asyncpg",),
        asyncpg.add_coroutine_listener,
        "asyncio",
    ),
)
STREAMS = (
    *(
        Way(
            f"subscription(), {kind.name}",
            "ours",
            kind.driver,
            kind.name,
            kind.modules,
            streams.subscriptions(kind),
            "streams",
        )
        for kind in ours_async.KINDS
        if kind.name in ("psycopg", "asyncpg")
    ),
    Way("dict of queues, asyncpg", "by hand", "asyncpg", "asyncpg", ("asyncpg",), streams.queues, "streams"),
    Way(
        "sse-starlette, asyncpg",
        "own way",
        "asyncpg",
        "asyncpg",
        ("asyncpg", "sse_starlette"),
        streams.sse_starlette,
        "streams",
    ),
)
"""Many consumers on one event loop, each with a queue of its own."""
C = Way("C, libpq", "limit", "libpq", "libpq", (), None)
"""A program in C, as the limit."""

DRIVERS = (*FIRST, "asyncpg", "libpq")
WAYS = tuple(
    way
    for driver in DRIVERS
    for way in (*HANDLERS, *FETCHING, *LISTENING, *ASYNC, *ALTERNATIVES, *STREAMS, C)
    if way.driver == driver
)
"""All ways, in the order of the tables."""
