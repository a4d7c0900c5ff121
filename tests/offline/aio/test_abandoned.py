"""What nobody waits for still ends: a stop that is not awaited, a listener that is deleted, a cancelled call."""

from __future__ import annotations

import asyncio
import socket

import pytest

import pgnotify
from pgnotify.aio.loop import Loop
from pgnotify.aio.probe import _send
from pgnotify.aio.threaded import ThreadedBackend
from pgnotify.listener.probe import ProbeAttempt
from pgnotify.testing.memory import MemoryServer
from tests.helpers.waiting import IN_MEMORY


def play(main):
    with MemoryServer() as server:
        return asyncio.run(asyncio.wait_for(main(server), IN_MEMORY))


def test_a_stop_that_is_not_awaited_cuts_off_an_on_listening_that_never_returns():
    async def main(server):
        called = asyncio.Event()

        async def on_listening(listening):
            called.set()
            await asyncio.get_running_loop().create_future()

        listener = pgnotify.AsyncListener(server.connect_async, "jobs", on_listening=on_listening)
        running = asyncio.create_task(listener.run())
        await called.wait()

        listener.stop(timeout=0.01)  # as in a signal handler
        await running

        assert listener.status().state == "closed"

    play(main)


def test_a_listener_that_is_deleted_leaves_no_task_and_no_connection(caplog):
    async def main(server):
        listener = pgnotify.AsyncListener(server.connect_async, "jobs")
        await listener.start()
        (reading,) = (task for task in asyncio.all_tasks() if task.get_name() == "pgnotify listener")

        with pytest.warns(ResourceWarning, match="was deleted without stop"):
            del listener
        await asyncio.wait((reading,))

        assert server.connections == []

    play(main)
    assert caplog.text == ""


def test_a_listener_that_only_an_iteration_refers_to_ends_with_it():
    async def main(server):
        sender = await server.connect_async()
        listener = pgnotify.AsyncListener(server.connect_async, "jobs")
        await listener.start()
        steps = aiter(listener)
        del listener
        await sender.notify("jobs", "1")
        assert (await anext(steps)).payload == "1"
        (reading,) = (task for task in asyncio.all_tasks() if task.get_name() == "pgnotify listener")

        with pytest.warns(ResourceWarning, match="was deleted without stop"):
            del steps
        await asyncio.wait((reading,))

    play(main)


class Unanswered:
    """A backend whose server never answers."""

    def __init__(self):
        self.socket, self.server = socket.socketpair()
        self.is_closed = False

    def notify(self, channel, payload=""):
        while self.socket.recv(1):
            pass

    def close(self):
        self.is_closed = True

    def fileno(self):
        return self.socket.fileno()

    listen = unlisten = wait = fetch = None


def test_a_close_cuts_off_a_call_that_was_cancelled():
    async def main(server):
        blocking = Unanswered()
        with blocking.socket, blocking.server:
            backend = ThreadedBackend(blocking, Loop())
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(backend.notify("jobs"), 0.01)

            await backend.close()

        assert blocking.is_closed

    play(main)


def test_a_probe_that_is_cancelled_cuts_off_its_second_session():
    async def main(server):
        blocking = Unanswered()
        discarded = []

        class Source:
            async def open_another(self):
                return ThreadedBackend(blocking, Loop())

            async def discard(self, backend):
                await backend.settle()
                discarded.append(backend)

        with blocking.socket, blocking.server:
            sending = asyncio.create_task(_send(ProbeAttempt(lambda: None), Source(), "jobs", IN_MEMORY))
            await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait((sending,))

        assert len(discarded) == 1

    play(main)
