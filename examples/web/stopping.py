"""How a web server ends although streams are open."""

from __future__ import annotations

import signal
from types import FrameType

import pgnotify


def stop_at_signals(listener: pgnotify.AsyncListener) -> None:
    """Stop a listener as soon as the server is told to end. Call this when the lifespan starts, in the main thread.

    With that all streams end. Otherwise the server would wait for them: a lifespan ends only after all responses. A
    response whose client reads nothing cannot end at all. For these there is uvicorn's --timeout-graceful-shutdown.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        servers_own = signal.getsignal(number)

        def stop(number: int, frame: FrameType | None, servers_own: object = servers_own) -> None:
            listener.stop()
            if callable(servers_own):
                servers_own(number, frame)

        signal.signal(number, stop)
