"""Event loops of all kinds: asyncio's, one that watches no descriptors, uvloop, in debug mode, with eager tasks."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time

import pytest

import pgnotify
from pgnotify.aio import selector_thread
from pgnotify.aio.loop import Loop
from pgnotify.aio.wakeup import LoopWakeup
from pgnotify.testing.memory import MemoryServer
from tests.helpers.loops import LOOPS, RefusingLoop, run_on, selector_threads
from tests.helpers.waiting import eventually

on_every_loop = pytest.mark.parametrize("make_loop", LOOPS)


@on_every_loop
def test_a_listener_works_and_leaves_nothing_behind(make_loop):
    async def main(server):
        called, awaited = [], []

        async def callback(notification):
            await asyncio.sleep(0)
            awaited.append(notification.payload)

        async with pgnotify.AsyncListener(server.connect, "jobs") as listener:
            listener.subscribe("called", lambda notification: called.append(notification.payload))
            await listener.subscribe("awaited", callback).wait_listening()
            async with listener.subscription("stream") as stream:
                sender = server.connect()
                for number in range(3):  # each wakes the loop once more
                    for channel in ("called", "awaited", "stream", "jobs"):
                        sender.notify(channel, str(number))
                    assert (await anext(listener.notifications(10))).payload == str(number)
                    assert (await anext(stream)).payload == str(number)
            assert (await listener.probe()).delivering == "yes"
            assert await listener.stop(drain=True)
        assert (called, awaited) == (["0", "1", "2"], ["0", "1", "2"])

    run_on(make_loop(), asyncio.sleep(0))  # the first loop of uvloop opens descriptors that stay
    before = open_descriptors()
    with MemoryServer() as server:
        run_on(make_loop(), main(server))
        assert len(server.connections) == 1  # the sender's
        del server
    gc.collect()
    eventually(lambda: selector_threads() == 0, "the selector thread has ended")
    # What that thread alone has known is freed in its last moments, after Python has ceased to count it.
    eventually(lambda: open_descriptors() <= before, "all descriptors are closed")


@on_every_loop
def test_a_wait_may_end_sooner_or_later_than_the_one_before(make_loop):
    async def main():
        wakeup = LoopWakeup(Loop())
        for seconds in (1e-4, 60.0, 1e-4, 1e-3):  # for uvloop, which counts in ms, the first one is none at all
            wakeup.limit(seconds)
        assert not await wakeup.wait(1e-4)
        wakeup.forget()

    run_on(make_loop(), main())


@on_every_loop
def test_a_handler_works_and_leaves_nothing_behind(make_loop):
    async def main(server):
        received = []

        async def callback(arg_dict):
            await asyncio.sleep(0)
            received.append(arg_dict and arg_dict["extra"])

        db, sender = server.connect(), server.connect()
        handler = pgnotify.AsyncNotificationHandler(db, "jobs", callback)
        await handler.listen()
        running = asyncio.ensure_future(handler())
        for number in range(3):
            sender.notify("jobs", str(number))
            while len(received) <= number:
                await asyncio.sleep(0)
        await handler.notify(stop=True)
        await running
        assert received == ["0", "1", "2", ""]
        await handler.close()

    with MemoryServer() as server:
        run_on(make_loop(), main(server))
    eventually(lambda: selector_threads() == 0, "the selector thread has ended")


@on_every_loop
@pytest.mark.parametrize("end", ["close", "loss", "neither", "stop"])
def test_nothing_spins_once_a_connection_has_ended(make_loop, end):
    """Seen as processor time of the whole process: a loop that spins takes all of it."""

    async def main(server):
        connection = server.connect()
        if end == "stop":
            async with pgnotify.AsyncListener(connection, "jobs") as listener:
                await listener.probe()
        db = pgnotify.wrap_async(connection)
        await db.listen("jobs")
        if end != "stop":
            assert not await db.wait(0.001)  # from now on it is watched
        if end == "close":
            await db.close()
        elif end == "loss":
            server.drop_connection(connection)
        else:
            server.connect().notify("jobs")
        used = time.process_time()
        await asyncio.sleep(0.1)
        return time.process_time() - used

    with MemoryServer() as server:
        assert run_on(make_loop(), main(server)) < 0.05


@on_every_loop
def test_a_limit_of_a_wait_may_be_shorter_than_the_loop_can_count(make_loop):
    async def main():
        wakeup = LoopWakeup(Loop())
        wakeup.limit(0.0001)  # uvloop counts milliseconds, and makes no timer of less
        assert not await wakeup.wait(0.00001)

    run_on(make_loop(), main())


def test_one_thread_watches_for_all_listeners_of_a_loop_and_each_loop_has_its_own():
    counts, barrier = [], threading.Barrier(2)

    async def main(server):
        listeners = [pgnotify.AsyncListener(server.connect, "jobs") for _ in range(3)]
        for each in listeners:
            await each.__aenter__()
        await asyncio.to_thread(barrier.wait, 20)
        counts.append(selector_threads())
        await asyncio.to_thread(barrier.wait, 20)
        server.connect().notify("jobs", "x")
        for each in listeners:
            assert (await anext(each.notifications(10))).payload == "x"
            await each.stop()

    def run():
        with MemoryServer() as server:
            run_on(RefusingLoop(), main(server))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert counts == [2, 2]
    eventually(lambda: selector_threads() == 0, "both have ended")


def test_a_selector_thread_that_does_not_start_is_an_error_and_the_next_one_is_tried(monkeypatch):
    class NoThread:
        def start(self):
            raise RuntimeError("can't start new thread")

    async def main(server):
        db = pgnotify.wrap_async(server.connect())
        await db.listen("jobs")
        with monkeypatch.context() as patch:
            patch.setattr(selector_thread, "background", lambda *_: NoThread())
            with pytest.raises(RuntimeError, match="new thread"):
                await db.wait(10)
        server.connect().notify("jobs")
        assert await db.wait(10)
        await db.close()

    with MemoryServer() as server:
        run_on(RefusingLoop(), main(server))


@on_every_loop
def test_a_loop_that_is_closed_while_a_listener_is_open_ends_it(make_loop):
    loop = make_loop()
    with MemoryServer() as server:
        listener = pgnotify.AsyncListener(server.connect, "jobs")
        loop.run_until_complete(listener.start())
        reading = asyncio.all_tasks(loop)
        loop.close()
        with pytest.raises(RuntimeError, match="belongs to another event loop, which is closed"):
            asyncio.run(anext(listener.notifications()))
        for task in reading:  # Python would tell that it was destroyed
            task._log_destroy_pending = False
        del reading, task
        with pytest.warns(ResourceWarning, match="without stop"):  # noqa: PT031  # deleted here, not in a call
            del listener
            gc.collect()
        (connection,) = server.connections  # the server has not noticed
        with pytest.raises(pgnotify.ConnectionLost):
            connection.fetch()
    eventually(lambda: selector_threads() == 0, "the selector thread has ended")


def test_a_descriptor_is_closed_although_the_loop_makes_no_further_turn():
    async def watch(ends):
        reader = Loop().watch(ends[0], lambda: None)
        reader.resume()
        reader.close()

    before = open_descriptors()
    ends = os.pipe()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(watch(ends))
    loop.close()
    for end in ends:
        os.close(end)
    assert open_descriptors() == before


def test_another_thread_may_delete_what_is_watched():
    async def main(server):
        db = [pgnotify.wrap_async(server.connect())]
        await db[0].listen("jobs")
        await asyncio.to_thread(gc.collect)  # which also starts the thread
        before = open_descriptors()
        await db[0].wait(0.001)
        assert open_descriptors() == before + 1
        await asyncio.to_thread(db.clear)
        while open_descriptors() > before:
            await asyncio.sleep(0)

    with MemoryServer() as server:
        loop = asyncio.new_event_loop()
        loop.set_debug(True)
        run_on(loop, main(server))


def test_each_run_of_asyncio_has_listeners_of_its_own():
    async def main(server):
        async with pgnotify.AsyncListener(server.connect, "jobs") as listener:
            server.connect().notify("jobs", "x")
            return (await anext(listener.notifications(10))).payload

    with MemoryServer() as server:
        assert [asyncio.run(main(server)) for _ in range(3)] == ["x", "x", "x"]


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))
