"""Stream notifications to browsers as server-sent events: one listener for all clients, and a stream for each.

uvicorn --app-dir examples/web with_starlette:app      # PGHOST and so on say where the database is

    CREATE TABLE public.messages (id bigint GENERATED ALWAYS AS IDENTITY, room pg_catalog.text, body pg_catalog.text);

    -- Open http://127.0.0.1:8000/?room=7 and send a message. It is stored, and sent, or neither:
    INSERT INTO public.messages (room, body) VALUES ('7', 'hello')
    RETURNING pg_catalog.pg_notify('room:7', pg_catalog.row_to_json(messages)::pg_catalog.text);
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from stopping import stop_at_signals

import pgnotify

HEARTBEAT_SECONDS = 15.0


async def events(request: Request) -> Response:
    """Stream the messages of a room."""
    return StreamingResponse(
        _events(request.app.state.listener, f"room:{request.path_params['room']}"),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},  # nginx would collect what it passes on
    )


async def _events(listener: pgnotify.AsyncListener, channel: str) -> AsyncIterator[str]:
    with suppress(pgnotify.ListenerClosed):  # the server is about to end
        async with listener.subscription(channel) as stream:
            # LISTEN is in force. What the page does not find in the table from now on comes as a message.
            yield event("listening", "read now")
            while True:
                try:
                    item = await asyncio.wait_for(anext(stream), HEARTBEAT_SECONDS)
                except asyncio.TimeoutError:
                    yield ": a comment, for proxies that end idle connections, and to notice clients that are gone\n\n"
                except StopAsyncIteration:  # the listener was stopped
                    return
                else:
                    if isinstance(item, pgnotify.Gap):
                        # The stream ends. EventSource connects again by itself, after `retry` milliseconds, and reads
                        # at the next "listening". Not all clients should do so at the same moment.
                        yield f"retry: {random.randrange(2_000)}\n" + event("gap", item.reason)
                        return
                    yield event("message", item.payload)


def event(name: str, data: str) -> str:
    """Write an event as the format demands: each line of the data stands behind a "data:" of its own."""
    return f"event: {name}\n" + "".join(f"data: {line}\n" for line in re.split("\r\n|\r|\n", data)) + "\n"


async def messages(request: Request) -> Response:
    """Return all messages of a room."""
    async with request.app.state.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT id, body FROM public.messages WHERE room OPERATOR(pg_catalog.=) %s ORDER BY id",
            [request.path_params["room"]],
        )
        return JSONResponse([{"id": id_, "body": body} async for id_, body in cursor])


async def page(request: Request) -> Response:
    """Return the page that shows a room."""
    return FileResponse(Path(__file__).with_name("room.html"))


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Have one listener in each process of the server, and a pool for everything else."""
    listener = pgnotify.AsyncListener("", name="server-sent events")
    stop_at_signals(listener)
    async with listener, AsyncConnectionPool(max_size=4) as pool:
        app.state.listener, app.state.pool = listener, pool
        yield


app = Starlette(
    routes=[
        Route("/", page),
        Route("/rooms/{room}/messages", messages),
        Route("/rooms/{room}/events", events),
    ],
    lifespan=lifespan,
)
