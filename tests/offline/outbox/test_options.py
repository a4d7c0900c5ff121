"""The options of a listener that are about an outbox: what is refused at once, and with which remedy."""

from __future__ import annotations

import asyncio

import pytest

import pgnotify
from pgnotify import AsyncListener, Outbox, OutboxError
from pgnotify.testing.memory import MemoryServer
from tests.helpers.listener_fronts import Listener, both_fronts


def nowhere():
    """Stand in for a function that connects, without any driver."""
    raise OSError("nowhere")


class FiveVerbs(pgnotify.Backend):
    """A backend that offers only what it must."""

    def __init__(self, connection):
        for verb in ("listen", "unlisten", "wait", "fetch", "notify", "close"):
            setattr(self, verb, getattr(connection, verb))


class AsyncFiveVerbs(pgnotify.AsyncBackend):
    """The same for an event loop."""


@pytest.fixture
def server():
    with MemoryServer() as server:
        yield server


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"durable": "x"}, TypeError, r"durable needs an outbox: pass outbox=pgnotify\.Outbox\(\), too"),
        ({"start": "all"}, TypeError, r"start needs an outbox: pass outbox=pgnotify\.Outbox\(\), too"),
        ({"outbox": "pgnotify_outbox"}, TypeError, r"outbox must be a pgnotify\.Outbox, not str"),
        ({"outbox": Outbox}, TypeError, r"outbox must be a pgnotify\.Outbox, not the class Outbox"),
        ({"outbox": Outbox(), "start": "old"}, ValueError, "start must be 'new' or 'all', not 'old'"),
        ({"outbox": Outbox(), "start": None}, ValueError, "start must be 'new' or 'all', not None"),
        ({"outbox": Outbox(), "durable": ""}, ValueError, "durable"),
        ({"outbox": Outbox(), "durable": "x" * 64}, ValueError, "has 64 bytes, PostgreSQL keeps 63"),
        ({"outbox": Outbox(), "durable": "x\0"}, ValueError, "NUL"),
        ({"outbox": Outbox(), "durable": 7}, TypeError, "durable must be a str, not int"),
    ],
    ids=str,
)
@both_fronts
def test_what_makes_no_sense_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        Listener(nowhere, "jobs", **options)


@both_fronts
def test_a_connection_without_queries_is_refused_at_once(server):
    with pytest.raises(
        OutboxError, match=r"FiveVerbs does not offer query\(\), which an outbox needs: use another driver"
    ):
        Listener(FiveVerbs(server.connect()), "jobs", outbox=Outbox())


@both_fronts
def test_a_driver_without_queries_is_refused_at_the_first_connection(server):
    listener = Listener(lambda: FiveVerbs(server.connect()), "jobs", outbox=Outbox(), durable="x")

    with pytest.raises(OutboxError, match=r"does not offer query(\(\))?, which an outbox needs: use another driver"):
        listener.start()


def test_an_asynchronous_connection_without_queries_is_refused_at_once(server):
    async def main():
        AsyncListener(AsyncFiveVerbs(), "jobs", outbox=Outbox())

    with pytest.raises(OutboxError, match=r"FiveVerbs does not offer query\(\), which an outbox needs"):
        asyncio.run(main())


@both_fronts
def test_batches_need_a_durable_name_and_no_other_consumers():
    with pytest.raises(TypeError, match=r"batches\(\) needs an outbox"):
        Listener(nowhere, "jobs").batches()
    with pytest.raises(TypeError, match="pass durable="):
        Listener(nowhere, "jobs", outbox=Outbox()).batches()
    listener = Listener(nowhere, "jobs", outbox=Outbox(), durable="x")
    with pytest.raises(ValueError, match="size"):
        listener.batches(0)
    listener.subscribe("jobs", print)
    with pytest.raises(RuntimeError, match="cancel the subscriptions"):
        listener.batches()


@both_fronts
def test_a_repr_shows_the_durable_name():
    listener = Listener(nowhere, "jobs", outbox=Outbox(), durable="billing")

    assert repr(listener).startswith("<Listener 'pgnotify' idle: 'jobs' as 'billing' on ")
