"""Server-sent events, as the example for Starlette streams them: to 500 clients, and to a browser."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from pathlib import Path

import pytest

import pgnotify
from pgnotify.testing._wire import Session
from tests.helpers import browser
from tests.helpers.waiting import PATIENCE, eventually
from tests.helpers.web import EventStream, WebServer, example
from tests.kinds import Address
from tests.online.web.conftest import Room

CLIENTS, ROOMS, MESSAGES = 500, 50, 10
LISTENING = "event: listening\ndata: read now"
GAP = re.compile(r"retry: \d+\nevent: gap\ndata: connection lost")


def listeners(session: Session, column: str) -> str:
    """Return a column of the listener's session in pg_stat_activity."""
    [(value,)] = session.sql(
        f"SELECT {column} FROM pg_catalog.pg_stat_activity "
        "WHERE application_name OPERATOR(pg_catalog.=) 'server-sent events'"
    )
    return str(value)


def lose_connection(session: Session) -> None:
    """End the session of the listener."""
    session.terminate(int(listeners(session, "pid")))


async def opened(server: WebServer) -> list[EventStream]:
    """Return the clients, when LISTEN is in force for all of them."""
    paths = (f"/rooms/{number % ROOMS}/events" for number in range(CLIENTS))
    clients = await asyncio.gather(*(EventStream.open(server.port, path) for path in paths))
    assert {await client.take() for client in clients} == {LISTENING}
    return clients


def test_500_clients_get_their_rooms_messages_the_gap_and_the_end(address: Address, session: Session):
    async def listen(server: WebServer) -> str:
        clients = await opened(server)
        for room in range(ROOMS):
            session.notify_all(f"room:{room}", (f"{number}\nof {room}" for number in range(MESSAGES)))
        for number, client in enumerate(clients):
            for message in range(MESSAGES):
                assert await client.take() == f"event: message\ndata: {message}\ndata: of {number % ROOMS}"

        lose_connection(session)
        for client in clients:
            assert GAP.fullmatch(await client.take() or "")
            assert await client.take() is None

        clients = await opened(server)
        ending = asyncio.create_task(asyncio.to_thread(server.terminate))
        assert {await client.take() for client in clients} == {None}
        return await ending

    with WebServer("with_starlette:app", address) as server:
        log = asyncio.run(asyncio.wait_for(listen(server), PATIENCE))

    assert "Finished server process" in log
    assert "ERROR" not in log


def test_a_client_that_is_gone_is_listened_for_no_longer(address: Address, session: Session):
    async def come_and_go(server: WebServer) -> None:
        client = await EventStream.open(server.port, "/rooms/lonely/events")
        assert await client.take() == LISTENING
        client.abort()

    with WebServer("with_starlette:app", address) as server:
        asyncio.run(come_and_go(server))

        eventually(lambda: listeners(session, "query") == 'UNLISTEN "room:lonely"')


def test_a_silent_stream_is_kept_open_by_comments(address: Address, monkeypatch: pytest.MonkeyPatch):
    sse = example("web/with_starlette.py")
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.01)

    async def listen() -> list[str]:
        listener = pgnotify.AsyncListener(address.dsn)
        async with listener, aclosing(sse._events(listener, "room:7")) as stream:
            return [await anext(stream) for _ in range(3)]

    begin, *comments = asyncio.run(listen())

    assert begin.startswith("event: listening\n")
    assert all(comment.startswith(": ") and comment.count("\n") == 2 for comment in comments)


def test_a_client_that_comes_while_the_server_ends_has_an_empty_stream_and_comes_back(address: Address):
    async def listen() -> list[str]:
        listener = pgnotify.AsyncListener(address.dsn)
        listener.stop()
        return [chunk async for chunk in example("web/with_starlette.py")._events(listener, "room:7")]

    assert asyncio.run(listen()) == []  # an error would end EventSource for good


@pytest.mark.skipif(browser.installed() is None, reason=f"none of {', '.join(browser.NAMES)} is installed")
def test_a_browser_shows_what_is_sent_and_reads_again_after_a_gap(
    address: Address, session: Session, room: Room, tmp_path: Path
):
    room.write("before it came")
    held = ["before it came"]

    with (
        WebServer("with_starlette:app", address) as server,
        browser.Browser(str(browser.installed()), tmp_path) as chrome,
    ):
        page = chrome.open(f"{server.url}/?room={room.name}")

        def shows(*added: str) -> None:
            held.extend(added)
            shown = "[...document.querySelectorAll('li')].map(item => item.textContent)"
            eventually(lambda: page.evaluate(shown) == held, f"the page holds {held}")

        shows()
        room.write("<b>it's</b>\n日本")
        shows("<b>it's</b>\n日本")

        room.store("sent while nobody listened")
        lose_connection(session)
        shows("sent while nobody listened")
        room.write("and on")
        shows("and on")
        assert page.evaluate("document.getElementById('state').textContent") == "up to date"

        server.terminate()
        room.write("sent while there was no web server")
        with WebServer("with_starlette:app", address, server.port):
            shows("sent while there was no web server")
