"""What runs in a `ReaderProcess`: it prints a line for each message before it asks for the next one.

Arguments: the mode, the connection string, the driver, and the channels.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
import threading
import time
from typing import Any

import pgnotify
from pgnotify.listener.gap import Listening
from pgnotify.notification import Notification
from tests.ledger.participant import BACKOFF, DEADLINE, HEARTBEAT, LAZY_EACH, QUEUE_SIZE

LONGEST_WORK = 0.05


def main(mode: str, source: str, driver: str, *channels: str) -> None:
    """Read until the process is killed."""
    logging.disable()
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def print_(message: Notification) -> None:
        number, length = message.payload.split()
        _print(f"{number} {channels.index(message.channel)} {len(message.payload)} {length}")

    options: dict[str, Any] = {
        "driver": driver or None,
        "outbox": pgnotify.Outbox(),
        "durable": mode,
        "on_listening": _on_listening,
        "queue_size": QUEUE_SIZE,
        "heartbeat": HEARTBEAT,
        "answer_timeout": DEADLINE,
        "backoff": BACKOFF,
    }
    if mode.startswith("async"):

        async def read() -> None:
            async with pgnotify.AsyncListener(source, *channels, **options) as listener:
                async for message in listener:
                    print_(message)
                    await asyncio.sleep(_pause())

        asyncio.run(read())
    else:
        listener = pgnotify.Listener(source, *channels, **options)
        listener.start()  # so that it is read on while this prints
        for message in listener:
            print_(message)
            time.sleep(_pause())  # a consumer that takes its time


def _end_with_parent() -> None:
    """End this process when the other one does, whose end of the pipe is closed then."""
    sys.stdin.read()
    os._exit(0)


def _pause() -> float:
    """Return for how many seconds the reader does its work, so that messages wait when it is killed."""
    return random.uniform(0, LONGEST_WORK) if random.random() * LAZY_EACH < 1 else 0.0


def _on_listening(event: Listening) -> None:
    _print("listening")
    if event.gap is not None:
        raise AssertionError(event.gap)


def _print(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
