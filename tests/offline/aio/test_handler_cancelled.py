"""A call of the asynchronous handler is cancelled at any await: nothing is lost, and the connection goes on."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from contextlib import suppress

import pytest

from pgnotify import AsyncNotificationHandler, ConnectionLost, TransactionError
from tests.helpers.handlers import Recorder

BOTH = {"jobs", "stop_jobs"}


def run(main):
    """Run a coroutine; no task and no error may be left behind."""
    faults = []

    async def and_look():
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        result = await asyncio.wait_for(main, 10)
        gc.collect()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    result = asyncio.run(and_look())
    gc.collect()
    assert faults == []
    return result


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


async def cancelled(task):
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class Held:
    """A call of a backend's that is held until it is released."""

    def __init__(self, backend, verb, nth=1, then=None):
        self.then = then
        """The error that it raises then."""
        self.begun, self.released = threading.Event(), threading.Event()
        backend.during(verb, self._hold, nth)

    def _hold(self):
        self.begun.set()
        assert self.released.wait(10)
        if self.then is not None:
            raise self.then("in the way")


class HeldCallback:
    """A coroutine function that records, and waits at its first call until it is released."""

    def __init__(self):
        self.payloads = []
        self.entered, self.released = asyncio.Event(), asyncio.Event()
        self.then = lambda: None

    async def __call__(self, arg_dict):
        self.payloads.append(arg_dict["extra"])
        self.entered.set()
        await self.released.wait()
        self.then()


# The loop is cancelled.


@pytest.mark.parametrize("callback", ["plain", "coroutine"])
@pytest.mark.parametrize("connection", ["asynchronous", "blocking"])
def test_a_loop_that_is_cancelled_at_any_turn_loses_and_repeats_nothing(server, callback, connection):
    async def main(count):
        begun = []

        async def coroutine_function(arg_dict):
            begun.append(arg_dict["extra"])
            await asyncio.sleep(0)

        db = await server.connect_async() if connection == "asynchronous" else server.connect()
        handler = AsyncNotificationHandler(
            db, "jobs", coroutine_function if callback == "coroutine" else lambda each: begun.append(each["extra"])
        )
        sender = server.connect()
        await handler.listen()
        for number in range(3):
            sender.notify("jobs", str(number))
        task = asyncio.create_task(handler())
        await turns(count)
        sender.notify("jobs", "3")
        await turns(2)
        await cancelled(task)
        is_listening = handler.listening
        sender.notify("jobs", "4")
        sender.notify("stop_jobs", "stop")
        await handler()
        await handler.close()
        sender.close()
        return is_listening, begun

    for count in range(12):
        assert run(main(count)) == (True, ["0", "1", "2", "3", "4", "stop"]), count


@pytest.mark.parametrize("way", ["cancel", "wait_for"])
def test_a_loop_that_is_cancelled_while_it_waits_still_listens(backend, way):
    async def main():
        record = Recorder()
        handler = AsyncNotificationHandler(backend, "jobs", record)
        if way == "wait_for":
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(handler(), 0.05)
        else:
            task = asyncio.create_task(handler())
            await until(lambda: handler.listening)
            await cancelled(task)
        assert handler.listening
        assert backend.listened == BOTH
        await handler.notify(payload="later")
        await handler.notify(stop=True)
        await handler()
        await handler.close()
        return record.payloads

    assert run(main()) == ["later", ""]


@pytest.mark.parametrize("verb", ["listen", "__call__"])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("answer", ["soon", "late"])
def test_a_listen_that_is_cancelled_leaves_the_connection_usable(backend, verb, nth, answer):
    async def main():
        record = Recorder()
        handler = AsyncNotificationHandler(backend, "jobs", record)
        held = Held(backend, "listen", nth)
        task = asyncio.create_task(getattr(handler, verb)())
        await until(held.begun.is_set)
        task.cancel()
        if answer == "soon":
            held.released.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.released.set()
        assert not handler.listening
        if answer == "soon":
            assert backend.listened == set()  # taken back
        await handler.notify(payload="nobody listens, or the next call delivers it")
        await handler.listen()
        assert backend.listened == BOTH
        await handler.notify(payload="heard")
        await handler.notify(stop=True)
        await handler()
        await handler.close()
        return record.payloads[-2:]

    assert run(main()) == ["heard", ""]


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("answer", ["soon", "late"])
def test_an_unlisten_that_is_cancelled_can_be_done_again_and_leaves_no_deaf_handler(backend, nth, answer):
    async def main():
        handler = AsyncNotificationHandler(backend, "jobs", print, timeout=0)
        await handler.listen()
        held = Held(backend, "unlisten", nth)
        task = asyncio.create_task(handler.unlisten())
        await until(held.begun.is_set)
        task.cancel()
        if answer == "soon":
            held.released.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.released.set()
        await handler()
        assert (handler.listening, backend.listened) == (True, BOTH)
        await handler.unlisten()
        assert (handler.listening, backend.listened) == (False, set())
        await handler.close()

    run(main())


@pytest.mark.parametrize("answer", ["soon", "late"])
def test_a_notify_that_is_cancelled_is_sent_at_most_once(backend, answer):
    async def main():
        handler = AsyncNotificationHandler(backend, "jobs", print)
        held = Held(backend, "notify")
        task = asyncio.create_task(handler.notify(payload="1"))
        await until(held.begun.is_set)
        task.cancel()
        if answer == "soon":
            held.released.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        held.released.set()
        await handler.notify(payload="2")
        await handler.close()

    run(main())
    assert backend.sent == [("jobs", "1"), ("jobs", "2")]


@pytest.mark.parametrize("verb", ["unlisten", "close"])
@pytest.mark.parametrize("answer", ["soon", "late"])
def test_a_close_that_is_cancelled_can_be_done_again(backend, verb, answer):
    async def main():
        handler = AsyncNotificationHandler(backend, "jobs", print)
        await handler.listen()
        held = Held(backend, verb)
        task = asyncio.create_task(handler.close())
        await until(held.begun.is_set)
        task.cancel()
        if answer == "soon":
            held.released.set()
        with suppress(asyncio.CancelledError):
            await task
        held.released.set()
        await handler.close()
        assert (handler.db, handler.listening, backend.closed) == (None, False, True)
        await handler()

    run(main())


def test_a_cancelled_callback_has_had_its_notification_and_the_rest_waits_for_the_next_call(backend):
    async def main():
        callback = HeldCallback()
        handler = AsyncNotificationHandler(backend, "jobs", callback)
        await handler.listen()
        for payload in "123":
            await handler.notify(payload=payload)
        await handler.notify(stop=True)
        task = asyncio.create_task(handler())
        await callback.entered.wait()
        await cancelled(task)
        assert handler.listening
        callback.released.set()
        await handler()
        await handler.close()
        return callback.payloads

    assert run(main()) == ["1", "2", "3", ""]


@pytest.mark.parametrize("count", range(6))
def test_a_callback_that_waits_for_ever_is_cancelled_at_whichever_turn_it_comes(server, count):
    async def main():
        begun, ended = [], []

        async def for_ever(arg_dict):
            begun.append(arg_dict["extra"])
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(arg_dict["extra"])

        handler, sender = AsyncNotificationHandler(server.connect(), "jobs", for_ever), server.connect()
        task = asyncio.create_task(handler())
        await until(lambda: handler.listening)
        await turns(3)
        sender.notify("jobs", "1")
        await turns(count)
        task.cancel()
        assert (await asyncio.wait({task}, timeout=2))[0] == {task}
        assert ended == begun
        handler.callback = lambda arg_dict: begun.append(arg_dict["extra"])
        sender.notify("stop_jobs", "stop")
        await handler()
        await handler.close()
        sender.close()
        return begun

    assert run(main()) == ["1", "stop"]


def test_a_callback_may_cancel_the_task_that_runs_the_loop(backend):
    async def main():
        record = Recorder(lambda: asyncio.current_task().cancel())
        handler = AsyncNotificationHandler(backend, "jobs", record)
        await handler.listen()
        await handler.notify(payload="1")
        await handler.notify(payload="2")
        await handler.notify(stop=True)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(handler())
        record.then = lambda: None
        await handler()
        await handler.close()
        return record.payloads

    assert run(main()) == ["1", "2", ""]


# Requests to a loop that runs in another task.


VERBS = ("listen", "unlisten", "notify", "close")


async def busy(backend):
    """Return a handler whose loop is in its callback, that callback, and the loop's task."""
    callback = HeldCallback()
    handler = AsyncNotificationHandler(backend, "jobs", callback)
    await handler.listen()
    await handler.notify(payload="1")
    await handler.notify(payload="2")
    loop = asyncio.create_task(handler())
    await callback.entered.wait()
    return handler, callback, loop


async def asked(handler, verb):
    """Return a task that has asked the loop for something."""
    if verb == "listen":
        task = asyncio.create_task(handler._do(lambda: _listen_again(handler)))
    else:
        task = asyncio.create_task(getattr(handler, verb)())
    await until(lambda: handler._watch.commands)
    return task


def _listen_again(handler):
    from pgnotify.program import verbs

    return verbs.listen(handler._watch)


@pytest.mark.parametrize("verb", VERBS)
def test_a_request_that_is_cancelled_before_the_loop_begins_it_is_withdrawn(backend, verb):
    async def main():
        handler, callback, loop = await busy(backend)
        await cancelled(await asked(handler, verb))
        sent = list(backend.sent)
        callback.released.set()
        await until(lambda: len(callback.payloads) == 2)
        assert backend.sent == sent
        assert (handler.listening, backend.listened, backend.closed) == (True, BOTH, False)
        handler.stop()
        await loop
        await handler.close()

    run(main())


@pytest.mark.parametrize("verb", ["unlisten", "notify", "close"])
@pytest.mark.parametrize("outcome", [None, TransactionError], ids=["done", "error"])
def test_a_request_that_is_cancelled_while_the_loop_carries_it_out_leaves_no_error_behind(backend, verb, outcome):
    async def main():
        handler, callback, loop = await busy(backend)
        held = Held(backend, "notify" if verb == "notify" else "unlisten", then=outcome)
        request = await asked(handler, verb)
        callback.released.set()
        await until(held.begun.is_set)
        await cancelled(request)
        held.released.set()
        handler.stop()
        await loop
        await handler.close()

    run(main())


@pytest.mark.parametrize("verb", VERBS)
def test_a_request_to_a_loop_that_is_cancelled_before_it_is_done_all_the_same(backend, verb):
    async def main():
        handler, _, loop = await busy(backend)
        request = await asked(handler, verb)
        await cancelled(loop)
        await request
        if verb == "notify":
            assert backend.sent == [("jobs", "1"), ("jobs", "2"), ("jobs", "")]
        assert handler.listening is (verb in ("listen", "notify"))
        assert backend.closed is (verb == "close")
        await handler.close()

    run(main())


@pytest.mark.parametrize("verb", ["unlisten", "notify", "close"])
@pytest.mark.parametrize("answer", ["soon", "late"])
def test_a_request_that_the_cancelled_loop_was_carrying_out_is_done_or_told_apart(backend, verb, answer):
    async def main():
        handler, callback, loop = await busy(backend)
        held = Held(backend, "notify" if verb == "notify" else "unlisten")
        request = await asked(handler, verb)
        callback.released.set()
        await until(held.begun.is_set)
        loop.cancel()
        if answer == "soon":
            held.released.set()
        with pytest.raises(asyncio.CancelledError):
            await loop
        held.released.set()
        if verb == "notify":
            with pytest.raises(RuntimeError, match="it may have had its effect"):
                await request
            await until(lambda: backend.sent == [("jobs", "1"), ("jobs", "2"), ("jobs", "")])
        else:
            await request
            assert backend.listened == set()
            assert backend.closed is (verb == "close")
        await handler.close()

    run(main())


def test_a_request_is_carried_out_once_though_another_task_runs_the_loop_next(backend):
    async def main():
        handler, callback, loop = await busy(backend)
        request = await asked(handler, "notify")
        held = Held(backend, "notify")

        await cancelled(loop)
        second = asyncio.create_task(handler())
        await until(held.begun.is_set)
        await turns(5)
        held.released.set()
        await request
        callback.released.set()
        handler.stop()
        await second
        await handler.close()

    run(main())
    assert backend.sent == [("jobs", "1"), ("jobs", "2"), ("jobs", "")]


def test_a_request_is_carried_out_once_though_the_same_task_runs_the_loop_again(backend):
    async def main():
        handler, callback, loop = await busy(backend)
        await cancelled(loop)

        async def for_ever():
            while True:
                try:
                    await handler()
                    return
                except LookupError:
                    callback.then = lambda: None

        def fail():
            raise LookupError

        callback.then = fail
        callback.entered.clear()
        loop = asyncio.create_task(for_ever())
        await callback.entered.wait()
        held = Held(backend, "notify")
        request = await asked(handler, "notify")
        callback.released.set()
        await until(held.begun.is_set)
        await turns(5)
        held.released.set()
        await request
        handler.stop()
        await loop
        await handler.close()

    run(main())
    assert backend.sent == [("jobs", "1"), ("jobs", "2"), ("jobs", "")]


def test_the_loss_of_the_connection_during_a_request_that_was_cancelled_ends_the_loop_alone(backend):
    async def main():
        handler, callback, loop = await busy(backend)
        held = Held(backend, "notify")
        request = await asked(handler, "notify")
        callback.released.set()
        await until(held.begun.is_set)
        request.cancel()
        backend.during("wait", ConnectionLost("gone"))
        held.released.set()
        with suppress(asyncio.CancelledError):
            await request
        with pytest.raises(ConnectionLost, match="gone"):
            await loop
        await handler.close()

    run(main())


# Ways to be cancelled.


def test_ctrl_c_ends_the_loop_and_the_handler_is_closed(backend):
    async def main():
        async with AsyncNotificationHandler(backend, "jobs", print) as handler:
            await handler.listen()
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            await handler()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())

    assert backend.closed


@pytest.mark.skipif(not hasattr(asyncio, "TaskGroup"), reason="not applicable: since Python 3.11")
def test_an_error_in_a_task_group_ends_the_loop_and_the_handler_is_closed(backend):
    async def main():
        async def fail():
            await until(lambda: handler.listening)
            raise LookupError

        async with AsyncNotificationHandler(backend, "jobs", print) as handler:
            with pytest.raises(ExceptionGroup) as caught:  # noqa: F821, PT012  # since Python 3.11
                async with asyncio.TaskGroup() as group:
                    group.create_task(handler())
                    group.create_task(fail())
            assert [type(error) for error in caught.value.exceptions] == [LookupError]
            assert handler.listening

    run(main())
    assert backend.closed


def test_a_stop_in_a_signal_handler_ends_the_loop(backend):
    before = signal.getsignal(signal.SIGUSR1)

    async def main():
        async with AsyncNotificationHandler(backend, "jobs", print) as handler:
            signal.signal(signal.SIGUSR1, lambda *_: handler.stop())
            await handler.listen()
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGUSR1)
            await handler()
            assert not handler.listening

    try:
        run(main())
    finally:
        signal.signal(signal.SIGUSR1, before)
