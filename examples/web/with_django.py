"""Django under ASGI: a view that streams the notifications of a channel, from one listener in each process.

uvicorn --app-dir examples/web with_django:application      # PGHOST and so on say where the database is

    -- Open http://127.0.0.1:8000/events/orders and send something:
    SELECT pg_catalog.pg_notify('orders', '42');
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import connections
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path
from stopping import stop_at_signals

import pgnotify

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ.get("PGDATABASE", "postgres"),
        }
    },
)
django_application = get_asgi_application()

# A connection of its own, with all of Django's settings. The listener calls the function in a thread, because Django
# opens no connection where an event loop runs. It begins to listen with the first stream.
listener = pgnotify.AsyncListener(lambda: connections.create_connection("default"), name="Django's events")


async def events(request: HttpRequest, channel: str) -> StreamingHttpResponse:
    """Stream a channel."""
    return StreamingHttpResponse(_events(channel), content_type="text/event-stream")


async def _events(channel: str) -> AsyncIterator[str]:
    async with listener.subscription(channel) as stream:
        yield "event: listening\ndata: read now\n\n"
        async for item in stream:
            if isinstance(item, pgnotify.Gap):
                return  # the browser connects again, and reads again
            yield f"data: {item.payload}\n\n"


urlpatterns = [path("events/<channel>", events)]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Pass requests on to Django, which knows nothing of a lifespan."""
    if scope["type"] != "lifespan":
        await django_application(scope, receive, send)
        return
    await receive()
    stop_at_signals(listener)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await listener.stop()
    await send({"type": "lifespan.shutdown.complete"})
