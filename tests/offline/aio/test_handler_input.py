"""What is given to the wrong front, and what the asynchronous handler refuses: each error names what to use."""

from __future__ import annotations

import asyncio
import functools
import re
import threading

import pytest

import pgnotify
from pgnotify import AsyncListener, AsyncNotificationHandler, Listener, NotificationHandler, UnknownBackend
from tests.helpers.handlers import Recorder

ASYNCHRONOUS = r"is asynchronous, and cannot be used in blocking code: pass it to pgnotify\.AsyncNotificationHandler"

BLOCKING_FRONTS = {
    "NotificationHandler": lambda db: NotificationHandler(db, "jobs", print),
    "Listener": lambda db: Listener(db, "jobs"),
    "wrap": pgnotify.wrap,
    "notify": lambda db: pgnotify.notify(db, "jobs", "1"),
    "notify_many": lambda db: pgnotify.notify_many(db, [("jobs", "1")]),
}


@pytest.mark.parametrize("wrapped", [False, True], ids=["connection", "AsyncConnection"])
@pytest.mark.parametrize("use", BLOCKING_FRONTS.values(), ids=BLOCKING_FRONTS)
def test_an_asynchronous_connection_is_refused_by_blocking_fronts(server, use, wrapped):
    async def main():
        db = await server.connect_async()
        await db.listen("jobs")
        with pytest.raises(UnknownBackend, match=ASYNCHRONOUS):
            use(pgnotify.wrap_async(db) if wrapped else db)
        await pgnotify.notify_async(db, "jobs", "2")
        received = db.fetch()
        await db.close()
        return [notification.payload for notification in received]

    assert asyncio.run(main()) == ["2"]


def test_an_asynchronous_connection_is_refused_by_a_blocking_handlers_notify(server):
    async def main():
        async with pgnotify.wrap_async(await server.connect_async()) as db:
            with (
                NotificationHandler(server.connect(), "jobs", print) as handler,
                pytest.raises(UnknownBackend, match=ASYNCHRONOUS),
            ):
                handler.notify(db)

    asyncio.run(main())


def test_an_asynchronous_driver_is_refused_by_connect():
    with pytest.raises(UnknownBackend, match=r"use pgnotify\.connect_async\(\) or pgnotify\.AsyncListener"):
        pgnotify.connect("postgresql:///x", driver="asyncpg")
    with pytest.raises(UnknownBackend, match=r"use pgnotify\.connect_async\(\) or pgnotify\.AsyncListener"):
        Listener("postgresql:///x", driver="psycopg_async")


async def coroutine_function(_):
    """A callback of the asynchronous fronts."""


@pytest.mark.parametrize(
    ("give", "awaited_by"),
    [
        (lambda db, function: NotificationHandler(db, "jobs", function), "AsyncNotificationHandler"),
        (lambda db, function: pgnotify.wrap(db).notification_handler("jobs", function), "AsyncNotificationHandler"),
        (lambda db, function: Listener(lambda: db).subscribe("jobs", function), "AsyncListener"),
        (lambda db, function: Listener(lambda: db, on_listening=function), "AsyncListener"),
        (lambda db, function: Listener(lambda: db, on_error=function), "AsyncListener"),
        (lambda db, function: Listener(function), "AsyncListener"),
    ],
    ids=["handler", "factory", "subscribe", "on_listening", "on_error", "source"],
)
def test_a_coroutine_function_is_refused_with_the_name_of_the_class_that_awaits_it(server, give, awaited_by):
    with pytest.raises(TypeError, match=rf"nobody would run; use pgnotify\.{awaited_by}, which awaits it$"):
        give(server.connect(), coroutine_function)


@pytest.mark.parametrize("make", [NotificationHandler, AsyncNotificationHandler])
def test_a_generator_function_is_refused_by_both_fronts(server, make):
    def generator(_):
        yield

    async def async_generator(_):
        yield

    for function, makes in ((generator, "a generator"), (async_generator, "an async generator")):
        with pytest.raises(TypeError, match=f"only makes {makes}, which nobody would run$"):
            make(server.connect(), "jobs", function)


@pytest.mark.parametrize("make", [NotificationHandler, AsyncNotificationHandler])
@pytest.mark.parametrize("which", ["NotificationHandler", "Listener", "AsyncNotificationHandler", "AsyncListener"])
def test_a_handler_or_a_listener_is_no_connection(server, make, which):
    db = server.connect()
    other = {
        "NotificationHandler": lambda: NotificationHandler(db, "jobs", print),
        "Listener": lambda: Listener(db, "jobs"),
        "AsyncNotificationHandler": lambda: AsyncNotificationHandler(db, "jobs", print),
        "AsyncListener": lambda: AsyncListener(db, "jobs"),
    }[which]()

    with pytest.raises(UnknownBackend, match=rf"^pass a connection, not a pgnotify\.[\w.]*\.{which}$"):
        make(other, "jobs", print)


# Loops and tasks.


def handler_in_use(server):
    """Return a handler that listens, and belongs to a loop that is closed."""
    handler = AsyncNotificationHandler(server.connect(), "jobs", print, timeout=0)
    asyncio.run(handler.listen())
    return handler


@pytest.mark.parametrize("verb", ["__call__", "unlisten", "notify", "close"])
def test_a_handler_of_a_closed_loop_is_refused_before_anything_is_sent(server, verb):
    handler = handler_in_use(server)

    async def main(handler):
        with pytest.raises(
            RuntimeError, match=r"^this handler belongs to another event loop, which is closed: make a new one"
        ):
            await getattr(handler, verb)()

    asyncio.run(main(handler))
    assert handler.listening
    handler.db.close()
    with pytest.warns(ResourceWarning, match="was deleted while listening"):
        del handler


def test_a_handler_of_a_loop_that_runs_in_another_thread_is_refused(server):
    waits, end = threading.Event(), threading.Event()
    handler = AsyncNotificationHandler(server.connect(), "jobs", print)

    async def first():
        await handler.listen()
        waits.set()
        await asyncio.get_running_loop().run_in_executor(None, end.wait, 10)
        await handler.close()

    async def second():
        with pytest.raises(RuntimeError, match=r"^this handler belongs to another event loop: make a new one"):
            await handler()

    other = threading.Thread(target=asyncio.run, args=(first(),))
    other.start()
    assert waits.wait(10)
    asyncio.run(second())
    end.set()
    other.join(10)
    assert handler.db is None


def test_without_a_running_loop_nothing_is_done(server):
    db = server.connect()
    call = AsyncNotificationHandler(db, "jobs", print)()

    with pytest.raises(RuntimeError, match="no running event loop"):
        call.send(None)

    assert server.connections == [db]
    db.close()


def test_a_second_task_is_refused_with_the_name_of_the_first(server):
    async def main():
        handler = AsyncNotificationHandler(server.connect(), "jobs", print)
        first = asyncio.create_task(handler(), name="the first")
        while not handler.listening:
            await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"^this handler is already running, in task 'the first'$"):
            await handler()
        handler.stop()
        await first
        await handler.close()

    asyncio.run(main())


def test_a_plain_callback_cannot_run_the_handler_in_another_task(server):
    async def main():
        nested = []
        handler = AsyncNotificationHandler(
            server.connect(), "jobs", lambda _: nested.append(asyncio.ensure_future(handler()))
        )
        await handler.listen()
        await handler.notify()
        running = asyncio.create_task(handler(), name="the first")
        while not nested:
            await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already running, in task 'the first'"):
            await nested[0]
        handler.stop()
        await running
        await handler.close()

    asyncio.run(main())


# Callbacks that return an awaitable.


class Called:
    """An object that is called like a coroutine function."""

    def __init__(self, record):
        self.record = record

    async def __call__(self, arg_dict):
        await asyncio.sleep(0)
        self.record(arg_dict)


def awaited_callbacks(record):
    called = Called(record)
    return {
        "coroutine function": called.__call__,
        "object": called,
        "partial": functools.partial(lambda each, arg_dict: each(arg_dict), called),
        "partial of a coroutine function": functools.partial(called.__call__),
        "lambda": lambda arg_dict: called(arg_dict),
        "a future": lambda arg_dict: asyncio.ensure_future(called(arg_dict)),
    }


@pytest.mark.parametrize("what", awaited_callbacks(print))
def test_whatever_is_awaitable_is_awaited_before_the_next_notification(server, what):
    record = Recorder()

    async def main():
        handler = AsyncNotificationHandler(server.connect(), "jobs", awaited_callbacks(record)[what])
        await handler.listen()
        for payload in "123":
            await handler.notify(payload=payload)
        await handler.notify(stop=True)
        await handler()
        await handler.close()

    asyncio.run(main())
    assert record.payloads == ["1", "2", "3", ""]


@pytest.mark.parametrize("what", awaited_callbacks(print))
def test_whatever_is_awaitable_is_awaited_after_a_timeout(server, what):
    record = Recorder()

    async def main():
        async with AsyncNotificationHandler(
            server.connect(), "jobs", awaited_callbacks(record)[what], timeout=0.01
        ) as handler:
            await handler()

    asyncio.run(main())
    assert record == [None]


def test_the_repr_of_a_refused_connection_shows_no_secret(server):
    async def main():
        db = await server.connect_async()
        with pytest.raises(UnknownBackend) as refusal:
            pgnotify.wrap(db)
        await db.close()
        return str(refusal.value)

    assert re.match(r"^a pgnotify\.testing\._memory_async\.AsyncMemoryConnection is asynchronous", asyncio.run(main()))
