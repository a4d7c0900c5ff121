"""Arbitrary operations, each cancelled after some turns of the loop or not at all, and a model beside them.

The model says: each notification is delivered once, in order, unless a gap was reported; the LISTENs at the server are
those that the object knows of; in the end everything works, no task is left, and no connection is open.
"""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pgnotify
from pgnotify.testing.memory import MemoryServer
from tests.helpers.turns import SLOW, cancelled_after, turning
from tests.offline.aio.test_cancelled_listener import OPTIONS

quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
turns = st.none() | st.integers(0, 40)
takes = st.sampled_from([0, 1, 3, SLOW])
eager = st.booleans() if hasattr(asyncio, "eager_task_factory") else st.just(False)


def steps(*operations):
    return st.lists(st.tuples(st.sampled_from(operations), turns, takes, st.integers(0, 3)), max_size=6)


class Listening:
    """A listener, what was sent to it, and what it has got."""

    def __init__(self, server):
        self.server = server
        self.sender = server.connect()
        self.sent = {"jobs": [], "called": [], "awaited": []}
        self.got = {"jobs": [], "called": [], "awaited": []}
        self.gaps = []
        self.listener = pgnotify.AsyncListener(
            server.connect, "jobs", on_listening=self.on_listening, backoff=pgnotify.Backoff(0.5), **OPTIONS
        )
        self.listener.subscribe("called", self.take)
        self.listener.subscribe("awaited", self.take_slowly)

    async def on_listening(self, event):
        await asyncio.sleep(0)
        self.gaps += [event.gap] if event.gap else []

    def take(self, notification):
        self.got[notification.channel].append(notification.payload)

    async def take_slowly(self, notification):
        self.take(notification)
        await asyncio.sleep(0)

    def send(self):
        for channel, sent in self.sent.items():
            sent.append(str(len(sent)))
            self.sender.notify(channel, sent[-1])

    async def anext(self):
        self.take(await anext(self.listener.notifications(timeout=20, stop_after=1)))

    async def wait_or_poll(self):
        hint = await self.listener.wait_or_poll(3, 3)
        if isinstance(hint, pgnotify.Notification):  # the latest one: earlier ones count as seen
            got, sent = self.got["jobs"], self.sent["jobs"]
            got += sent[int(got[-1]) + 1 if got else 0 : int(hint.payload) + 1]

    async def stream(self):
        async with self.listener.subscription("jobs too") as stream:
            self.sender.notify("jobs too")
            await anext(stream)

    async def probe(self):
        await self.listener.probe(10)

    async def lose(self):
        for connection in self.server.connections:
            if connection is not self.sender:
                self.server.drop_connection(connection)
        await asyncio.sleep(0)

    async def subscribe(self):
        with self.listener.subscribe("more", print) as subscription:
            await subscription.wait_listening()

    def check(self):
        for channel, sent in self.sent.items():
            got = self.got[channel]
            if self.gaps:
                assert got == sorted({*got}, key=int), (channel, got)
            else:
                assert got == sent, channel


@quick
@given(steps("anext", "wait_or_poll", "stream", "probe", "lose", "subscribe"), eager)
def test_a_listener(steps, eager):
    async def main(server):
        loop, world = asyncio.get_running_loop(), Listening(server)
        async with world.listener as listener:
            for operation, turns, takes, sent in steps:
                loop.takes = takes
                for number in range(sent):
                    loop.after_turns(number * 5, world.send)
                _, result = await cancelled_after(turns, getattr(world, operation))
                assert result is None or isinstance(result, StopAsyncIteration), result
            while loop.later or (await listener.probe(100)).delivering != "yes":
                await asyncio.sleep(1)
            world.send()
            last = world.sent["jobs"][-1]
            while world.got["jobs"][-1:] != [last]:
                world.take(await asyncio.wait_for(anext(listener.notifications()), 100))
            while any(got[-1:] != [last] for got in world.got.values()):
                await asyncio.sleep(1)
        await asyncio.sleep(2 * SLOW)
        world.check()
        assert listener.status().state == "closed"
        assert server.connections == [world.sender]

    with MemoryServer() as server, turning(eager) as loop:
        loop.run_until_complete(main(server))


class Handling:
    """A handler, what was sent to it, and what it has got."""

    def __init__(self, server):
        self.connection, self.sender = server.connect(), server.connect()
        self.sent, self.got = [], []
        self.handler = pgnotify.AsyncNotificationHandler(self.connection, "jobs", self.take, timeout=7)
        self.run = self.handler
        self.listen, self.unlisten = self.handler.listen, self.handler.unlisten

    async def take(self, arg_dict):
        if arg_dict is not None:
            self.got.append(arg_dict["extra"])
        await asyncio.sleep(0)

    async def notify(self):
        await self.handler.notify(self.sender, payload="other connection")

    async def stop(self):
        self.handler.stop()

    def send(self):
        if "jobs" in self.connection.listening_channels:
            self.sent.append(str(len(self.sent)))
            self.sender.notify("jobs", self.sent[-1])


@quick
@given(steps("run", "listen", "unlisten", "notify", "stop"), eager)
def test_a_handler(steps, eager):
    async def main(server):
        loop, world = asyncio.get_running_loop(), Handling(server)
        handler = world.handler
        for operation, turns, takes, sent in steps:
            loop.takes = takes
            for number in range(sent):
                loop.after_turns(number * 5, world.send)
            _, result = await cancelled_after(turns, getattr(world, operation))
            assert result is None
            if handler.listening:
                assert world.connection.listening_channels == {"jobs", "stop_jobs"}
        while loop.later:
            await asyncio.sleep(1)
        await handler.listen()
        world.send()
        while world.sent[-1] not in world.got:
            handler.timeout = 0.5
            await asyncio.wait_for(handler(), 100)  # a stop that was asked for may end the first call
        assert [each for each in world.got if each != "other connection"] == world.sent
        await handler.close()
        assert not world.connection.listening_channels
        assert server.connections == [world.sender]

    with MemoryServer() as server, turning(eager) as loop:
        loop.run_until_complete(main(server))


@quick
@given(steps("listen", "unlisten", "command", "cancel"), eager)
def test_a_handler_that_runs_in_another_task(steps, eager):
    async def main(server):
        loop, world = asyncio.get_running_loop(), Handling(server)
        handler = world.handler
        handler.timeout = None
        runs = [loop.create_task(handler())]

        async def command():
            await handler.notify(payload="command")

        async def cancel():
            runs[-1].cancel()
            await asyncio.wait((runs[-1],))
            runs.append(loop.create_task(handler()))

        world.command, world.cancel = command, cancel
        for operation, turns, takes, sent in steps:
            loop.takes = takes
            for number in range(sent):
                loop.after_turns(number * 5, world.send)
            _, result = await cancelled_after(turns, getattr(world, operation))
            assert result is None or "the loop was cancelled during this call" in str(result)
            if runs[-1].done():  # after an unlisten, or a cancellation that was cancelled
                runs.append(loop.create_task(handler()))
        while loop.later or not world.sent or world.sent[-1] not in world.got:
            await asyncio.sleep(1)
            if not loop.later and not world.sent:
                world.send()
            if runs[-1].done():
                runs.append(loop.create_task(handler()))
        handler.stop()
        await asyncio.wait(runs)
        assert not [run.exception() for run in runs if not run.cancelled() and run.exception()]
        assert [each for each in world.got if each != "command"] == world.sent
        await handler.close()
        assert server.connections == [world.sender]

    with MemoryServer() as server, turning(eager) as loop:
        loop.run_until_complete(main(server))
