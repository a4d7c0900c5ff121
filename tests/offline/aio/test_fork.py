"""A child that is forked from a running loop: every object says so there, and the parent's goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os

import pytest

import pgnotify
from pgnotify.testing.memory import MemoryServer
from tests.helpers.loops import LOOPS, run_on
from tests.offline.listener.test_fork import in_a_child

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="not applicable: no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # of threads and fork, from 3.12
]

CONNECTION = {
    "listen": lambda db: db.listen("a"),
    "unlisten": lambda db: db.unlisten("a"),
    "wait": lambda db: db.wait(0),
    "fetch": lambda db: db.fetch(),
    "notify": lambda db: db.notify("a"),
    "notify_many": lambda db: db.notify_many([("a", "b")]),
    "notification_handler": lambda db: db.notification_handler("a", print),
    "notify_async": lambda db: pgnotify.notify_async(db, "a"),
}
HANDLER = {
    "call": lambda handler: handler(),
    "listen": lambda handler: handler.listen(),
    "unlisten": lambda handler: handler.unlisten(),
    "notify": lambda handler: handler.notify(),
}
LISTENER = {
    "start": lambda listener: listener.start(),
    "run": lambda listener: listener.run(),
    "async with": lambda listener: listener.__aenter__(),
    "anext": lambda listener: anext(listener.notifications()),
    "probe": lambda listener: listener.probe(),
    "wait_or_poll": lambda listener: listener.wait_or_poll(),
    "subscribe": lambda listener: listener.subscribe("a", print),
    "subscription": lambda listener: listener.subscription("a"),
}


def refusals(calls, thing):
    """Return which calls are refused in a child, in an event loop of its own, because it is one."""

    async def main():
        refused = []
        for name, call in calls.items():
            try:
                result = call(thing)
                if asyncio.iscoroutine(result):
                    await asyncio.wait_for(result, 5)
            except pgnotify.PgNotifyError as error:
                refused += [name] * (f"process {os.getppid()}" in str(error))
        return refused

    return asyncio.run(main())


@pytest.mark.parametrize("make_loop", LOOPS)
def test_a_child_is_refused_and_the_parent_goes_on(make_loop):
    async def main(server):
        db, sender = pgnotify.wrap_async(server.connect()), server.connect()
        await db.listen("jobs")
        await db.wait(0.001)  # from now on it is watched
        received = []
        handler = pgnotify.AsyncNotificationHandler(
            server.connect(), "jobs", lambda arg_dict: received.append(arg_dict["extra"])
        )
        async with (
            pgnotify.AsyncListener(server.connect, "jobs") as listener,
            listener.subscription("stream") as stream,
        ):
            running = asyncio.ensure_future(handler())
            while not handler.listening:
                await asyncio.sleep(0)
            assert in_a_child(lambda: refusals(CONNECTION, db)) == str([*CONNECTION])
            assert in_a_child(lambda: refusals(HANDLER, handler)) == str([*HANDLER])
            assert in_a_child(lambda: refusals(LISTENER, listener)) == str([*LISTENER])
            assert in_a_child(lambda: refusals({"anext": anext}, stream)) == str(["anext"])
            assert in_a_child(lambda: asyncio.run(db.close())) == "None"
            assert in_a_child(lambda: asyncio.run(handler.close())) == "None"
            for channel in ("jobs", "stream", "stop_jobs"):
                sender.notify(channel, "after")
            assert (await anext(listener.notifications(10))).payload == "after"
            assert (await anext(stream)).payload == "after"
            assert await db.wait(10)
            assert [each.payload for each in db.fetch()] == ["after"]
            await running
            assert received == ["after", "after"]
            await db.close()
            await handler.close()
            assert listener.status().gaps == 0

    with MemoryServer() as server:
        run_on(make_loop(), main(server))


def test_a_process_of_multiprocessing_that_a_callback_starts():
    forking = multiprocessing.get_context("fork")
    codes = []

    def callback(_):
        process = forking.Process(target=listen_in_child, args=(listener,))
        process.start()
        process.join(20)
        codes.append(process.exitcode)

    async def main(server):
        async with listener:
            await listener.subscribe("fork", callback).wait_listening()
            sender = server.connect()
            sender.notify("fork")
            sender.notify("jobs", "after")
            assert (await anext(listener.notifications(10))).payload == "after"

    with MemoryServer() as server:
        listener = pgnotify.AsyncListener(server.connect, "jobs")
        run_on(asyncio.new_event_loop(), main(server))
    assert codes == [7]


def listen_in_child(listener):
    if refusals(LISTENER, listener) == [*LISTENER]:
        raise SystemExit(7)
