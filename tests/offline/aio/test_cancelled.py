"""Each operation is cancelled after each number of turns of the loop: nothing is lost, and all is usable afterwards."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

import pgnotify
from pgnotify.protocol import Backend
from pgnotify.testing.memory import MemoryServer
from tests.helpers.loops import run_on
from tests.helpers.turns import SLOW, at_each_turn, cancelled_after, turning
from tests.helpers.waiting import eventually

PATIENCE = 100.0  # seconds of the loop's clock

takes = pytest.mark.parametrize("takes", [0, 2, SLOW])
only_eager = pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="not applicable: before Python 3.12")
speeds = pytest.mark.parametrize(
    ("takes", "eager"), [(0, False), (2, False), (SLOW, False), pytest.param(0, True, marks=only_eager)]
)

CONNECTION = {
    "listen": lambda db: db.listen("other"),
    "unlisten": lambda db: db.unlisten("other"),
    "notify": lambda db: db.notify("nobody"),
    "notify_many": lambda db: db.notify_many([("nobody", "a"), ("nobody", "b")]),
    "wait": lambda db: db.wait(),
    "wait with a timeout": lambda db: db.wait(5),
}


@pytest.mark.parametrize("verb", CONNECTION)
@speeds
def test_a_call_of_a_connection(verb, takes, eager):
    def play(turns):
        async def main(server):
            db, sender = pgnotify.wrap_async(server.connect()), server.connect()
            await db.listen("jobs")
            sender.notify("jobs", "before")
            asyncio.get_running_loop().takes = takes
            cancelled, _ = await cancelled_after(turns, lambda: CONNECTION[verb](db))
            sender.notify("jobs", "after")
            assert await received(db, "after") == ["before", "after"]
            await db.listen("new")
            sender.notify("new", "last")
            assert await received(db, "last") == ["last"]
            await db.close()
            assert server.connections == [sender]
            return cancelled

        with MemoryServer() as server, turning(eager) as loop:
            return loop.run_until_complete(main(server))

    assert at_each_turn(play) or eager


@takes
def test_closing_a_connection(takes):
    def play(turns):
        async def main(server):
            db = pgnotify.wrap_async(server.connect())
            await db.listen("jobs")
            asyncio.get_running_loop().takes = takes
            cancelled, _ = await cancelled_after(turns, db.close)
            await db.close()
            assert not server.connections
            return cancelled

        with MemoryServer() as server, turning() as loop:
            return loop.run_until_complete(main(server))

    assert at_each_turn(play)


def test_a_call_waits_for_one_that_was_cancelled_although_its_backend_is_gone():
    async def main(server):
        connection, listening = server.connect(), pgnotify.wrap_async(server.connect())
        await listening.listen("jobs")
        asyncio.get_running_loop().takes = SLOW
        assert (await cancelled_after(2, lambda: pgnotify.notify_async(connection, "jobs", "first")))[0]
        await pgnotify.notify_async(connection, "jobs", "second")  # the loop refuses two calls at the same time
        assert await received(listening, "second") == ["first", "second"]
        await listening.close()

    with MemoryServer() as server, turning() as loop:
        loop.run_until_complete(main(server))


def test_a_call_waits_for_one_whose_loop_is_closed():
    async def give_up(connection):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pgnotify.notify_async(connection, "jobs", "first"), 0.01)

    async def go_on(server, connection):
        notifying = asyncio.ensure_future(pgnotify.notify_async(connection, "jobs", "second"))
        await asyncio.sleep(0)
        server.heal(connection)
        await asyncio.wait_for(notifying, 10)

    with MemoryServer() as server:
        connection, listening = server.connect(), server.connect()
        listening.listen("jobs")
        server.blackhole(connection)
        asyncio.run(give_up(connection))
        asyncio.run(go_on(server, connection))
        assert [each.payload for each in listening.fetch()] == ["first", "second"]


class WithoutDescriptor(Backend):
    """A connection that does not tell its descriptor, so that a thread waits."""

    def __init__(self, inner):
        for verb in ("listen", "unlisten", "wait", "fetch", "notify", "close"):
            setattr(self, verb, getattr(inner, verb))


def test_a_wait_in_a_thread_ends_when_it_is_cancelled():
    async def main(server):
        db, sender = pgnotify.wrap_async(WithoutDescriptor(server.connect())), server.connect()
        await db.listen("jobs")
        before = len(os.listdir("/dev/fd")), threading.active_count()
        for payload in "abc":
            waiting = asyncio.ensure_future(db.wait())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            sender.notify("jobs", payload)
            assert await received(db, payload) == [payload]
        assert not await db.wait(0.001)
        await db.close()
        await asyncio.to_thread(eventually, lambda: threading.active_count() <= before[1] + 1)  # this one
        assert len(os.listdir("/dev/fd")) <= before[0]

    with MemoryServer() as server:
        run_on(asyncio.new_event_loop(), main(server))


async def received(db, last):
    """Return the payloads until the last one."""
    payloads = []
    while last not in payloads:
        assert await db.wait(PATIENCE)
        payloads += [notification.payload for notification in db.fetch()]
    return payloads


class Callback:
    """Records, and takes some turns."""

    def __init__(self, turns):
        self.turns = turns
        self.payloads = []

    def __call__(self, arg_dict):
        self.payloads.append(arg_dict and arg_dict["extra"])
        return self.wait() if self.turns else None

    async def wait(self):
        for _ in range(self.turns):
            await asyncio.sleep(0)


@pytest.mark.parametrize("callback_takes", [0, 2])
@speeds
def test_a_running_handler(callback_takes, takes, eager):
    def play(turns):
        async def main(server):
            connection, sender = server.connect(), server.connect()
            callback = Callback(callback_takes)
            handler = pgnotify.AsyncNotificationHandler(connection, "jobs", callback, timeout=1)
            asyncio.get_running_loop().takes = takes
            if turns % 2:  # otherwise it listens first
                await handler.listen()
            sent = []

            def send():
                if "jobs" in connection.listening_channels:
                    sent.append(str(len(sent)))
                    sender.notify("jobs", sent[-1])

            for moment in range(0, 40, 3):
                asyncio.get_running_loop().after_turns(moment, send)
            cancelled, _ = await cancelled_after(turns, handler)
            asyncio.get_running_loop().later.clear()
            if handler.listening:
                assert connection.listening_channels == {"jobs", "stop_jobs"}
            handler.timeout = None
            running = asyncio.ensure_future(handler())
            while not handler.listening:
                await asyncio.sleep(0.1)
            send()
            await handler.notify(stop=True, payload="stop")
            await running
            assert [each for each in callback.payloads if each is not None] == [*sent, "stop"]
            assert callback.payloads.count(None) == 1 or cancelled
            assert not connection.listening_channels
            await handler.close()
            assert server.connections == [sender]
            return cancelled

        with MemoryServer() as server, turning(eager) as loop:
            return loop.run_until_complete(main(server))

    assert at_each_turn(play)


COMMANDS = {
    "listen": lambda handler: handler.listen(),
    "unlisten": lambda handler: handler.unlisten(),
    "notify": lambda handler: handler.notify(payload="command"),
    "close": lambda handler: handler.close(),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("running", [False, True])
@speeds
def test_a_command_of_a_handler(command, running, takes, eager):
    def play(turns):
        async def main(server):
            connection, sender = server.connect(), server.connect()
            callback = Callback(1)
            handler = pgnotify.AsyncNotificationHandler(connection, "jobs", callback)
            if command != "listen":
                await handler.listen()
            loop = asyncio.get_running_loop()
            loop.takes = takes
            run = loop.create_task(handler()) if running else None
            while running and not handler.listening:
                await asyncio.sleep(0.1)
            cancelled, result = await cancelled_after(turns, lambda: COMMANDS[command](handler))
            assert result is None
            if command == "close":
                await handler.close()  # cancelled, it may have had no effect, or half of it
                assert handler.db is None
            if command == "unlisten":
                await handler.unlisten()
            if run is not None and command in ("close", "unlisten"):
                await asyncio.wait_for(run, PATIENCE)
            if command == "close":
                assert server.connections == [sender]
                return cancelled
            if run is None or run.done():
                assert not handler.listening or connection.listening_channels == {"jobs", "stop_jobs"}
                run = loop.create_task(handler())
            while not handler.listening:
                await asyncio.sleep(0.1)
            sender.notify("jobs", "after")
            sender.notify("stop_jobs", "stop")
            await asyncio.wait_for(run, PATIENCE)
            commands = callback.payloads.count("command")
            assert callback.payloads == ["command"] * commands + ["after", "stop"]
            assert commands == (command == "notify") or (cancelled and not commands)
            await handler.close()
            assert server.connections == [sender]
            return cancelled

        with MemoryServer() as server, turning(eager) as loop:
            return loop.run_until_complete(main(server))

    assert at_each_turn(play) or eager
