"""FastAPI: the listener is a dependency. A request waits for a job's result, and asks no table again and again.

uvicorn --app-dir examples/web with_fastapi:app      # PGHOST and so on say where the database is

    CREATE TABLE public.jobs (id bigint PRIMARY KEY, result pg_catalog.text);

    -- Open http://127.0.0.1:8000/jobs/7/result and do the job:
    INSERT INTO public.jobs VALUES (7, 'done') RETURNING pg_catalog.pg_notify('job:7', '');
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from psycopg_pool import AsyncConnectionPool
from stopping import stop_at_signals

import pgnotify

PATIENCE_SECONDS = 30.0


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Have one listener in each process of the server, and a pool for everything else."""
    listener = pgnotify.AsyncListener("", name="jobs")
    stop_at_signals(listener)
    async with listener, AsyncConnectionPool(max_size=4) as pool:
        app.state.listener, app.state.pool = listener, pool
        yield


app = FastAPI(lifespan=lifespan)


def the_listener(request: Request) -> pgnotify.AsyncListener:
    """Return the listener of this process."""
    listener: pgnotify.AsyncListener = request.app.state.listener
    return listener


async def result_of(job: int, request: Request) -> str | None:
    """Return a job's result, or None if there is none yet."""
    async with request.app.state.pool.connection() as connection:
        sql = "SELECT result FROM public.jobs WHERE id OPERATOR(pg_catalog.=) %s"
        row = await (await connection.execute(sql, [job])).fetchone()
        return None if row is None else str(row[0])


@app.get("/jobs/{job}/result")
async def result(job: int, request: Request, listener: Annotated[pgnotify.AsyncListener, Depends(the_listener)]) -> str:
    """Return a job's result as soon as it is there."""
    async with listener.subscription(f"job:{job}") as stream:  # before the first look, so that nothing is missed
        while (found := await result_of(job, request)) is None:
            try:
                await asyncio.wait_for(anext(stream), PATIENCE_SECONDS)  # a notification or a gap: look again
            except (asyncio.TimeoutError, StopAsyncIteration):
                raise HTTPException(503, "not yet: ask again", {"Retry-After": "1"}) from None
        return found
