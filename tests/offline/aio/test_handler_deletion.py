"""The asynchronous handler is deleted, or its process is forked."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading

import pytest

from pgnotify import AsyncNotificationHandler, HandlerClosed
from tests.helpers.handlers import Recorder
from tests.helpers.resources import open_descriptors

# A test that looks for descriptors there would leave its own behind for the next one.
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="not applicable: no fork here, and no /proc")

BOTH = {"jobs", "stop_jobs"}

DELETED = r"^<AsyncNotificationHandler event='jobs' listening> was deleted while listening"


class WatchedLoop(asyncio.SelectorEventLoop):
    """A loop that knows in which threads it was told to watch a descriptor no longer."""

    def __init__(self):
        super().__init__()
        self.threads = set()

    def remove_reader(self, descriptor):
        self.threads.add(threading.get_ident())
        return super().remove_reader(descriptor)


async def waited_once(handler):
    """Have a handler wait, so that it watches its socket, and cancel that."""
    task = asyncio.create_task(handler())
    while not (handler._runner and handler._runner.wakeup._waiter):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize("where", ["in a task", "in another thread", "after the loop"])
def test_a_listening_handler_that_is_deleted_sends_nothing_warns_and_keeps_no_descriptor(server, no_gc, where):
    def delete():
        with pytest.warns(ResourceWarning, match=DELETED):
            handlers.clear()

    async def main():
        handlers.append(AsyncNotificationHandler(db, "jobs", print))
        await waited_once(handlers[0])
        assert len(open_descriptors()) > before
        if where == "in a task":
            delete()
        elif where == "in another thread":
            await asyncio.to_thread(delete)
        for _ in range(4):
            await asyncio.sleep(0)

    db, handlers, loop = server.connect(), [], WatchedLoop()
    loop.run_until_complete(asyncio.to_thread(int))  # the loop keeps the thread
    before = len(open_descriptors())
    loop.run_until_complete(main())
    if where == "after the loop":
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        before = len(open_descriptors()) - 1  # our duplicate
        delete()
    assert len(open_descriptors()) == before
    assert db._session.listening == BOTH
    assert loop.threads <= {threading.get_ident()}
    if not loop.is_closed():
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    db.close()


def test_a_handler_that_is_not_listening_is_deleted_in_silence(server, no_gc):
    async def main():
        handler = AsyncNotificationHandler(server.connect(), "jobs", print, timeout=0.01)
        await handler()
        del handler

    asyncio.run(main())


def test_a_handler_is_deleted_as_soon_as_its_user_drops_it(server, no_gc):
    async def main():
        handler = AsyncNotificationHandler(server.connect(), "jobs", Recorder(), timeout=0.01)
        await handler()
        await handler.listen()
        await handler.notify()
        await handler.unlisten()
        deleted.append(handler.callback)
        del handler

    deleted = []
    asyncio.run(main())
    assert gc.get_referrers(deleted[0]) == [deleted]


# Forks.


def in_child(function):
    """Call a function in a forked child; return its exit code: 0 if it raised nothing."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_cannot_use_the_handler_and_the_parent_goes_on(server):
    record, loop = Recorder(), asyncio.new_event_loop()
    handler = AsyncNotificationHandler(server.connect(), "jobs", record)
    loop.run_until_complete(waited_once(handler))

    async def use():
        assert not handler.listening
        for verb in (handler, handler.listen, handler.unlisten, handler.notify):
            with pytest.raises(HandlerClosed, match=f"belongs to process {os.getppid()}"):
                await verb()
        handler.stop()
        await handler.close()
        assert handler.db is None
        await handler()

    async def go_on():
        await handler.notify(payload="1")
        await handler.notify(stop=True)
        await handler()
        await handler.close()

    assert in_child(lambda: asyncio.run(use())) == 0
    assert handler.listening
    loop.run_until_complete(go_on())
    loop.close()
    assert record.payloads == ["1", ""]


def test_a_callback_that_returns_in_a_forked_child_ends_the_loop_there(server):
    parent, codes, ended = os.getpid(), [], []

    def fork(arg_dict):
        if arg_dict["extra"] == "fork":
            child = os.fork()
            if child:
                codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            else:
                signal.alarm(20)

    async def main():
        handler = AsyncNotificationHandler(server.connect(), "jobs", fork)
        await handler.listen()
        for payload in ("fork", "behind"):
            await handler.notify(payload=payload)
        await handler.notify(stop=True)
        try:
            await handler()
        except HandlerClosed as error:
            ended.append(error)
        if os.getpid() != parent:
            os._exit(0 if ended else 1)
        await handler.close()

    asyncio.run(main())
    assert (codes, ended) == ([0], [])
