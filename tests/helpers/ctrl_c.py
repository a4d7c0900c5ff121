"""A program that is interrupted by Ctrl-C in each phase of asyncio's life, one `asyncio.run` after the other.

It prints, for each phase, how it has ended, and how many descriptors were left open then.

Usage: python -X dev -W error -m tests.helpers.ctrl_c DRIVER
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pgnotify
from pgnotify.testing._proxy import Proxy
from pgnotify.testing.address import Address
from tests.helpers.environment import given_address, with_address
from tests.helpers.network import silent_server, through
from tests.helpers.waiting import eventually

ROOT = Path(__file__).parents[2]
SECONDS = 0.03


def press() -> None:
    """Press Ctrl-C in a moment, while the loop waits."""
    threading.Timer(SECONDS, os.kill, (os.getpid(), signal.SIGINT)).start()


async def connecting(silent: str, **driver: str) -> None:
    press()
    await pgnotify.connect_async(silent, **driver)


async def entering(silent: str, **driver: str) -> None:
    press()
    async with pgnotify.AsyncListener(silent, "jobs", **driver):
        pass


async def iterating(dsn: str, freeze: Callable[[], None], **driver: str) -> None:
    async with pgnotify.AsyncListener(dsn, "jobs", **driver) as listener:
        press()
        async for _ in listener:
            pass


async def streaming(dsn: str, freeze: Callable[[], None], **driver: str) -> None:
    async with pgnotify.AsyncListener(dsn, **driver) as listener, listener.subscription("jobs") as stream:
        press()
        async for _ in stream:
            pass


async def running(dsn: str, freeze: Callable[[], None], **driver: str) -> None:
    async def on_listening(_: object) -> None:
        press()

    await pgnotify.AsyncListener(dsn, "jobs", on_listening=on_listening, **driver).run()


async def handling(dsn: str, freeze: Callable[[], None], **driver: str) -> None:
    async with (
        await pgnotify.connect_async(dsn, **driver) as connection,
        connection.notification_handler("jobs", print) as handler,
    ):
        press()
        await handler()


async def calling_back(dsn: str, freeze: Callable[[], None], **driver: str) -> None:
    async def callback(_: object) -> None:
        press()
        await asyncio.sleep(10 * SECONDS)  # a stop waits for it

    async with pgnotify.AsyncListener(dsn, **driver) as listener:
        await listener.subscribe("jobs", callback).wait_listening()
        async with await pgnotify.connect_async(dsn, **driver) as sender:
            await sender.notify("jobs")
        await asyncio.get_running_loop().create_future()


async def listening_in_vain(dsn: str, freeze: Callable[[], None], **driver: str) -> None:
    async with pgnotify.AsyncListener(dsn, "jobs", **driver) as listener:
        freeze()
        press()
        await listener.subscribe("other", print).wait_listening()


async def stopping_in_vain(dsn: str, freeze: Callable[[], None], **driver: str) -> None:
    async with pgnotify.AsyncListener(dsn, "jobs", **driver) as listener:
        freeze()
        press()
        listener.subscribe("other", print)
        await asyncio.sleep(0)
        await listener.stop()
        await asyncio.get_running_loop().create_future()


WITHOUT_A_SERVER: list[Callable[..., Coroutine[Any, Any, None]]] = [connecting, entering]
WITH_ONE: list[Callable[..., Coroutine[Any, Any, None]]] = [
    iterating,
    streaming,
    running,
    handling,
    calling_back,
    listening_in_vain,
    stopping_in_vain,
]


def assert_each_phase_ends(driver: str, address: Address) -> None:
    """Run the program in Python's development mode, where each warning is an error."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.helpers.ctrl_c", driver],
        env={**with_address(address), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout.splitlines() == [f"{phase.__name__} interrupted" for phase in (*WITH_ONE, *WITHOUT_A_SERVER)]
    ours_and_slow_steps = ("pgnotify: ", "Executing ")  # asyncio tells of the latter where a machine is busy
    assert [line for line in done.stderr.splitlines() if not line.startswith(ours_and_slow_steps)] == []


def interrupted(main: Coroutine[Any, Any, None]) -> str:
    try:
        asyncio.run(main)
    except KeyboardInterrupt:
        return "interrupted"
    return "ended"


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/dev/fd"))


def main() -> None:
    address, driver = given_address(), sys.argv[1]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pgnotify.AsyncListener(address.dsn, driver=driver)  # imports the driver, which debug mode would call slow
    asyncio.run(asyncio.sleep(0))
    before = descriptors()
    for phase in WITH_ONE:
        with Proxy(address.host, address.port) as proxy:
            outcome = interrupted(phase(through(proxy, address).dsn, proxy.freeze, driver=driver))
        eventually(lambda: descriptors() <= before, "all descriptors are closed", 10)
        sys.stdout.write(f"{phase.__name__} {outcome}\n")
    with silent_server() as port:
        for phase in WITHOUT_A_SERVER:
            outcome = interrupted(phase(address._replace(port=port).dsn, driver=driver))
            sys.stdout.write(f"{phase.__name__} {outcome}\n")


if __name__ == "__main__":
    main()
