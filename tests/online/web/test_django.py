"""Django under ASGI, and its connections, which belong to a thread, on an event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import pgnotify
from pgnotify.testing._wire import Session
from tests import kinds
from tests.helpers.waiting import PATIENCE
from tests.helpers.web import EventStream, WebServer
from tests.kinds import Address

pytest.importorskip("django")

[DJANGO] = (kind for kind in kinds.KINDS if kind.name == "django")


@pytest.fixture
def django(address: Address) -> Any:
    """A connection of Django's that is not open."""
    return DJANGO.connect(address)


def test_a_view_streams_until_a_gap_and_until_the_server_ends(address: Address, session: Session):
    async def listen(server: WebServer) -> str:
        client = await EventStream.open(server.port, "/events/orders")
        assert await client.take() == "event: listening\ndata: read now"
        session.notify("orders", "42")
        assert await client.take() == "data: 42"

        [(pid,)] = session.sql(
            "SELECT pid FROM pg_catalog.pg_stat_activity "
            "WHERE query OPERATOR(pg_catalog.=) 'LISTEN \"orders\"' AND pid OPERATOR(pg_catalog.<>) "
            "pg_catalog.pg_backend_pid()"
        )
        session.terminate(int(pid or 0))
        assert await client.take() is None

        client = await EventStream.open(server.port, "/events/orders")
        assert await client.take() == "event: listening\ndata: read now"
        ending = asyncio.create_task(asyncio.to_thread(server.terminate))
        assert await client.take() is None
        return await ending

    with WebServer("with_django:application", address) as server:
        log = asyncio.run(asyncio.wait_for(listen(server), PATIENCE))

    assert "Finished server process" in log
    assert "ERROR" not in log


def test_a_handler_works_on_an_open_connection(django: Any, channel: str):
    received = []

    async def use() -> None:
        handler = pgnotify.AsyncNotificationHandler(
            django, channel, lambda arg_dict: received.append(arg_dict["extra"])
        )
        await handler.listen()
        await handler.notify(payload="its own")
        await pgnotify.notify_async(django, channel, "beside it")
        await handler.notify(stop=True, payload="stop")
        await handler()
        await handler.close()

    django.ensure_connection()
    asyncio.run(asyncio.wait_for(use(), PATIENCE))

    assert received == ["its own", "beside it", "stop"]
    assert django.connection is None


@pytest.mark.parametrize("front", ["handler", "listener", "notify_async"])
def test_a_connection_that_is_not_open_is_refused_where_django_opens_none(django: Any, front: str):
    async def use() -> None:
        if front == "handler":
            pgnotify.AsyncNotificationHandler(django, "jobs", print)
        elif front == "listener":
            pgnotify.AsyncListener(django, "jobs")
        else:
            await pgnotify.notify_async(django, "jobs")

    with pytest.raises(RuntimeError, match=r"'default' is not open in this thread.* connections\.create_connection"):
        asyncio.run(use())


def test_a_listener_has_a_function_open_its_connections_in_a_thread(address: Address, session: Session, channel: str):
    async def use() -> list[str]:
        async with pgnotify.AsyncListener(lambda: DJANGO.connect(address), channel) as listener:
            assert (await listener.probe()).delivering == "yes"
            session.notify(channel, "it's there")
            return [notification.payload async for notification in listener.notifications(stop_after=1)]

    assert asyncio.run(asyncio.wait_for(use(), PATIENCE)) == ["it's there"]


def test_a_database_that_is_not_there_is_djangos_error(address: Address):
    async def use() -> None:
        await pgnotify.AsyncListener(lambda: DJANGO.connect(address._replace(database="absent"))).start()

    from django.db import OperationalError

    with pytest.raises(OperationalError, match="absent"):
        asyncio.run(asyncio.wait_for(use(), PATIENCE))
