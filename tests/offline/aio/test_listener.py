"""Where the AsyncListener differs from the blocking one: its tasks, its loop, and coroutine functions."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from contextlib import suppress
from functools import partial

import pytest

from pgnotify import AsyncListener, Gap, ListenerClosed, Reason, SourceError
from tests.helpers.listeners import AT_ONCE, its_connection, send
from tests.helpers.waiting import IN_MEMORY

OPTIONS = {"heartbeat": None, "backoff": AT_ONCE}


@pytest.fixture
def run():
    """Run a coroutine function in a loop of its own, in which nothing may be left or complain."""

    def run(main):
        complaints = []

        async def checked():
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            result = await asyncio.wait_for(main(), IN_MEMORY)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return result

        result = asyncio.run(checked())
        gc.collect()
        assert complaints == []
        return result

    return run


async def until(condition):
    """Wait until something is true."""
    deadline = time.monotonic() + IN_MEMORY
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def take(iterable, count):
    iterator = aiter(iterable)
    return [(await anext(iterator)).payload for _ in range(count)]


# Sources.


class Pool:
    """As psycopg_pool's asynchronous ones are used."""

    def __init__(self, server):
        self._server = server
        self.lent = self.given_back = 0
        self.closed = False

    async def getconn(self):
        self.lent += 1
        return self._server.connect()

    async def putconn(self, connection):
        assert connection.closed
        self.given_back += 1


@pytest.mark.parametrize(
    "given", ["connection", "function", "coroutine function", "awaitable", "partial", "pool", "method of a pool"]
)
def test_a_source_of_each_kind(server, sender, run, given):
    pool = Pool(server)

    async def connect(at=server):
        return at.connect()

    source = {
        "connection": server.connect() if given == "connection" else None,
        "function": server.connect,
        "coroutine function": connect,
        "awaitable": lambda: connect(),
        "partial": partial(connect, server),
        "pool": pool,
        "method of a pool": pool.getconn,
    }[given]

    async def main():
        async with AsyncListener(source, "jobs", **OPTIONS) as listener:
            send(sender, 1)
            assert await take(listener, 1) == ["1"]
            if given != "connection":
                server.drop_connection(its_connection(server))
                assert isinstance(await listener.wait_or_poll(IN_MEMORY, IN_MEMORY), Gap)
            send(sender, 2)
            assert await take(listener, 1) == ["2"]

    run(main)
    left = server.connections[1:]
    assert [each.listening_channels for each in left] == [frozenset()] * (given == "connection")
    assert pool.lent == pool.given_back == (2 if "pool" in given else 0)


@pytest.mark.parametrize("begin", [AsyncListener.start, AsyncListener.run, AsyncListener.__aenter__])
def test_a_pool_that_is_closed_is_refused_at_the_start(server, run, begin):
    pool = Pool(server)
    pool.closed = True

    async def main():
        with pytest.raises(SourceError, match="the pool is closed"):
            await begin(AsyncListener(pool, "jobs", **OPTIONS))
        pool.closed = False
        listener = AsyncListener(pool, "jobs", **OPTIONS)
        await listener.start()
        assert await listener.stop()

    run(main)


# The end.


def test_a_run_that_is_cancelled_has_ended(server, run):
    async def main():
        listener = AsyncListener(server.connect, "jobs", **OPTIONS)
        running = asyncio.create_task(listener.run())
        await until(lambda: listener.status().state == "listening")
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

        assert running.cancelled()
        assert listener.status().state == "closed"

    run(main)
    assert server.connections == []


def test_a_run_beside_another_one_that_is_cancelled_stops_nothing(server, run):
    async def main():
        async with AsyncListener(server.connect, "jobs", **OPTIONS) as listener:
            running = asyncio.create_task(listener.run())
            await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait((running,))
            assert listener.status().state == "listening"

    run(main)


@pytest.mark.parametrize("state", ["connecting", "listening"])
def test_a_cancelled_start_leaves_nothing(server, run, state):
    entered, go = threading.Event(), threading.Event()

    def connect():
        entered.set()
        if state == "connecting":
            go.wait(IN_MEMORY)
        connection = server.connect()
        if state == "listening":
            server.blackhole(connection)
        return connection

    async def main():
        listener = AsyncListener(connect, "jobs", **OPTIONS)
        starting = asyncio.create_task(listener.start())
        await until(entered.is_set)
        await asyncio.sleep(0.01)
        starting.cancel()
        await asyncio.wait((starting,))
        assert starting.cancelled()
        assert listener.status().state == "closed"
        go.set()
        await until(lambda: not server.connections)

    run(main)


@pytest.mark.parametrize("way", ["thread", "signal handler of the loop", "signal handler"])
def test_a_stop_from_elsewhere(server, run, way):
    before = signal.getsignal(signal.SIGUSR1)

    async def main():
        listener = AsyncListener(server.connect, "jobs", **OPTIONS)
        await listener.start()
        running = asyncio.create_task(listener.run())
        if way == "thread":
            threading.Thread(target=listener.stop).start()
        else:
            if way == "signal handler":
                signal.signal(signal.SIGUSR1, lambda *_: listener.stop())
            else:
                asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, listener.stop)
            os.kill(os.getpid(), signal.SIGUSR1)
        await running
        assert listener.status().state == "closed"
        assert await listener.stop() is True

    try:
        run(main)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert server.connections == []


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("where", ["function", "coroutine function", "on_listening"])
def test_a_stop_inside_only_asks(server, sender, run, where, drain):
    answers, received = [], []

    async def stop(event=None):
        answers.append(await listener.stop(drain=drain))

    def callback(notification):
        received.append(notification.payload)
        if where == "function":
            listener.stop(drain=drain)

    async def slow(notification):
        received.append(notification.payload)
        if where == "coroutine function":
            await stop()

    async def main():
        listener.subscribe("jobs", callback if where == "function" else slow)
        if where == "on_listening":
            await listener.run()
            return
        await listener.start()
        sender.notify_many([("jobs", "1"), ("jobs", "2"), ("jobs", "3")])
        await listener.run()

    listener = AsyncListener(server.connect, "own", on_listening=stop if where == "on_listening" else None, **OPTIONS)
    run(main)

    assert listener.status().state == "closed"
    assert set(answers) <= {False}
    if where != "on_listening":
        assert received == (["1", "2", "3"] if drain else ["1"])


def test_a_stop_that_is_not_awaited_ends_it_too(server, run):
    async def main():
        async with AsyncListener(server.connect, "jobs", **OPTIONS) as listener:
            listener.stop()
            await until(lambda: listener.status().state == "closed")

    run(main)


def test_an_iteration_has_the_rest_after_a_stop_with_drain(server, sender, run):
    async def main():
        async with AsyncListener(server.connect, "jobs", **OPTIONS) as listener:
            iteration = listener.notifications()
            send(sender, 1, 2, 3)
            assert await listener.stop(drain=True)
            assert [each.payload async for each in iteration] == ["1", "2", "3"]

    run(main)


# Coroutine functions.


def test_calls_follow_one_another_and_an_overflow_is_a_gap_in_its_place(server, sender, run):
    seen = []

    async def on_listening(event):
        if event.gap is not None:
            seen.append((event.gap.reason, event.gap.dropped))

    async def main():
        go, running = asyncio.Event(), [0]

        async def callback(notification):
            running[0] += 1
            assert running == [1]
            await go.wait()
            seen.append(notification.payload)
            running[0] -= 1

        async with AsyncListener(server.connect, on_listening=on_listening, queue_size=2, **OPTIONS) as listener:
            await listener.subscribe("jobs", callback).wait_listening()
            send(sender, 1)
            await until(lambda: running == [1])
            send(sender, 2, 3, 4, 5)
            await until(lambda: listener.status().notifications == 5)
            go.set()
            await until(lambda: len(seen) == 4)
            send(sender, 6)
            await until(lambda: len(seen) == 5)

    run(main)
    assert seen == ["1", "2", "3", (Reason.QUEUE_OVERFLOW, 2), "6"]


@pytest.mark.parametrize("given", ["function", "coroutine function"])
def test_an_error_goes_to_on_error(server, sender, run, given):
    errors, received = [], []

    def note(error, notification):
        errors.append((type(error), notification.payload))

    async def note_later(error, notification):
        await asyncio.sleep(0)
        note(error, notification)

    async def callback(notification):
        received.append(notification.payload)
        if notification.payload == "1":
            raise ZeroDivisionError

    async def main():
        on_error = note if given == "function" else note_later
        async with AsyncListener(server.connect, on_error=on_error, **OPTIONS) as listener:
            await listener.subscribe("jobs", callback).wait_listening()
            send(sender, 1, 2)
            await until(lambda: received == ["1", "2"] and errors)
            assert listener.status().callback_errors == 1

    run(main)
    assert errors == [(ZeroDivisionError, "1")]


def test_an_error_of_a_coroutine_function_may_end_the_listener(server, sender, run):
    async def callback(notification):
        raise ZeroDivisionError

    async def main():
        listener = AsyncListener(server.connect, "own", on_error="raise", **OPTIONS)
        listener.subscribe("jobs", callback)
        await listener.start()
        send(sender, 1)
        with pytest.raises(ZeroDivisionError):
            await listener.run()
        with pytest.raises(ListenerClosed, match="has ended: ZeroDivisionError"):
            await listener.start()
        await listener.stop()

    run(main)
    assert server.connections == [sender]


def test_workers_are_a_limit_that_a_callback_of_each_subscription_shares(server, sender, run):
    async def main():
        go, running, most, received = asyncio.Event(), set(), [0], []

        async def callback(notification):
            running.add(notification.channel)
            most[0] = max(most[0], len(running))
            await go.wait()
            running.discard(notification.channel)
            received.append(notification.channel)

        async with AsyncListener(server.connect, workers=2, **OPTIONS) as listener:
            for number in range(4):
                await listener.subscribe(f"jobs {number}", callback).wait_listening()
            for number in range(4):
                send(sender, "x", channel=f"jobs {number}")
            await until(lambda: len(running) == 2 and listener.status().notifications == 4)
            go.set()
            await until(lambda: len(received) == 4)
            assert most == [2]

    run(main)


def test_one_that_is_too_slow_for_a_stop_is_cancelled_once(server, sender, run):
    ended = []

    async def main():
        entered = asyncio.Event()

        async def callback(notification):
            entered.set()
            try:
                await asyncio.sleep(IN_MEMORY)
            finally:
                await asyncio.sleep(0.01)  # not cut off, too
                ended.append(notification.payload)

        listener = AsyncListener(server.connect, **OPTIONS)
        await listener.start()
        await listener.subscribe("jobs", callback).wait_listening()
        send(sender, 1, 2)
        await entered.wait()
        assert await listener.stop(timeout=0.01) is True

    run(main)
    assert ended == ["1"]
    assert server.connections == [sender]


def test_one_that_cannot_be_cancelled_has_a_stop_say_so(server, sender, run):
    async def main():
        entered, go = asyncio.Event(), asyncio.Event()

        async def callback(notification):
            entered.set()
            while not go.is_set():
                with suppress(asyncio.CancelledError):
                    await go.wait()

        listener = AsyncListener(server.connect, **OPTIONS)
        await listener.start()
        await listener.subscribe("jobs", callback).wait_listening()
        send(sender, 1)
        await entered.wait()
        assert await listener.stop(timeout=0.01) is False
        assert await listener.stop(timeout=0) is False
        go.set()
        assert await listener.stop(timeout=None) is True

    run(main)


def test_one_that_cancels_its_subscription_is_not_called_again(server, sender, run):
    received = []

    async def main():
        async def callback(notification):
            received.append(notification.payload)
            subscription.cancel()

        async with AsyncListener(server.connect, **OPTIONS) as listener:
            subscription = listener.subscribe("jobs", callback)
            await subscription.wait_listening()
            sender.notify_many([("jobs", "1"), ("jobs", "2")])
            await until(lambda: its_connection(server).listening_channels == frozenset())

    run(main)
    assert received == ["1"]


# Steps that are cancelled.


@pytest.mark.parametrize("what", ["stream", "iteration"])
def test_a_step_that_is_cancelled_loses_nothing(server, sender, run, what):
    async def main():
        received = []
        async with AsyncListener(server.connect, "own", **OPTIONS) as listener, listener.subscription("jobs") as stream:
            iterator = stream if what == "stream" else listener.notifications()
            channel = "jobs" if what == "stream" else "own"
            for number in range(50):
                step = asyncio.ensure_future(anext(iterator))
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                send(sender, number, channel=channel)
                for _ in range(number % 5):
                    await asyncio.sleep(0)
                step.cancel()
                await asyncio.wait((step,))
                if not step.cancelled():
                    received.append(step.result().payload)
            received += await take(iterator, 50 - len(received))
        assert received == [str(number) for number in range(50)]

    run(main)


def test_a_time_limit_of_a_step_leaves_the_stream_usable(server, sender, run):
    async def main():
        async with AsyncListener(server.connect, **OPTIONS) as listener, listener.subscription("jobs") as stream:
            for _ in range(3):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(anext(stream), 0.001)
            send(sender, 1)
            assert await take(stream, 1) == ["1"]

    run(main)


def test_an_entry_that_is_cancelled_leaves_no_stream(server, run):
    async def main():
        async with AsyncListener(server.connect, answer_timeout=0.05, **OPTIONS) as listener:
            server.blackhole(its_connection(server))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(listener.subscription("jobs").__aenter__(), 0.01)
            assert listener._routes.queued == {}
            server.heal()

    run(main)


def test_thousands_of_streams_come_and_go(server, sender, run):
    async def main():
        async with AsyncListener(server.connect, "jobs", **OPTIONS) as listener:
            streams = [listener.subscription("jobs") for _ in range(3000)]
            for each in streams:
                await each.__aenter__()
            send(sender, 1)
            assert [(await anext(each)).payload for each in streams] == ["1"] * 3000
            for each in streams:
                each.close()
            assert listener._routes.queued == {}
            assert its_connection(server).listening_channels == {"jobs"}

    run(main)


# Its loop.


@pytest.mark.parametrize("state", ["listening", "in a callback", "unanswered"])
def test_the_end_of_its_loop_says_goodbye_to_the_server(server, sender, state):
    kept, complaints = [], []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        entered = asyncio.Event()

        async def callback(notification):
            entered.set()
            await asyncio.sleep(IN_MEMORY)

        listener = AsyncListener(server.connect, "own", answer_timeout=0.05, **OPTIONS)
        kept.append(listener)
        subscription = listener.subscribe("jobs", callback)
        await listener.start()
        assert await subscription.wait_listening()
        if state == "in a callback":
            send(sender, 1)
            await entered.wait()
        if state == "unanswered":
            server.blackhole(its_connection(server))
            listener.subscribe("other", print)
            await asyncio.sleep(0.01)

    asyncio.run(main())

    assert kept[0].status().state == "closed"
    assert server.connections == [sender]
    assert complaints == []


def test_on_another_loop_it_is_refused(server):
    opened = []

    async def elsewhere(match):
        for use in (
            opened[0].start,
            opened[0].run,
            opened[0].wait_or_poll,
            lambda: anext(opened[0].notifications()),
            opened[0].subscription("jobs").__aenter__,
        ):
            with pytest.raises(RuntimeError, match=match):
                await asyncio.wait_for(use(), IN_MEMORY)

    async def main():
        opened.append(AsyncListener(server.connect, "jobs", **OPTIONS))
        async with opened[0]:
            match = "this listener belongs to another event loop: make a new one"
            await asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(elsewhere(match)))

    asyncio.run(main())


def test_on_a_loop_after_the_one_that_is_closed_it_is_refused(server):
    kept = []

    async def fails():
        kept.append(AsyncListener(refuse_once(server), "jobs", **OPTIONS))
        with pytest.raises(TypeError):
            await kept[0].start()

    async def begin():
        with pytest.raises(RuntimeError, match="another event loop, which is closed: make a new one"):
            await kept[0].start()

    asyncio.run(fails())
    asyncio.run(begin())


def refuse_once(server):
    errors = [TypeError("not this time")]

    def connect():
        if errors:
            raise errors.pop()
        return server.connect()

    return connect


def test_what_is_deleted_without_a_stop_warns_and_says_goodbye(server):
    complaints = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        kept = [AsyncListener(server.connect, "jobs", **OPTIONS)]
        await kept[0].start()
        with pytest.warns(ResourceWarning, match=r"was deleted without stop\(\)"):
            delete(kept)
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    asyncio.run(main())
    gc.collect()
    assert server.connections == []
    assert complaints == []


def delete(kept):
    kept.clear()
    gc.collect()


def test_after_a_start_that_has_failed_for_good_a_stop_says_that_it_has_ended(server, run):
    async def main():
        listener = AsyncListener(refuse_once(server), "jobs", **OPTIONS)
        with pytest.raises(TypeError):
            await listener.start()
        for _ in range(5):
            await asyncio.sleep(0)
        assert listener.status().state == "idle"
        assert await listener.stop() is True
        assert listener.status().state == "closed"

    run(main)
