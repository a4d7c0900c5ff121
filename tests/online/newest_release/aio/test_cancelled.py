"""Calls that are cancelled while the server does not answer: nothing stays open, and what is left is usable."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

import pgnotify
from tests.helpers.network import through
from tests.helpers.waiting import eventually

SECONDS = 0.02

CALLS = {
    "listen": lambda db: db.listen("other"),
    "unlisten": lambda db: db.unlisten("jobs"),
    "notify": lambda db: db.notify("nobody"),
}


def test_a_connection_that_was_cancelled_works_on_when_the_server_answers_again(driver, address, proxy, session):
    async def main():
        async with await pgnotify.connect_async(through(proxy, address).dsn, driver) as db:
            await db.listen("always")
            for call in CALLS.values():
                proxy.blackhole()
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(call(db), SECONDS)
                session.notify("always", "x")
                proxy.thaw()
                await db.listen("jobs")  # behind the call that was cancelled
                session.notify("jobs", "y")
                arrived = []
                while arrived != ["x", "y"]:
                    assert await db.wait(20)
                    arrived += [each.payload for each in db.fetch()]

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="not applicable: asyncio.TaskGroup is there from Python 3.11 on")
def test_a_group_of_tasks_that_is_cancelled_leaves_the_listener_as_it_was(driver, address, session):
    async def fails():
        raise ZeroDivisionError

    async def group_of_tasks(listener):
        async with asyncio.TaskGroup() as group:
            group.create_task(anext(listener.notifications()))
            group.create_task(listener.wait_or_poll())
            group.create_task(listener.probe())
            group.create_task(listener.subscribe("other", print).wait_listening())
            for _ in range(20):
                await asyncio.sleep(0)
            group.create_task(fails())

    async def main():
        async with pgnotify.AsyncListener(address.dsn, "jobs", driver=driver) as listener:
            with pytest.raises(ExceptionGroup):  # noqa: F821  # of newer Pythons
                await group_of_tasks(listener)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SECONDS):
                    await anext(listener.notifications())
            session.notify("jobs", "after")
            assert (await anext(listener.notifications(20))).payload == "after"

    asyncio.run(main())


def test_a_connection_that_is_opened_by_a_cancelled_call_is_closed(driver, address, proxy):
    async def main():
        proxy.freeze()
        opening = asyncio.ensure_future(pgnotify.connect_async(through(proxy, address).dsn, driver))
        await asyncio.to_thread(eventually, lambda: proxy._links)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        proxy.thaw()

    before = len(os.listdir("/dev/fd"))
    asyncio.run(main())
    eventually(lambda: len(os.listdir("/dev/fd")) <= before, "it is closed")
